/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets to VIPs (docs/adr/0017). */
#ifndef OVL_SERVICE_H
#define OVL_SERVICE_H

#include "balance.h"
#include "quote.h"
#include "refuse.h"
#include "ways.h"

/* How many source ports are tried for a flow whose own is taken. */
#define OVL_PORT_TRIES 32
#define OVL_FIRST_PORT 1024

static __always_inline struct vip_entry *vip(__u32 vni, const __u8 *addr)
{
	struct vip_key key = { .vni = vni };

	copy_words(key.addr, addr, 4);
	return bpf_map_lookup_elem(&ovl_services, &key);
}

/* target is the port of backends that the packet's leads to. False: it is not
 * offered.
 */
static __always_inline bool target(const struct work *k, const struct vip_entry *v, __u16 *port)
{
	const struct target_key key = {
		.service = v->service,
		.port = k->key.dport,
		.protocol = k->key.protocol,
	};
	struct target_entry *t;

	*port = k->key.dport;
	if (v->flags & OVL_SERVICE_ANY_PORT)
		return true;
	t = bpf_map_lookup_elem(&ovl_targets, &key);
	if (!t)
		return false;
	*port = t->port;
	return true;
}

/* taken says whether answers with the key k->other already belong to another flow. */
static __always_inline bool taken(const struct work *k)
{
	struct flow_entry *o = find(&k->other);

	if (!o)
		return false;
	if ((o->flags & OVL_FLOW_REVERSE) && leads_to(o, &k->key))
		return false;
	return k->now < o->seen ||
	       k->now - o->seen <= flow_time(k->key.protocol, OVL_FLOW_ESTABLISHED);
}

/* renew makes an entry that of a flow which begins. */
static __always_inline void renew(struct flow_entry *f, const struct flow_entry *as, __u16 flags)
{
	f->flags = as->flags | flags;
	f->epoch = as->epoch;
	f->born = f->seen = as->seen;
	f->counted = (struct counter){};
}

/* again lets k->flow begin in the entries of the flow of k->key that is over. False: it
 * does not lead where that one did, which is forgotten. A client that is busy comes to
 * use its ports again soon, and entries cost more than all the rest.
 */
static __always_inline bool again(struct work *k)
{
	struct flow_entry *o, *f = find(&k->key);

	if (f && f->service == k->flow.service && f->endpoint == k->flow.endpoint &&
	    same_words(f->src, k->flow.src, 9) && same_mac(f->mac, k->flow.mac)) {
		turn_round(&k->other, &k->key, f);
		o = find(&k->other);
		if (o && leads_to(o, &k->key)) {
			renew(f, &k->flow, 0);
			renew(o, &k->flow, OVL_FLOW_REVERSE);
			return true;
		}
	}
	forget(k);
	return false;
}

/* begin makes the entries of a new flow; over: in place of one that is. Returns 0 or
 * the reason to drop.
 */
static __always_inline int begin(struct work *k, const struct vip_entry *v, __u16 port, bool over)
{
	__u32 i, endpoint = choose(k, v);
	struct flow_entry *f = &k->flow;
	struct backend_entry *b;
	bool own;

	b = endpoint ? backend(v->service, endpoint) : NULL;
	if (!b || !has_family(b, k->ipv6))
		return OVL_DROP_NO_BACKEND;
	own = same_mac(b->mac, k->from_mac.src);
	copy_words(f->src, own ? k->key.dst : k->key.src, 4);
	if (k->ipv6) {
		copy_words(f->dst, b->addr6, 4);
	} else {
		copy_words(f->dst, k->key.dst, 3);
		copy4(f->dst + 12, b->addr4);
	}
	f->sport = k->key.sport;
	f->dport = port;
	copy_mac(f->mac, b->mac);
	f->flags = (own ? OVL_FLOW_OWN : 0) | (v->affinity ? OVL_FLOW_AFFINE : 0);
	f->service = v->service;
	f->endpoint = endpoint;
	f->epoch = k->epoch;
	f->born = f->seen = k->now;
	f->counted = (struct counter){};
	if (over && again(k))
		return 0;
	turn_round(&k->other, &k->key, f);
	for (i = 0; i < OVL_PORT_TRIES && taken(k); i++)
		k->other.dport = OVL_FIRST_PORT + (k->key.sport * 40503U + endpoint + i * 7919) %
							  (65536 - OVL_FIRST_PORT);
	if (i == OVL_PORT_TRIES)
		return OVL_DROP_NO_BACKEND;
	f->sport = k->other.dport;
	if (bpf_map_update_elem(&ovl_flows_young, &k->key, f, BPF_ANY))
		return OVL_DROP_NO_BACKEND;
	copy_words(f->src, k->key.dst, 4);
	copy_words(f->dst, k->key.src, 4);
	f->sport = k->key.dport;
	f->dport = k->key.sport;
	f->flags |= OVL_FLOW_REVERSE;
	if (bpf_map_update_elem(&ovl_flows_young, &k->other, f, BPF_ANY))
		return OVL_DROP_NO_BACKEND;
	/* What has been looked up since it was made is pushed out later. The client's
	 * direction is, when its packet goes on; the answers' shall not go before.
	 */
	find(&k->other);
	return 0;
}

