/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets from the underlay: whether they are ours, who sent them, and to
 * which endpoint they go. What is not VXLAN for this host passes untouched, to
 * whoever comes next: with TC_ACT_OK the host's other programs on the device
 * would never see it.
 */
#ifndef OVL_UNDERLAY_H
#define OVL_UNDERLAY_H

#include "deliver.h"
#include "flood.h"
#include "learn.h"
#include "service.h"
#include "source.h"
#include "tunnel.h"
#include "upper.h"
#include "ways.h"

/* What the outer IP header says of a packet to our VTEP. */
struct outer {
	__u8 src[16] OVL_ALIGNED;
	__u32 payload; /* length, unless it is a GSO packet */
	__u8 tos;
};

/* outer4 and outer6 read the outer header on an underlay of that family. False:
 * it is not UDP to our VTEP, or not all of it, or damaged: the stack's.
 */
static __always_inline bool outer4(struct __sk_buff *ctx, const struct config *cfg, struct outer *o)
{
	struct ethhdr *eth;
	struct iphdr *ip;
	__u32 len;

	if (ctx->protocol != bpf_htons(ETH_P_IP))
		return false;
	eth = frame(ctx, ETH_HLEN + sizeof(*ip));
	if (!eth)
		return false;
	ip = (void *)(eth + 1);
	if (ip->daddr != mapped4(cfg->vtep) || ip->version != 4 || ip->ihl != 5 ||
	    (ip->frag_off & bpf_htons(OVL_IP_FRAG)) || ip_checksum(ip))
		return false;
	if (ip->protocol != IPPROTO_UDP) {
		if (ip->protocol == IPPROTO_ICMP)
			learn4(ctx, cfg);
		return false;
	}
	len = bpf_ntohs(ip->tot_len);
	*o = (struct outer){
		.src = { [10] = 0xff, [11] = 0xff },
		.payload = len < sizeof(*ip) ? 0 : len - sizeof(*ip),
		.tos = ip->tos,
	};
	copy4(o->src + 12, &ip->saddr);
	return true;
}

