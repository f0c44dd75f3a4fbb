/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Frames from an endpoint on this host, in the order in which they are looked
 * at: whose they are, what they ask, where they go. None ever reaches the
 * host's own stack.
 */
#ifndef OVL_ENDPOINT_H
#define OVL_ENDPOINT_H

#include "deliver.h"
#include "flood.h"
#include "flow.h"
#include "nd.h"
#include "service.h"
#include "source.h"
#include "tunnel.h"
#include "ways.h"

/* forward_slow sends a frame that the fast path does not take. It never floods:
 * what is to be flooded has been before it comes here.
 */
static __always_inline int forward_slow(struct __sk_buff *ctx, const struct config *cfg,
					const struct way_out *w)
{
	if (is_group(w->dst))
		return drop(ctx, OVL_DROP_MULTICAST);
	if (!known(&w->to) || w->to.ifindex == ctx->ifindex || (w->to.flags & OVL_TO_SERVICE))
		return drop(ctx, OVL_DROP_UNKNOWN_DESTINATION);
	if (w->to.ifindex)
		return deliver(ctx, &w->to, false);
	return send_slow(ctx, cfg, &w->to, &w->port);
}

/* follow serves a sender that still has an address down with the MAC of an
 * endpoint that is gone: the frame follows the address to the MAC that has it
 * now. Without it the frame would be lost until the sender asks again, which
 * may take its stack half a minute.
 */
static __always_inline struct way_out *follow(struct __sk_buff *ctx, struct way_out *w,
					      struct ethhdr *eth, const struct neigh_entry *n)
{
	if (!n)
		return w;
	copy_mac(eth->h_dest, n->mac);
	return way_out(ctx->ifindex, n->mac);
}

/* to_group floods what an endpoint sends to a group; what the gateway does, nobody
 * needs.
 */
static __always_inline int to_group(struct __sk_buff *ctx, const struct way_out *w)
{
	if (w->port.flags & OVL_PORT_GATEWAY)
		return drop(ctx, OVL_DROP_MULTICAST);
	return flood(ctx, w->port.vni, w->ifindex);
}

/* deliver_reply delivers what may come from a backend, and belong to a flow. */
static __always_inline int deliver_reply(struct __sk_buff *ctx, const struct way_out *w)
{
	int reason = w->port.flags & OVL_PORT_BACKEND ? from_backend(ctx, w->port.vni) : 0;

	return reason ? drop(ctx, reason) : deliver(ctx, &w->to, true);
}

static __always_inline int endpoint_ip4(struct __sk_buff *ctx, const struct config *cfg,
					struct way_out *w, const struct sender *s)
{
	struct inner in = { .vni = w->port.vni, .mtu = w->port.mtu, .least = OVL_LEAST_MTU4 };
	struct ethhdr *eth;
	struct iphdr *ip;
	int reason;

	eth = frame(ctx, ETH_HLEN + sizeof(*ip));
	if (!eth)
		return drop(ctx, OVL_DROP_TRUNCATED);
	ip = (void *)(eth + 1);
	reason = check_ip4(s, ip, ctx->len - ETH_HLEN);
	if (reason)
		return drop(ctx, reason);
	if (is_group(eth->h_dest))
		return to_group(ctx, w);
	if (!known(&w->to))
		w = follow(ctx, w, eth, neigh4(w->port.vni, ip->daddr));
	if (!w || !known(&w->to) || w->to.ifindex == ctx->ifindex)
		return drop(ctx, OVL_DROP_UNKNOWN_DESTINATION);
	if (w->to.flags & OVL_TO_SERVICE) {
		w = by_service(ctx, w, &reason);
		if (!w)
			return reason;
		eth = frame(ctx, ETH_HLEN + sizeof(*ip));
		if (!eth)
			return drop(ctx, OVL_DROP_TRUNCATED);
		ip = (void *)(eth + 1);
		if (w->to.ifindex)
			return deliver(ctx, &w->to, true);
	} else {
		if ((w->to.flags & OVL_PORT_BACKEND) &&
		    may_be_syn(ctx, ip->protocol, ETH_HLEN + ip->ihl * 4)) {
			to_backend(ctx, w->port.vni);
			eth = frame(ctx, ETH_HLEN + sizeof(*ip));
			if (!eth)
				return drop(ctx, OVL_DROP_TRUNCATED);
			ip = (void *)(eth + 1);
		}
		if (w->to.ifindex)
			return deliver_reply(ctx, w);
	}

	in.ecn = ip->tos & OVL_ECN_MASK;
	in.hash = flow_hash4(ctx, ip);
	return encapsulate(ctx, cfg, &w->to, &in);
}

/* endpoint_arp answers requests itself: no ARP request ever leaves the host.
 * Replies, which an endpoint on a plain vxlan device may have asked for, go
 * their way.
 */
static __always_inline int endpoint_arp(struct __sk_buff *ctx, const struct config *cfg,
					struct way_out *w, const struct sender *s)
{
	const struct port *port = &w->port;
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
		return forward_slow(ctx, cfg, w);

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
	return answer(ctx);
}