/* confirm says whether the service that has the VIP, now, has the flow's backend. */
static __always_inline bool confirm(const struct work *k, struct flow_entry *f,
				    const struct vip_entry *v)
{
	if (!v || !backend(v->service, f->endpoint))
		return false;
	f->service = v->service;
	f->epoch = k->epoch;
	return true;
}

/* What known_flow says of a packet's flow. */
#define OVL_NO_FLOW 0
#define OVL_THIS_FLOW 1
#define OVL_NEXT_FLOW 2 /* it ends, and this is the first packet of another */
#define OVL_ODD_FLOW 3 /* it is one of answers, which do not come to the MAC of VIPs */

/* ask_tables is decide, but that a flow which ends is still there if none comes next.
 */
static __always_inline int ask_tables(struct work *k, int flow)
{
	const struct vip_entry *v = vip(k->key.vni, k->key.dst);
	struct flow_entry *f = NULL;
	__u16 port;
	bool own;

	if (!v) {
		if (flow != OVL_THIS_FLOW)
			return OVL_DROP_UNKNOWN_DESTINATION;
		forget(k);
		return k->key.protocol == IPPROTO_TCP ? OVL_DROP_BACKEND_GONE
						      : OVL_DROP_UNKNOWN_DESTINATION;
	}
	if (flow == OVL_THIS_FLOW || flow == OVL_ODD_FLOW)
		f = find(&k->key);
	own = f && (f->flags & OVL_FLOW_REVERSE);
	if (!own && !target(k, v, &port))
		return OVL_DROP_SERVICE_PORT;
	if (f) {
		if (confirm(k, f, v))
			return 0;
		forget(k);
		if (k->key.protocol == IPPROTO_TCP && !is_syn(k))
			return OVL_DROP_BACKEND_GONE;
	}
	return own ? OVL_DROP_SERVICE_PORT : begin(k, v, port, flow == OVL_NEXT_FLOW);
}

/* decide asks the tables about a packet whose flow is not known, or was not asked
 * about since they have changed. Returns 0 if there is a flow, or the reason to
 * drop. What a client that is its own backend answers comes to no port of the
 * service, and begins nothing.
 */
__noinline int decide(int flow)
{
	struct work *k = work();
	int reason;

	if (!k)
		return OVL_DROP_NO_BACKEND;
	reason = ask_tables(k, flow);
	if (reason && flow == OVL_NEXT_FLOW)
		forget(k);
	return reason;
}

/* known_flow returns the entry of k->key if tables need not be asked, and what is known
 * of its flow.
 */
static __always_inline struct flow_entry *known_flow(struct work *k, int *flow)
{
	struct flow_entry *f = find(&k->key);

	*flow = OVL_NO_FLOW;
	if (!f)
		return NULL;
	/* Unless its client is its backend. */
	if ((f->flags & (OVL_FLOW_REVERSE | OVL_FLOW_OWN)) == OVL_FLOW_REVERSE) {
		*flow = OVL_ODD_FLOW;
		return NULL;
	}
	if (is_syn(k) && is_closing(k, f)) {
		*flow = OVL_NEXT_FLOW;
		return NULL;
	}
	if (k->now > f->seen && k->now - f->seen >= OVL_SECOND_NS) {
		if (!refresh()) {
			forget(k);
			return NULL;
		}
		f = find(&k->key);
		if (!f)
			return NULL;
	}
	*flow = OVL_THIS_FLOW;
	return f;
}

#define OVL_REFUSED -1

/* to_vip_itself is for what is neither TCP nor UDP. Returns 0 if it goes on to a
 * backend, OVL_REFUSED for what the client is to be told of, or the verdict.
 */
