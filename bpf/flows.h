/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The memory of flows: an entry for each direction, by packets as they come, in
 * ovl_flows_young, and in ovl_flows when both ends have spoken and a second has
 * passed. Packets change nothing in an entry but its counters and its sign of
 * closing; the rest waits for refresh, once a second.
 *
 *	begin ──▶ young ── refresh: replied, a second old ──▶ ovl_flows
 *	            ▲                                            │
 *	            └────────────────── closing ─────────────────┘
 *
 * An entry goes when it is the one that was quiet the longest in a full table. One
 * that has been quiet for too long is as good as none.
 */
#ifndef OVL_FLOWS_H
#define OVL_FLOWS_H

#include "look.h"

/* datapath.FlowTime…, in ns. */
#define OVL_TIME_NEW (60 * OVL_SECOND_NS)
#define OVL_TIME_CLOSING (60 * OVL_SECOND_NS)
#define OVL_TIME_ESTABLISHED_TCP (7800 * OVL_SECOND_NS)
#define OVL_TIME_ESTABLISHED_UDP (180 * OVL_SECOND_NS)

static __always_inline struct flow_entry *find(const struct flow_key *key)
{
	struct flow_entry *f = bpf_map_lookup_elem(&ovl_flows_young, key);

	return f ? f : bpf_map_lookup_elem(&ovl_flows, key);
}

/* turn_round makes the key of the other direction out of what becomes of a packet. */
static __always_inline void turn_round(struct flow_key *key, const struct flow_key *of,
				       const struct flow_entry *f)
{
	key->vni = of->vni;
	copy_words(key->src, f->dst, 4);
	copy_words(key->dst, f->src, 4);
	key->sport = f->dport;
	key->dport = f->sport;
	copy4(&key->protocol, &of->protocol);
}

/* leads_to says whether packets of an entry become those whose answers have key. */
static __always_inline bool leads_to(const struct flow_entry *f, const struct flow_key *key)
{
	return same_words(f->src, key->dst, 4) && same_words(f->dst, key->src, 4) &&
	       f->sport == key->dport && f->dport == key->sport;
}

static __always_inline void forget_key(const struct flow_key *key)
{
	bpf_map_delete_elem(&ovl_flows_young, key);
	bpf_map_delete_elem(&ovl_flows, key);
}

/* forget loses the flow of k->key. */
static __always_inline void forget(struct work *k)
{
	struct flow_entry *o, *f = find(&k->key);

	if (!f)
		return;
	turn_round(&k->other, &k->key, f);
	o = find(&k->other);
	if (o && leads_to(o, &k->key))
		forget_key(&k->other);
	forget_key(&k->key);
}

/* move takes an entry from one table to the other. */
static __always_inline void move(struct work *k, const struct flow_key *key,
				 const struct flow_entry *f, bool to_young, __u16 flags)
{
	__builtin_memcpy(&k->flow, f, sizeof(k->flow));
	k->flow.flags |= flags;
	if (to_young) {
		bpf_map_update_elem(&ovl_flows_young, key, &k->flow, BPF_ANY);
		bpf_map_delete_elem(&ovl_flows, key);
	} else {
		bpf_map_update_elem(&ovl_flows, key, &k->flow, BPF_ANY);
		bpf_map_delete_elem(&ovl_flows_young, key);
	}
}

static __always_inline __u64 flow_time(__u8 protocol, __u16 flags)
{
	if (protocol != IPPROTO_UDP && (flags & OVL_FLOW_CLOSING))
		return OVL_TIME_CLOSING;
	if (!(flags & OVL_FLOW_ESTABLISHED))
		return OVL_TIME_NEW;
	return protocol == IPPROTO_UDP ? OVL_TIME_ESTABLISHED_UDP : OVL_TIME_ESTABLISHED_TCP;
}

/* touch keeps a client with its backend. */
static __always_inline void touch(const struct work *k, const struct flow_entry *f)
{
	struct affinity_entry fresh = { .endpoint = f->endpoint, .seen = k->now }, *a;
	struct affinity_key key = { .service = f->service };

	copy_words(key.client, k->key.src, 4);
	a = bpf_map_lookup_elem(&ovl_affinity, &key);
	if (!a)
		bpf_map_update_elem(&ovl_affinity, &key, &fresh, BPF_ANY);
	else if (a->endpoint == f->endpoint)
		a->seen = k->now;
}

/* refresh looks after the flow of k->key: whether it is still one, where its
 * entries belong, and that both are there. Returns false if there is no such flow
 * (any more).
 */
