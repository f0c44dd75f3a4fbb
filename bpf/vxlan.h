/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Frames that the vxlan device has taken out of the tunnel: the slow way in.
 * They may have come round from_underlay (as fragments, or by another device),
 * so everything is asked again.
 */
#ifndef OVL_VXLAN_H
#define OVL_VXLAN_H

#include "deliver.h"
#include "flood.h"
#include "nd.h"
#include "service.h"
#include "source.h"
#include "tunnel.h"
#include "underlay.h"
#include "ways.h"

/* Who is to have a frame. */
struct target {
	__u8 mac[ETH_ALEN] OVL_ALIGNED;
	bool nameless; /* the sender asks who has the address that it wants to take */
};

/* The endpoint that a frame is for; NULL and the reason if there is none, or no
 * reason if it is for everybody.
 * ARP requests and neighbour solicitations come to a group from hosts that
 * are plain vxlan devices, and go to the one endpoint that can answer.
 */
static __always_inline struct fdb_entry *vxlan_target(struct __sk_buff *ctx, const struct sender *s,
						      struct target *t, int *reason)
{
	__u8 *dst = t->mac;
	struct ethhdr *eth;
	bool neighbour = false;
	__be16 proto;

	*reason = OVL_DROP_TRUNCATED;
	eth = frame(ctx, sizeof(*eth));
	if (!eth)
		return NULL;
	copy_mac(dst, eth->h_dest);

	/* Behind a tag that the device has taken off, a VLAN of the endpoints'
	 * own has its own addresses: as where it was sent, the MACs say it all.
	 */
	proto = ctx->vlan_present ? 0 : eth->h_proto;
	if (proto == bpf_htons(ETH_P_ARP)) {
		struct arp_frame *arp = frame(ctx, sizeof(*arp));
		struct neigh_entry *n;

		if (!arp)
			return NULL;
		*reason = check_arp(s, arp);
		if (*reason)
			return NULL;
		if (is_group(dst)) {
			*reason = OVL_DROP_MULTICAST;
			if (arp->op != bpf_htons(OVL_ARP_REQUEST))
				return NULL;
			*reason = OVL_DROP_UNKNOWN_NEIGHBOUR;
			n = neigh4(s->vni, addr4(arp->tpa));
			if (!n)
				return NULL;
			copy_mac(dst, n->mac);
		}
	} else if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip;

		eth = frame(ctx, sizeof(*eth) + sizeof(*ip));
		if (!eth)
			return NULL;
		ip = (void *)(eth + 1);
		*reason = check_ip4(s, ip, ctx->len - ETH_HLEN);
		if (*reason)
			return NULL;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct upper u = { .offset = ETH_HLEN + sizeof(struct ipv6hdr) };
		struct ipv6hdr *ip6;

		eth = frame(ctx, sizeof(*eth) + sizeof(*ip6));
		if (!eth)
			return NULL;
		ip6 = (void *)(eth + 1);
		u.proto = ip6->nexthdr;
		*reason = check_ip6(ip6, ctx->len - ETH_HLEN);
		if (!*reason)
			*reason = inspect6(ctx, s, &u);
		if (*reason)
			return NULL;
		neighbour = u.proto == IPPROTO_ICMPV6 &&
			    (u.type == OVL_ND_NS || u.type == OVL_ND_NA);
		if (neighbour && u.type == OVL_ND_NS && is_group(dst)) {
			struct nd_frame *nd = frame(ctx, sizeof(*nd));

			*reason = OVL_DROP_UNKNOWN_NEIGHBOUR;
			if (!nd || !owner6(s->vni, nd->target, dst))
				return NULL;
			t->nameless = unspecified6((const __u8 *)&nd->ip6.saddr);
		}
	}

	/* What is left of neighbour discovery is for nobody: it never floods. */
	if (is_group(dst)) {
		*reason = neighbour || !carries_multicast(s->vni) ? OVL_DROP_MULTICAST : 0;
		return NULL;
	}
	*reason = OVL_DROP_NOT_LOCAL;
	return local_endpoint(s->vni, dst);
}