__noinline int to_vip_itself(struct __sk_buff *ctx)
{
	struct work *k = work();
	struct vip_entry *v;
	struct flow_entry *f;
	__u32 upper;
	int reason;

	if (!k)
		return TC_ACT_SHOT;
	v = vip(k->key.vni, k->key.dst);
	if (!v)
		return drop(ctx, OVL_DROP_UNKNOWN_DESTINATION);
	if (k->upper != (k->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return OVL_REFUSED;
	if (!k->part && k->head[0] == (k->ipv6 ? OVL_ICMP6_ECHO : OVL_ICMP_ECHO))
		return echo(ctx, k, k->ipv6 ? OVL_ICMP6_ECHO_REPLY : OVL_ICMP_ECHO_REPLY);
	if (!is_icmp_error(k))
		return drop(ctx, OVL_DROP_SERVICE_PORT);
	f = quoted_flow(ctx, k, &upper);
	if (!f || !confirm(k, f, v))
		return drop(ctx, OVL_DROP_SERVICE_PORT);
	reason = turn_error(ctx, upper);
	if (reason)
		return drop(ctx, reason);
	note(ctx, OVL_CB_TRANSLATED, 1);
	return 0;
}

/* to_service translates a packet to a VIP. Returns 0, or the verdict if it goes
 * no further.
 */
__noinline int to_service(struct __sk_buff *ctx, __u32 vni)
{
	struct work *k = work();
	struct flow_entry *f;
	int reason, flow;

	if (!k)
		return TC_ACT_SHOT;
	reason = look(ctx, vni);
	if (reason)
		return drop(ctx, vip(vni, k->key.dst) ? reason : OVL_DROP_UNKNOWN_DESTINATION);
	if (k->key.protocol != IPPROTO_TCP && k->key.protocol != IPPROTO_UDP) {
		reason = to_vip_itself(ctx);
		return reason == OVL_REFUSED ? refuse(ctx, OVL_DROP_SERVICE_PORT) : reason;
	}
	f = known_flow(k, &flow);
	if (!f || f->epoch != k->epoch) {
		reason = decide(flow);
		if (reason)
			return refuse(ctx, reason);
		f = find(&k->key);
		if (!f)
			return drop(ctx, OVL_DROP_NO_BACKEND);
	}
	reason = go_on(ctx, k, f);
	if (reason)
		return drop(ctx, reason);
	note(ctx, OVL_CB_TRANSLATED, 1);
	return 0;
}

/* by_service sends a packet on to where a VIP leads: it returns the way, or NULL
 * and the verdict.
 */
static __always_inline struct way_out *by_service(struct __sk_buff *ctx, const struct way_out *w,
						  int *verdict)
{
	struct way_out *on;
	struct ethhdr *eth;

	*verdict = to_service(ctx, w->port.vni);
	if (*verdict)
		return NULL;
	*verdict = drop(ctx, OVL_DROP_UNKNOWN_DESTINATION);
	eth = frame(ctx, sizeof(*eth));
	if (!eth)
		return NULL;
	on = way_out(ctx->ifindex, eth->h_dest);
	return on && (on->to.ifindex || on->to.peer) ? on : NULL;
}

/* to_backend is for the first segment of a connection that a client begins with a
 * backend itself, and not by a VIP: the answers are not those of a flow that is
 * over.
 */
__noinline int to_backend(struct __sk_buff *ctx, __u32 vni)
{
	struct work *k = work();
	struct flow_entry *f;

	if (!k || look(ctx, vni) || !is_syn(k))
		return 0;
	copy_ends(&k->from, k->key.src);
	copy_words(k->key.src, k->from.dst, 4);
	copy_words(k->key.dst, k->from.src, 4);
	k->key.sport = k->from.dport;
	k->key.dport = k->from.sport;
	f = find(&k->key);
	if (f && is_over(k, f))
		forget(k);
	return 0;
}

/* from_backend translates what belongs to a flow to a VIP, on its way from a
 * backend to its client. Returns 0, also for what does not, or the reason to
 * drop.
 */
__noinline int from_backend(struct __sk_buff *ctx, __u32 vni)
{
	struct work *k = work();
	struct flow_entry *f;
	__u32 upper = 0;

	if (!k || look(ctx, vni))
		return 0;
	f = is_icmp_error(k) ? quoted_flow(ctx, k, &upper) : find(&k->key);
	if (!f || (f->flags & (OVL_FLOW_REVERSE | OVL_FLOW_OWN)) != OVL_FLOW_REVERSE)
		return 0;
	if (!same_mac(f->mac, k->from_mac.src))
		return 0;
	if (k->now > f->seen && k->now - f->seen >= OVL_SECOND_NS) {
		if (!refresh())
			return 0;
		f = find(&k->key);
		if (!f)
			return 0;
	}
	if (f->epoch != k->epoch && !confirm(k, f, vip(vni, f->src)))
		return 0;
	return upper ? turn_error(ctx, upper) : go_on(ctx, k, f);
}

#endif
