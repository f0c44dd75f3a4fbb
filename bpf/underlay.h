/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets from the underlay: whether they are ours, who sent them, and to
 * which endpoint they go. What is not VXLAN for this host passes untouched, to
 * whoever comes next: with TC_ACT_OK the host's other programs on the device
 * would never see it.
 */
#ifndef OVL_UNDERLAY_H
#define OVL_UNDERLAY_H

#include "deliver.h"
#include "source.h"
#include "tunnel.h"

/* remote_sender finds the endpoint on another host that a frame claims to
 * come from. Returns 0 or the reason to drop. Who sent it is settled by one
 * look-up; only a frame that fails costs more, to name the reason.
 */
static __always_inline int remote_sender(__u32 vni, const __u8 *mac, __be32 outer,
					 struct fdb_entry **from)
{
	struct member_key member = { .vni = vni };
	struct fdb_entry *f = fdb(vni, mac);

	*from = f;
	if (f && !f->ifindex && addr4(f->vtep) == outer)
		return 0;
	if (!bpf_map_lookup_elem(&ovl_networks, &vni))
		return OVL_DROP_UNKNOWN_VNI;
	copy4(member.vtep, &outer);
	if (!bpf_map_lookup_elem(&ovl_members, &member))
		return OVL_DROP_UNKNOWN_VTEP;
	return OVL_DROP_INNER_SOURCE;
}

/* inner_reason turns the reasons of an endpoint's source check into those of
 * the underlay's side.
 */
static __always_inline int inner_reason(int reason)
{
	if (reason == OVL_DROP_SOURCE_IP || reason == OVL_DROP_SOURCE_ARP)
		return OVL_DROP_INNER_SOURCE;
	return reason;
}

/* underlay looks at every packet that the underlay's device receives. */
static __always_inline int underlay(struct __sk_buff *ctx)
{
	const __u32 outer_len = ETH_HLEN + OVL_OUTER_HLEN;
	struct config *cfg = config();
	struct fdb_entry *from, *to;
	struct ethhdr inner_eth OVL_ALIGNED;
	struct tunnel_hdr *h;
	struct ethhdr *eth;
	struct iphdr *ip;
	struct sender s;
	__u32 vni, peer;
	int reason;
	__u8 tos;

	if (!cfg || ctx->protocol != bpf_htons(ETH_P_IP) || ctx->vlan_present)
		return TC_ACT_UNSPEC;
	eth = frame(ctx, ETH_HLEN + sizeof(*ip));
	if (!eth)
		return TC_ACT_UNSPEC;
	ip = (void *)(eth + 1);
	if (ip->daddr != addr4(cfg->vtep) || ip->protocol != IPPROTO_UDP || ip->ihl != 5 ||
	    (ip->frag_off & bpf_htons(OVL_IP_FRAG)))
		return TC_ACT_UNSPEC;

	/* From here on it is UDP to the VTEP. The frame may be padded: what
	 * counts is what IP says. GSO packets are as long as they are.
	 */
	if (!ctx->gso_size && bpf_ntohs(ip->tot_len) < sizeof(*ip) + sizeof(struct udphdr))
		return drop(ctx, OVL_DROP_TRUNCATED);
	h = frame(ctx, ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr));
	if (!h)
		return drop(ctx, OVL_DROP_TRUNCATED);
	if (h->outer.udp.dest != bpf_htons(cfg->vxlan_port))
		return TC_ACT_UNSPEC;
	if (!ctx->gso_size && bpf_ntohs(h->outer.ip.tot_len) < OVL_ENCAP_LEN)
		return drop(ctx, OVL_DROP_TRUNCATED);
	h = frame(ctx, sizeof(*h));
	if (!h)
		return drop(ctx, OVL_DROP_TRUNCATED);

	/* RFC 7348 lets a receiver ignore reserved bits; Linux does not, for
	 * extensions give them a meaning, and neither do we.
	 */
	if (h->outer.vxlan.flags != bpf_htonl(OVL_VXLAN_I) ||
	    (h->outer.vxlan.vni & bpf_htonl(0xff)))
		return drop(ctx, OVL_DROP_VXLAN_FLAGS);
	vni = bpf_ntohl(h->outer.vxlan.vni) >> 8;
	reason = remote_sender(vni, h->inner.h_source, h->outer.ip.saddr, &from);
	if (reason)
		return drop(ctx, reason);

	/* Not for the fast path: the stack takes it to the vxlan device, and
	 * from there it comes to from_vxlan. A checksum in the outer header is
	 * the stack's to verify. The vxlan device drops an inner IPv6 header that
	 * is cut short without telling us.
	 */
	if (h->inner.h_proto == bpf_htons(ETH_P_IPV6) &&
	    ctx->len < sizeof(*h) + sizeof(struct ipv6hdr))
		return drop(ctx, OVL_DROP_TRUNCATED);
	if (h->inner.h_proto != bpf_htons(ETH_P_IP) || h->outer.udp.check)
		return TC_ACT_UNSPEC;

	copy_eth(&inner_eth, &h->inner);
	tos = h->outer.ip.tos;
	ip = frame(ctx, sizeof(*h) + sizeof(*ip));
	if (!ip)
		return drop(ctx, OVL_DROP_TRUNCATED);
	ip = (void *)ip + sizeof(*h);
	s = (struct sender){ .vni = vni, .mac = inner_eth.h_source, .addr4 = from->addr4 };
	reason = check_ip4(&s, ip, ctx->len - outer_len - ETH_HLEN);
	if (reason)
		return drop(ctx, inner_reason(reason));
	if (is_group(inner_eth.h_dest))
		return drop(ctx, OVL_DROP_MULTICAST);
	to = fdb(vni, inner_eth.h_dest);
	if (!to || !to->ifindex)
		return drop(ctx, OVL_DROP_NOT_LOCAL);
	/* A TAP segments and checksums for its reader, and a socket cuts UDP
	 * segments apart: what they go by, strip leaves as it was outside. The
	 * stack sets it right.
	 */
	if ((to->flags & OVL_PORT_TAP) || (ctx->gso_size && ip->protocol == IPPROTO_UDP))
		return TC_ACT_UNSPEC;

	peer = from->peer;
	reason = strip(ctx, &inner_eth, tos);
	if (reason)
		return drop(ctx, reason);
	count_received(peer, ctx->len);
	return deliver(ctx, to, true);
}

#endif