/* answer_duplicate tells a plain vxlan device that an address is taken. The
 * endpoint that has it would tell all nodes, and that does not cross.
 */
static __always_inline int answer_duplicate(struct __sk_buff *ctx, __u32 vni, const __u8 *owner,
					    const struct fdb_entry *from)
{
	const struct config *cfg = config();
	struct port_traffic *t = sender(ctx);
	int reason = advertise(ctx, owner);

	if (!cfg || reason)
		return drop(ctx, cfg ? reason : OVL_DROP_ENCAP);
	/* One frame ends here, another begins. */
	received_from(ctx, from->peer, TC_ACT_OK);
	if (t)
		count(ctx, &t->counted.answered);
	measure(ctx, 0);
	if (t)
		count(ctx, &t->counted.copied);
	return encapsulate_slow(ctx, cfg, from, vni);
}

static __always_inline bool untagged_ip(struct __sk_buff *ctx)
{
	struct ethhdr *eth = frame(ctx, sizeof(*eth));

	return eth && !ctx->vlan_present &&
	       (eth->h_proto == bpf_htons(ETH_P_IP) || eth->h_proto == bpf_htons(ETH_P_IPV6));
}

static __always_inline int from_device(struct __sk_buff *ctx)
{
	struct bpf_tunnel_key key = {};
	struct fdb_entry *from, *to;
	struct target target = {};
	__u8 vtep[16] OVL_ALIGNED = { [10] = 0xff, [11] = 0xff };
	__u8 src[ETH_ALEN] OVL_ALIGNED;
	struct ethhdr *eth;
	struct sender s;
	__u32 peer;
	int reason, verdict;
	long rc;

	rc = bpf_skb_get_tunnel_key(ctx, &key, offsetof(struct bpf_tunnel_key, local_ipv4),
				    underlay6 ? BPF_F_TUNINFO_IPV6 : 0);
	/* The device takes packets of either family, and no member sends those of
	 * the other.
	 */
	if (rc == -EPROTO)
		return drop(ctx, OVL_DROP_UNKNOWN_VTEP);
	if (rc)
		return drop(ctx, OVL_DROP_ENCAP);
	if (underlay6) {
		copy_words(vtep, key.remote_ipv6, 4);
	} else {
		__be32 remote = bpf_htonl(key.remote_ipv4);

		copy4(vtep + 12, &remote);
	}
	if (ctx->vlan_present && !whole_behind_tags(ctx))
		return drop(ctx, OVL_DROP_TRUNCATED);
	eth = frame(ctx, sizeof(*eth));
	if (!eth)
		return drop(ctx, OVL_DROP_TRUNCATED);
	copy_mac(src, eth->h_source);
	reason = remote_sender(key.tunnel_id, src, vtep, &from);
	if (reason)
		return drop(ctx, reason);
	s = (struct sender){
		.vni = key.tunnel_id, .mac = src, .addr4 = from->addr4, .addr6 = from->addr6
	};
	peer = from->peer;
	to = vxlan_target(ctx, &s, &target, &reason);
	if (!to && reason)
		return drop(ctx, inner_reason(reason));
	if (to && target.nameless)
		return answer_duplicate(ctx, key.tunnel_id, target.mac, from);
	if (to && (from->flags & OVL_PORT_BACKEND) && untagged_ip(ctx)) {
		reason = from_backend(ctx, key.tunnel_id);
		if (reason)
			return drop(ctx, reason);
	}
	verdict = to ? deliver(ctx, to, false) : flood(ctx, key.tunnel_id, OVL_FROM_TUNNEL);
	return received_from(ctx, peer, verdict);
}

static __always_inline int vxlan(struct __sk_buff *ctx)
{
	bool untagged = untag(ctx);

	measure(ctx, 0);
	return settle(ctx, untagged ? from_device(ctx) : drop(ctx, OVL_DROP_INNER_MALFORMED),
		      false);
}

#endif