static __always_inline int endpoint_ip6(struct __sk_buff *ctx, const struct config *cfg,
					struct way_out *w, const struct sender *s)
{
	struct inner in = { .vni = w->port.vni, .mtu = w->port.mtu, .least = OVL_LEAST_MTU6 };
	struct upper u = { .offset = ETH_HLEN + sizeof(struct ipv6hdr) };
	struct ethhdr *eth;
	struct ipv6hdr *ip6;
	int reason;

	eth = frame(ctx, ETH_HLEN + sizeof(*ip6));
	if (!eth)
		return drop(ctx, OVL_DROP_TRUNCATED);
	ip6 = (void *)(eth + 1);
	u.proto = ip6->nexthdr;
	reason = check_ip6(ip6, ctx->len - ETH_HLEN);
	if (reason)
		return drop(ctx, reason);
	if (u.proto == IPPROTO_TCP || u.proto == IPPROTO_UDP) {
		if (!sends_from6(s, &ip6->saddr))
			return drop(ctx, OVL_DROP_SOURCE_IP);
	} else {
		reason = inspect6(ctx, s, &u);
		if (reason)
			return drop(ctx, reason);
		if (u.proto == IPPROTO_ICMPV6 && u.type == OVL_ND_NS)
			return answer_nd(ctx, &w->port);
		eth = frame(ctx, ETH_HLEN + sizeof(*ip6));
		if (!eth)
			return drop(ctx, OVL_DROP_TRUNCATED);
		ip6 = (void *)(eth + 1);
	}
	if (is_group(eth->h_dest)) {
		/* Nobody needs an advertisement that nobody asked for. */
		if (u.proto == IPPROTO_ICMPV6 && u.type == OVL_ND_NA)
			return drop(ctx, OVL_DROP_MULTICAST);
		return to_group(ctx, w);
	}
	if (!known(&w->to))
		w = follow(ctx, w, eth, neigh6(w->port.vni, (const __u8 *)&ip6->daddr));
	if (!w || !known(&w->to) || w->to.ifindex == ctx->ifindex)
		return drop(ctx, OVL_DROP_UNKNOWN_DESTINATION);
	if (w->to.flags & OVL_TO_SERVICE) {
		w = by_service(ctx, w, &reason);
		if (!w)
			return reason;
		eth = frame(ctx, ETH_HLEN + sizeof(*ip6));
		if (!eth)
			return drop(ctx, OVL_DROP_TRUNCATED);
		ip6 = (void *)(eth + 1);
		if (w->to.ifindex)
			return deliver(ctx, &w->to, true);
	} else {
		if ((w->to.flags & OVL_PORT_BACKEND) && may_be_syn(ctx, u.proto, u.offset)) {
			to_backend(ctx, w->port.vni);
			eth = frame(ctx, ETH_HLEN + sizeof(*ip6));
			if (!eth)
				return drop(ctx, OVL_DROP_TRUNCATED);
			ip6 = (void *)(eth + 1);
		}
		if (w->to.ifindex)
			return deliver_reply(ctx, w);
	}

	in.ecn = traffic_class(ip6) & OVL_ECN_MASK;
	in.hash = flow_hash6(ctx, ip6, &u);
	return encapsulate(ctx, cfg, &w->to, &in);
}

static __always_inline int from_port(struct __sk_buff *ctx, struct way_out *w,
				     const struct ethhdr *eth)
{
	struct config *cfg = config();
	struct sender s;

	if (!cfg)
		return drop(ctx, OVL_DROP_UNKNOWN_VNI);
	if (!same_mac(eth->h_source, w->port.mac))
		return drop(ctx, OVL_DROP_SOURCE_MAC);
	s = (struct sender){
		.vni = w->port.vni,
		.mac = w->port.mac,
		.addr4 = w->port.addr4,
		.addr6 = w->port.addr6,
	};

	/* A tag that the device has taken off stays with the frame. */
	switch (ctx->vlan_present ? 0 : eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return endpoint_ip4(ctx, cfg, w, &s);
	case bpf_htons(ETH_P_ARP):
		return endpoint_arp(ctx, cfg, w, &s);
	case bpf_htons(ETH_P_IPV6):
		return endpoint_ip6(ctx, cfg, w, &s);
	}
	if (is_group(w->dst))
		return to_group(ctx, w);
	return forward_slow(ctx, cfg, w);
}

static __always_inline int endpoint(struct __sk_buff *ctx)
{
	bool untagged = untag(ctx);
	struct port_traffic *from;
	struct way_out *w = NULL;
	struct ethhdr *eth;
	int verdict;

	measure(ctx, 0);
	eth = frame(ctx, sizeof(*eth));
	if (eth)
		w = way_out(ctx->ifindex, eth->h_dest);
	if (w)
		note(ctx, OVL_CB_SLOT, w->port.slot);
	from = sender(ctx);
	if (from)
		count(ctx, &from->counted.sent);
	if (!eth)
		verdict = drop(ctx, OVL_DROP_TRUNCATED);
	else if (!w)
		verdict = drop(ctx, OVL_DROP_UNKNOWN_VNI);
	else if (!untagged)
		verdict = drop(ctx, OVL_DROP_INNER_MALFORMED);
	else if (ctx->vlan_present && !whole_behind_tags(ctx))
		verdict = drop(ctx, OVL_DROP_TRUNCATED);
	else
		verdict = from_port(ctx, w, eth);
	return settle(ctx, verdict, true);
}

#endif
