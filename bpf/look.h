/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reading of a packet what its flow is known by. */
#ifndef OVL_LOOK_H
#define OVL_LOOK_H

#include "nat.h"
#include "upper.h"

#define OVL_SECOND_NS 1000000000ULL
#define OVL_FRAGMENT_NS (30 * OVL_SECOND_NS)

#define OVL_TCP_FLAGS 13 /* the byte of the header */
#define OVL_TCP_FIN 0x01
#define OVL_TCP_SYN 0x02
#define OVL_TCP_RST 0x04
#define OVL_TCP_ACK 0x10

static __always_inline __u8 tcp_flags(const struct work *k)
{
	return k->key.protocol == IPPROTO_TCP && k->l4 ? k->head[OVL_TCP_FLAGS] : 0;
}

/* is_syn recognises the first segment of a connection. */
static __always_inline bool is_syn(const struct work *k)
{
	return (tcp_flags(k) & (OVL_TCP_SYN | OVL_TCP_ACK)) == OVL_TCP_SYN;
}

/* may_be_syn is is_syn before anybody has looked, for a packet whose transport
 * header is at that offset if it has one.
 */
static __always_inline bool may_be_syn(struct __sk_buff *ctx, __u8 protocol, __u32 at)
{
	__u8 flags = 0;

	if (protocol != IPPROTO_TCP)
		return false;
	bpf_skb_load_bytes(ctx, at + OVL_TCP_FLAGS, &flags, sizeof(flags));
	return (flags & (OVL_TCP_SYN | OVL_TCP_ACK)) == OVL_TCP_SYN;
}

/* remember keeps the ports of a first fragment for the later ones. */
static __always_inline void remember(struct work *k)
{
	struct fragment_entry e = {
		.sport = k->key.sport,
		.dport = k->key.dport,
		.protocol = k->key.protocol,
		.seen = k->now,
	};

	bpf_map_update_elem(&ovl_fragments, &k->fragment, &e, BPF_ANY);
}

static __always_inline int recall(struct work *k)
{
	struct fragment_entry *e = bpf_map_lookup_elem(&ovl_fragments, &k->fragment);

	if (!e || k->now - e->seen > OVL_FRAGMENT_NS)
		return OVL_DROP_SERVICE_FRAGMENT;
	k->key.protocol = e->protocol;
	k->key.sport = e->sport;
	k->key.dport = e->dport;
	return 0;
}

/* packet_end is where a packet ends that says to have that length. One that is
 * still to be cut reaches to the end of the frame.
 */
static __always_inline __u32 packet_end(struct __sk_buff *ctx, __u32 len)
{
	return ctx->gso_size || ETH_HLEN + len > ctx->len ? ctx->len : ETH_HLEN + len;
}

static __always_inline int look4(struct __sk_buff *ctx, struct work *k)
{
	struct ethhdr *eth = frame(ctx, ETH_HLEN + sizeof(struct iphdr));
	struct iphdr *ip;

	if (!eth)
		return OVL_DROP_TRUNCATED;
	ip = (void *)(eth + 1);
	copy_words(&k->from_mac, eth, sizeof(k->from_mac) / 4);
	*(__u64 *)k->key.src = *(__u64 *)k->key.dst = 0;
	*(__be32 *)(k->key.src + 8) = *(__be32 *)(k->key.dst + 8) = bpf_htonl(0xffff);
	copy4(k->key.src + 12, &ip->saddr);
	copy4(k->key.dst + 12, &ip->daddr);
	k->key.protocol = ip->protocol;
	k->l4 = ETH_HLEN + ip->ihl * 4;
	k->end = packet_end(ctx, bpf_ntohs(ip->tot_len));
	if (ip->frag_off & bpf_htons(OVL_IP_FRAG)) {
		k->part = ip->frag_off & bpf_htons(OVL_IP_OFFSET) ? OVL_PART_LATER : OVL_PART_FIRST;
		k->fragment.protocol = ip->protocol;
		*(__u32 *)k->fragment.id = ip->id;
	}
	return 0;
}

static __always_inline int look6(struct __sk_buff *ctx, struct work *k)
{
	struct upper u = { .offset = ETH_HLEN + sizeof(struct ipv6hdr) };
	struct ethhdr *eth = frame(ctx, u.offset);
	struct ipv6hdr *ip6;
	int reason;

	if (!eth)
		return OVL_DROP_TRUNCATED;
	ip6 = (void *)(eth + 1);
	copy_words(&k->from_mac, eth, sizeof(k->from_mac) / 4);
	copy_words(k->key.src, &ip6->saddr, 4);
	copy_words(k->key.dst, &ip6->daddr, 4);
	/* In the tables it would be an IPv4 address. */
	if (mapped6(k->key.dst))
		return OVL_DROP_UNKNOWN_DESTINATION;
	k->end = packet_end(ctx, sizeof(*ip6) + bpf_ntohs(ip6->payload_len));
	u.proto = ip6->nexthdr;
	if (is_extension(u.proto)) {
		reason = walk6(ctx, &u);
		if (reason)
			return reason;
	}
	k->key.protocol = u.proto;
	k->l4 = u.offset;
	k->ipv6 = true;
	if (u.fragment) {
		k->part = u.proto == IPPROTO_FRAGMENT ? OVL_PART_LATER : OVL_PART_FIRST;
		k->fragment.protocol = u.fragment_proto;
		*(__u32 *)k->fragment.id = u.id;
	}
	return 0;
}

/* look_upper reads the transport header. Ports are where TCP and UDP have them. */
static __always_inline int look_upper(struct __sk_buff *ctx, struct work *k)
{
	switch (k->key.protocol) {
	case IPPROTO_TCP:
		if (bpf_skb_load_bytes(ctx, k->l4, k->head, sizeof(struct tcphdr)))
			return OVL_DROP_TRUNCATED;
		break;
	case IPPROTO_UDP:
		if (bpf_skb_load_bytes(ctx, k->l4, k->head, sizeof(struct udphdr)))
			return OVL_DROP_TRUNCATED;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return bpf_skb_load_bytes(ctx, k->l4, k->head, OVL_ICMP_HLEN) ? OVL_DROP_TRUNCATED
									      : 0;
	default:
		return 0;
	}
	k->key.sport = bpf_ntohs(*(__be16 *)k->head);
	k->key.dport = bpf_ntohs(*(__be16 *)(k->head + 2));
	return 0;
}

/* look fills struct work in, from an IP packet of that network. Returns 0 or the
 * reason to drop; what it could read stands there even so.
 */
__noinline int look(struct __sk_buff *ctx, __u32 vni)
{
	struct work *k = work();
	struct ethhdr *eth = frame(ctx, sizeof(*eth));
	int reason;

	if (!k || !eth)
		return OVL_DROP_TRUNCATED;
	k->now = bpf_ktime_get_coarse_ns();
	k->epoch = epoch; /* before the tables: see way_out */
	k->key.vni = vni;
	*(__u32 *)&k->key.sport = 0;
	k->ipv6 = false;
	k->part = 0;
	reason = eth->h_proto == bpf_htons(ETH_P_IPV6) ? look6(ctx, k) : look4(ctx, k);
	if (reason)
		return reason;
	if (k->part) {
		k->fragment.vni = vni;
		copy_words(k->fragment.src, k->key.src, 8);
	}
	if (k->part == OVL_PART_LATER) {
		k->l4 = 0;
		reason = recall(k);
		k->upper = k->key.protocol;
		return reason;
	}
	k->upper = k->key.protocol;
	return look_upper(ctx, k);
}

#endif
