/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Frames from an endpoint on this host, in the order in which they are looked
 * at: whose they are, what they ask, where they go. None ever reaches the
 * host's own stack.
 */
#ifndef OVL_ENDPOINT_H
#define OVL_ENDPOINT_H

#include "deliver.h"
#include "flow.h"
#include "source.h"
#include "tunnel.h"

/* forward_slow sends a frame that the fast path does not take. */
static __always_inline int forward_slow(struct __sk_buff *ctx, const struct config *cfg,
					const struct port *port, const __u8 *dst)
{
	struct fdb_entry *to;

	if (is_group(dst))
		return drop(ctx, OVL_DROP_MULTICAST);
	to = fdb(port->vni, dst);
	if (!to || to->ifindex == ctx->ifindex)
		return drop(ctx, OVL_DROP_UNKNOWN_DESTINATION);
	if (to->ifindex)
		return deliver(ctx, to, false);
	return encapsulate_slow(ctx, cfg, to, port->vni, port->mtu);
}

/* follow4 and follow6 serve a sender that still has the address down with the
 * MAC of an endpoint that is gone: the frame follows the address to the MAC
 * that has it now. Without them it would be lost until the sender asks again,
 * which may take its stack half a minute.
 */
static __always_inline struct fdb_entry *follow4(__u32 vni, struct ethhdr *eth, __be32 addr)
{
	struct neigh_entry *n = neigh4(vni, addr);

	if (!n)
		return NULL;
	copy_mac(eth->h_dest, n->mac);
	return fdb(vni, n->mac);
}

static __always_inline struct fdb_entry *follow6(__u32 vni, struct ethhdr *eth,
						 const struct in6_addr *addr)
{
	struct neigh_entry *n = neigh6(vni, (const __u8 *)addr);

	if (!n)
		return NULL;
	copy_mac(eth->h_dest, n->mac);
	return fdb(vni, n->mac);
}

/* gso_headers returns the length of the headers that every segment of a GSO
 * packet repeats, 0 for a packet that is none.
 */
static __always_inline __u8 gso_headers(struct __sk_buff *ctx, __u32 l3_len, __u8 protocol)
{
	__u8 offset = 0;

	if (!ctx->gso_size)
		return 0;
	if (protocol == IPPROTO_UDP)
		return l3_len + sizeof(struct udphdr);
	/* the upper four bits of byte 12: the header's length in words */
	bpf_skb_load_bytes(ctx, ETH_HLEN + l3_len + 12, &offset, sizeof(offset));
	return l3_len + (offset >> 4) * 4;
}

static __always_inline int endpoint_ip4(struct __sk_buff *ctx, const struct config *cfg,
					const struct port *port, const struct sender *s)
{
	struct inner in = { .vni = port->vni, .mtu = port->mtu };
	struct ethhdr *eth;
	struct iphdr *ip;
	struct fdb_entry *to;
	int reason;

	eth = frame(ctx, ETH_HLEN + sizeof(*ip));
	if (!eth)
		return drop(ctx, OVL_DROP_TRUNCATED);
	ip = (void *)(eth + 1);
	reason = check_ip4(s, ip, ctx->len - ETH_HLEN);
	if (reason)
		return drop(ctx, reason);
	if (is_group(eth->h_dest))
		return drop(ctx, OVL_DROP_MULTICAST);
	to = fdb(port->vni, eth->h_dest);
	if (!to)
		to = follow4(port->vni, eth, ip->daddr);
	if (!to || to->ifindex == ctx->ifindex)
		return drop(ctx, OVL_DROP_UNKNOWN_DESTINATION);
	if (to->ifindex)
		return deliver(ctx, to, true);

	in.ecn = ip->tos & OVL_ECN_MASK;
	in.l3l4_len = gso_headers(ctx, ip->ihl * 4, ip->protocol);
	in.hash = flow_hash4(ctx, ip);
	return encapsulate(ctx, cfg, to, &in);
}

/* endpoint_arp answers requests itself: no ARP request ever leaves the host.
 * Replies, which an endpoint on a plain vxlan device may have asked for, go
 * their way.
 */
static __always_inline int endpoint_arp(struct __sk_buff *ctx, const struct config *cfg,
					const struct port *port, const struct sender *s)
{
	struct arp_frame *arp;
	struct neigh_entry *n;
	__u8 spa[4] OVL_ALIGNED, tpa[4] OVL_ALIGNED;
	int reason;

	arp = frame(ctx, sizeof(*arp));
	if (!arp)
		return drop(ctx, OVL_DROP_TRUNCATED);
	reason = check_arp(s, arp);
	if (reason)
		return drop(ctx, reason);
	if (arp->op != bpf_htons(OVL_ARP_REQUEST))
		return forward_slow(ctx, cfg, port, arp->eth.h_dest);

	n = neigh4(port->vni, addr4(arp->tpa));
	if (!n)
		return drop(ctx, OVL_DROP_UNKNOWN_NEIGHBOUR);
	/* A probe for or an announcement of what is its own: nobody needs it. */
	if (same_mac(n->mac, port->mac))
		return drop(ctx, OVL_DROP_MULTICAST);

	copy4(spa, arp->spa);
	copy4(tpa, arp->tpa);
	copy_mac(arp->eth.h_dest, port->mac);
	copy_mac(arp->eth.h_source, n->mac);
	arp->op = bpf_htons(OVL_ARP_REPLY);
	copy_mac(arp->sha, n->mac);
	copy4(arp->spa, tpa);
	copy_mac(arp->tha, port->mac);
	copy4(arp->tpa, spa);
	return bpf_redirect(ctx->ifindex, 0);
}