__noinline int refresh(void)
{
	struct work *k = work();
	struct flow_entry *f, *o;
	__u16 flags;
	__u64 seen;

	if (!k)
		return false;
	f = find(&k->key);
	if (!f)
		return false;
	turn_round(&k->other, &k->key, f);
	o = find(&k->other);
	/* Another flow has taken its place. */
	if (o && !leads_to(o, &k->key))
		return false;
	flags = f->flags & (OVL_FLOW_CLOSING | OVL_FLOW_ESTABLISHED);
	seen = f->seen;
	if ((f->flags & OVL_FLOW_REVERSE) ? f->counted.packets : o && o->counted.packets)
		flags |= OVL_FLOW_ESTABLISHED;
	if (o) {
		flags |= o->flags & (OVL_FLOW_CLOSING | OVL_FLOW_ESTABLISHED);
		if (o->seen > seen)
			seen = o->seen;
	}
	if (k->now > seen && k->now - seen > flow_time(k->key.protocol, flags))
		return false;

	f->seen = k->now;
	if ((f->flags & OVL_FLOW_AFFINE) && !(f->flags & OVL_FLOW_REVERSE))
		touch(k, f);
	if (!o) {
		__builtin_memcpy(&k->flow, f, sizeof(k->flow));
		copy_words(k->flow.src, k->key.dst, 4);
		copy_words(k->flow.dst, k->key.src, 4);
		k->flow.sport = k->key.dport;
		k->flow.dport = k->key.sport;
		k->flow.flags = (f->flags ^ OVL_FLOW_REVERSE) & ~OVL_FLOW_CLOSING;
		k->flow.counted = (struct counter){};
		bpf_map_update_elem(&ovl_flows_young, &k->other, &k->flow, BPF_NOEXIST);
		o = find(&k->other);
	}
	flags &= OVL_FLOW_ESTABLISHED;
	if (!flags || ((f->flags | (o ? o->flags : 0)) & OVL_FLOW_CLOSING) ||
	    k->now - f->born < OVL_SECOND_NS)
		return true;
	if (bpf_map_lookup_elem(&ovl_flows_young, &k->key))
		move(k, &k->key, f, false, flags);
	o = bpf_map_lookup_elem(&ovl_flows_young, &k->other);
	if (o)
		move(k, &k->other, o, false, flags);
	return true;
}

/* closing notes that the flow of k->key ends, by a reset for both directions: it is
 * not for ovl_flows any more.
 */
__noinline int closing(void)
{
	struct work *k = work();
	struct flow_entry *f, *o;

	if (!k)
		return 0;
	f = find(&k->key);
	if (!f)
		return 0;
	f->flags |= OVL_FLOW_CLOSING;
	turn_round(&k->other, &k->key, f);
	o = find(&k->other);
	if (o && (tcp_flags(k) & OVL_TCP_RST))
		o->flags |= OVL_FLOW_CLOSING;
	f = bpf_map_lookup_elem(&ovl_flows, &k->key);
	if (f)
		move(k, &k->key, f, true, OVL_FLOW_CLOSING | OVL_FLOW_ESTABLISHED);
	o = bpf_map_lookup_elem(&ovl_flows, &k->other);
	if (o)
		move(k, &k->other, o, true, OVL_FLOW_ESTABLISHED);
	return 0;
}

/* is_closing says whether one of the directions has ended. */
static __always_inline bool is_closing(struct work *k, const struct flow_entry *f)
{
	struct flow_entry *o;

	if (f->flags & OVL_FLOW_CLOSING)
		return true;
	turn_round(&k->other, &k->key, f);
	o = find(&k->other);
	return o && (o->flags & OVL_FLOW_CLOSING);
}

/* is_over says whether both directions have ended. */
static __always_inline bool is_over(struct work *k, const struct flow_entry *f)
{
	struct flow_entry *o;

	turn_round(&k->other, &k->key, f);
	o = find(&k->other);
	return o && (f->flags & o->flags & OVL_FLOW_CLOSING);
}

/* turn makes a packet of k->key what its flow says. Returns 0 or the reason to
 * drop.
 */
static __always_inline int turn(struct __sk_buff *ctx, struct work *k, const struct flow_entry *f)
{
	const __u8 service[ETH_ALEN] OVL_ALIGNED = OVL_SERVICE_MAC;

	copy_ends(&k->from, k->key.src);
	copy_ends(&k->to, f->src);
	copy_words(&k->to_mac, &k->from_mac, sizeof(k->to_mac) / 4);
	if (!(f->flags & OVL_FLOW_REVERSE) || (f->flags & OVL_FLOW_OWN))
		copy_mac(k->to_mac.dst, f->mac);
	if (f->flags & (OVL_FLOW_REVERSE | OVL_FLOW_OWN))
		copy_mac(k->to_mac.src, service);
	return translate(ctx) ? OVL_DROP_ENCAP : 0;
}

/* go_on is turn for what the flow itself consists of, and counts it. */
static __always_inline int go_on(struct __sk_buff *ctx, struct work *k, struct flow_entry *f)
{
	const __u8 flags = tcp_flags(k);
	const bool ends = (flags & OVL_TCP_RST) ||
			  ((flags & OVL_TCP_FIN) && !(f->flags & OVL_FLOW_CLOSING));
	int reason;

	__sync_fetch_and_add(&f->counted.packets, noted(ctx, OVL_CB_PACKETS));
	__sync_fetch_and_add(&f->counted.bytes, noted(ctx, OVL_CB_BYTES));
	reason = turn(ctx, k, f);
	if (ends && ((flags & OVL_TCP_RST) || (f->flags & OVL_FLOW_ESTABLISHED)))
		closing();
	else if (ends)
		f->flags |= OVL_FLOW_CLOSING;
	if (k->part == OVL_PART_FIRST)
		remember(k);
	return reason;
}

#endif