static __always_inline bool outer6(struct __sk_buff *ctx, const struct config *cfg, struct outer *o)
{
	struct ethhdr *eth;
	struct ipv6hdr *ip6;

	if (ctx->protocol != bpf_htons(ETH_P_IPV6))
		return false;
	eth = frame(ctx, ETH_HLEN + sizeof(*ip6));
	if (!eth)
		return false;
	ip6 = (void *)(eth + 1);
	if (!same_words(&ip6->daddr, cfg->vtep, 4) || ip6->nexthdr != IPPROTO_UDP)
		return false;
	if (ip6->version != 6)
		return false;
	*o = (struct outer){
		.payload = bpf_ntohs(ip6->payload_len),
		.tos = traffic_class(ip6),
	};
	copy_words(o->src, &ip6->saddr, 4);
	return true;
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

/* inner4 and inner6 check the IP packet in the tunnel. They return the reason to
 * drop, 0 for the fast path, or -1 where the stack has to take the frame to the
 * vxlan device. The transport protocol comes back in proto.
 */
static __always_inline int inner4(struct __sk_buff *ctx, const struct sender *s, __u8 *proto)
{
	const __u32 start = ETH_HLEN + encap_len();
	void *data = frame(ctx, start + sizeof(struct iphdr));
	struct iphdr *ip = data + start;

	if (!data)
		return OVL_DROP_TRUNCATED;
	*proto = ip->protocol;
	return check_ip4(s, ip, ctx->len - start);
}

static __always_inline int inner6(struct __sk_buff *ctx, const struct sender *s, __u8 *proto)
{
	const __u32 start = ETH_HLEN + encap_len();
	void *data = frame(ctx, start + sizeof(struct ipv6hdr));
	struct ipv6hdr *ip6 = data + start;
	int reason;

	if (!data)
		return OVL_DROP_TRUNCATED;
	*proto = ip6->nexthdr;
	reason = check_ip6(ip6, ctx->len - start);
	if (reason)
		return reason;
	/* from_vxlan looks behind extension headers and into neighbour discovery. */
	if (is_extension(*proto))
		return -1;
	if (*proto == IPPROTO_ICMPV6) {
		__u8 *type;

		data = frame(ctx, start + sizeof(*ip6) + sizeof(*type));
		if (!data)
			return OVL_DROP_TRUNCATED;
		ip6 = data + start;
		type = (void *)(ip6 + 1);
		if (*type >= OVL_ND_RS && *type <= OVL_ND_REDIRECT)
			return -1;
	}
	return sends_from6(s, &ip6->saddr) ? 0 : OVL_DROP_SOURCE_IP;
}

/* pass leaves a packet to the stack, which takes it to the vxlan device. That
 * one drops what RFC 6040 forbids without telling us.
 */
static __always_inline int pass(struct __sk_buff *ctx, __u8 outer_tos, __be16 inner_proto)
{
	const __u32 start = ETH_HLEN + encap_len();
	__u8 ip[2], ecn;

	if ((outer_tos & OVL_ECN_MASK) != OVL_ECN_CE ||
	    (inner_proto != bpf_htons(ETH_P_IP) && inner_proto != bpf_htons(ETH_P_IPV6)) ||
	    bpf_skb_load_bytes(ctx, start, ip, sizeof(ip)))
		return TC_ACT_UNSPEC;
	ecn = inner_proto == bpf_htons(ETH_P_IP) ? ip[1] : ip[1] >> 4;
	return ecn & OVL_ECN_MASK ? TC_ACT_UNSPEC : drop(ctx, OVL_DROP_ECN);
}

/* is_train recognises tunnel packets that their sender has handed to the kernel
 * as one (UDP GSO), and that nobody has cut apart: over a veth pair, or between
 * virtual machines. They have a checksum, for the kernel sends none without. What
 * is one packet of a tunnel reaches to the end: the IP header in it says so.
 */
static __always_inline bool is_train(struct __sk_buff *ctx, const struct tunnel_hdr *h)
{
	const __u32 start = ETH_HLEN + encap_len();
	const __be16 proto = h->inner.h_proto;
	__u32 rest = ctx->len - start, len;
	__be16 ip[3];

	/* Only TCP makes packets whose length 16 bits cannot say. */
	if (!ctx->gso_size || !h->udp.check || rest > 0xffff)
		return false;
	if (proto != bpf_htons(ETH_P_IP) && proto != bpf_htons(ETH_P_IPV6))
		return true;
	if (bpf_skb_load_bytes(ctx, start, ip, sizeof(ip)))
		return false;
	len = proto == bpf_htons(ETH_P_IP) ? bpf_ntohs(ip[1])
					   : bpf_ntohs(ip[2]) + sizeof(struct ipv6hdr);
	return len < rest;
}

/* measure_train counts each packet of a train, which start stands at the first
 * VXLAN header of.
 */
static __always_inline void measure_train(struct __sk_buff *ctx, __u32 start)
{
	__u32 size = ctx->gso_size, bytes = ctx->len - start, packets;

	if (!size)
		return;
	packets = (bytes + size - 1) / size;
	note(ctx, OVL_CB_PACKETS, packets);
	note(ctx, OVL_CB_BYTES, bytes - packets * OVL_VXLAN_HLEN);
}

static __always_inline int from_tunnel(struct __sk_buff *ctx)
{
	const __u32 udp_start = ETH_HLEN + outer_ip_len();
	struct config *cfg = config();
	struct ethhdr inner_eth OVL_ALIGNED;
	struct way_in *way;
	struct tunnel_hdr *h;
	struct sender s;
	struct outer o;
	__u32 vni, udp_len, end = ctx->len;
	int reason;
	__u8 proto;
	bool train;
	void *data;

	if (!cfg || ctx->vlan_present || ctx->pkt_type != PACKET_HOST)
		return TC_ACT_UNSPEC;
	if (underlay6 ? !outer6(ctx, cfg, &o) : !outer4(ctx, cfg, &o))
		return TC_ACT_UNSPEC;

	/* From here on it is UDP to the VTEP. GSO packets are as long as they
	 * are, the lengths of others agree.
	 */
	measure(ctx, encap_len());
	if (!ctx->gso_size && o.payload < sizeof(struct udphdr))
		return drop(ctx, OVL_DROP_TRUNCATED);
	data = frame(ctx, udp_start + sizeof(struct udphdr));
	if (!data)
		return drop(ctx, OVL_DROP_TRUNCATED);
	h = data + udp_start;
	if (h->udp.dest != bpf_htons(cfg->vxlan_port))
		return TC_ACT_UNSPEC;
	if (!ctx->gso_size) {
		udp_len = bpf_ntohs(h->udp.len);
		if (udp_len < sizeof(*h) || udp_len > o.payload || ctx->len < udp_start + o.payload)
			return drop(ctx, OVL_DROP_TRUNCATED);
		end = udp_start + udp_len;
	}
	data = frame(ctx, udp_start + sizeof(*h));
	if (!data)
		return drop(ctx, OVL_DROP_TRUNCATED);
	h = data + udp_start;
	train = is_train(ctx, h);
	if (train)
		measure_train(ctx, udp_start + sizeof(struct udphdr));

	/* RFC 7348 lets a receiver ignore reserved bits; Linux does not, for
	 * extensions give them a meaning, and neither do we.
	 */
	if (h->vxlan.flags != bpf_htonl(OVL_VXLAN_I) || (h->vxlan.vni & bpf_htonl(0xff)))
		return drop(ctx, OVL_DROP_VXLAN_FLAGS);
	/* The rest is asked of each packet by from_vxlan: one says nothing about
	 * the next, which may even be of another network. The outer header, and
	 * so the ECN field, they have in common.
	 */
	if (train)
		return pass(ctx, o.tos, h->inner.h_proto);
	vni = bpf_ntohl(h->vxlan.vni) >> 8;
	reason = way_in(vni, &h->inner, o.src, &way);
	if (reason)
		return drop(ctx, reason);

	/* Not for the fast path: the stack takes it to the vxlan device, and
	 * from there it comes to from_vxlan. A checksum in the outer header is
	 * the stack's to verify, and what follows the UDP packet (padding, or the
	 * options of RFC 9868) its to cut off. The vxlan device drops an inner IP
	 * header that is cut short without telling us.
	 */
	if ((h->inner.h_proto == bpf_htons(ETH_P_IPV6) &&
	     end < udp_start + sizeof(*h) + sizeof(struct ipv6hdr)) ||
	    (h->inner.h_proto == bpf_htons(ETH_P_IP) &&
	     end < udp_start + sizeof(*h) + sizeof(struct iphdr)))
		return drop(ctx, OVL_DROP_TRUNCATED);
	if ((h->inner.h_proto != bpf_htons(ETH_P_IP) &&
	     h->inner.h_proto != bpf_htons(ETH_P_IPV6)) ||
	    h->udp.check || end != ctx->len)
		return pass(ctx, o.tos, h->inner.h_proto);

	copy_eth(&inner_eth, &h->inner);
	s = (struct sender){
		.vni = vni,
		.mac = inner_eth.h_source,
		.addr4 = way->from.addr4,
		.addr6 = way->from.addr6,
	};
	if (inner_eth.h_proto == bpf_htons(ETH_P_IP))
		reason = inner4(ctx, &s, &proto);
	else
		reason = inner6(ctx, &s, &proto);
	if (reason < 0)
		return pass(ctx, o.tos, inner_eth.h_proto);
	if (reason)
		return drop(ctx, inner_reason(reason));
	/* from_vxlan makes the copies. */
	if (is_group(inner_eth.h_dest))
		return carries_multicast(vni) ? pass(ctx, o.tos, inner_eth.h_proto)
					      : drop(ctx, OVL_DROP_MULTICAST);
	if (!way->to.ifindex)
		return drop(ctx, OVL_DROP_NOT_LOCAL);
	/* A packet that is several stays, in the kernel's notes, one of a tunnel
	 * when it is stripped: bpf_skb_adjust_room leaves gso_type as it was
	 * outside. TCP's receiver does not look at it. A socket that takes UDP
	 * cuts by it, and wrong; a TAP's reader is not given such a packet whole.
	 * The stack sets it right.
	 */
	if (ctx->gso_size && (proto != IPPROTO_TCP || (way->to.flags & OVL_PORT_TAP)))
		return pass(ctx, o.tos, inner_eth.h_proto);

	if (strip(ctx, inner_eth.h_proto))
		return pass(ctx, o.tos, inner_eth.h_proto);
	reason = reframe(ctx, &inner_eth, o.tos);
	if (!reason && (way->from.flags & OVL_PORT_BACKEND))
		reason = from_backend(ctx, vni);
	if (reason)
		return drop(ctx, reason);
	return received_from(ctx, way->from.peer, deliver(ctx, &way->to, true));
}

/* underlay looks at every packet that the underlay's device receives. */
static __always_inline int underlay(struct __sk_buff *ctx)
{
	return settle(ctx, from_tunnel(ctx), false);
}

#endif