/* endpoint_nd sends a solicitation to the one endpoint that can answer it,
 * although it is addressed to a group, and checks what the sender says of
 * itself.
 */
static __always_inline int endpoint_nd(struct __sk_buff *ctx, const struct config *cfg,
				       const struct port *port, const struct sender *s)
{
	__u8 owner[ETH_ALEN] OVL_ALIGNED;
	struct nd_option *opt;
	struct nd_frame *nd;
	bool solicitation;

	nd = frame(ctx, sizeof(*nd) + sizeof(*opt));
	if (nd) {
		int reason;

		opt = (void *)(nd + 1);
		reason = check_nd_option(s, opt);
		if (reason)
			return drop(ctx, reason);
	} else {
		nd = frame(ctx, sizeof(*nd));
		if (!nd)
			return drop(ctx, OVL_DROP_TRUNCATED);
	}
	solicitation = nd->type == OVL_ND_NS;
	if (!solicitation) {
		if (!owns6(port->vni, port->mac, port->addr6, nd->target))
			return drop(ctx, OVL_DROP_SOURCE_ARP);
		return forward_slow(ctx, cfg, port, nd->eth.h_dest);
	}
	if (!owner6(port->vni, nd->target, owner))
		return drop(ctx, OVL_DROP_UNKNOWN_NEIGHBOUR);
	if (same_mac(owner, port->mac))
		return drop(ctx, OVL_DROP_MULTICAST);
	copy_mac(nd->eth.h_dest, owner);
	return forward_slow(ctx, cfg, port, owner);
}

static __always_inline int endpoint_ip6(struct __sk_buff *ctx, const struct config *cfg,
					const struct port *port, const struct sender *s)
{
	struct inner in = { .vni = port->vni, .mtu = port->mtu };
	bool neighbour;
	struct ethhdr *eth;
	struct ipv6hdr *ip6;
	struct fdb_entry *to = NULL;
	__u8 type = 0;
	int reason;

	if (!frame(ctx, ETH_HLEN + sizeof(*ip6)))
		return drop(ctx, OVL_DROP_TRUNCATED);
	bpf_skb_load_bytes(ctx, ETH_HLEN + sizeof(*ip6), &type, sizeof(type));
	eth = frame(ctx, ETH_HLEN + sizeof(*ip6));
	if (!eth)
		return drop(ctx, OVL_DROP_TRUNCATED);
	ip6 = (void *)(eth + 1);
	neighbour = ip6->nexthdr == IPPROTO_ICMPV6 && (type == OVL_ND_NS || type == OVL_ND_NA);
	reason = check_ip6(s, ip6, neighbour && type == OVL_ND_NS);
	if (reason)
		return drop(ctx, reason);
	if (!is_group(eth->h_dest)) {
		to = fdb(port->vni, eth->h_dest);
		if (!to)
			to = follow6(port->vni, eth, &ip6->daddr);
	}
	if (neighbour)
		return endpoint_nd(ctx, cfg, port, s);
	if (is_group(eth->h_dest))
		return drop(ctx, OVL_DROP_MULTICAST);
	if (!to || to->ifindex == ctx->ifindex)
		return drop(ctx, OVL_DROP_UNKNOWN_DESTINATION);
	if (to->ifindex)
		return deliver(ctx, to, true);

	in.ecn = traffic_class(ip6) & OVL_ECN_MASK;
	in.l3l4_len = gso_headers(ctx, sizeof(*ip6), ip6->nexthdr);
	in.hash = flow_hash6(ctx, ip6);
	return encapsulate(ctx, cfg, to, &in);
}

static __always_inline int endpoint(struct __sk_buff *ctx)
{
	__u32 ifindex = ctx->ifindex;
	struct config *cfg = config();
	struct port *port;
	struct ethhdr *eth;
	struct sender s;

	port = bpf_map_lookup_elem(&ovl_ports, &ifindex);
	if (!cfg || !port)
		return drop(ctx, OVL_DROP_UNKNOWN_VNI);
	if (!untag(ctx))
		return drop(ctx, OVL_DROP_INNER_MALFORMED);
	eth = frame(ctx, sizeof(*eth));
	if (!eth)
		return drop(ctx, OVL_DROP_TRUNCATED);
	if (!same_mac(eth->h_source, port->mac))
		return drop(ctx, OVL_DROP_SOURCE_MAC);
	s = (struct sender){
		.vni = port->vni, .mac = port->mac, .addr4 = port->addr4, .addr6 = port->addr6
	};

	/* A tag that the device has taken off stays with the frame. */
	if (ctx->vlan_present)
		return forward_slow(ctx, cfg, port, eth->h_dest);
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return endpoint_ip4(ctx, cfg, port, &s);
	case bpf_htons(ETH_P_ARP):
		return endpoint_arp(ctx, cfg, port, &s);
	case bpf_htons(ETH_P_IPV6):
		return endpoint_ip6(ctx, cfg, port, &s);
	}
	return forward_slow(ctx, cfg, port, eth->h_dest);
}

#endif
