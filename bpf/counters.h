/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counting. Per-CPU entries need no atomics: a tc program is not preempted by
 * another one on its CPU.
 */
#ifndef OVL_COUNTERS_H
#define OVL_COUNTERS_H

#include "maps.h"
#include "measure.h"

/* Verdicts of our own, which settle turns into those of tc. */
#define OVL_ANSWERED 0x100
#define OVL_DROPPED 0x200 /* plus the reason */

static __always_inline void count(struct __sk_buff *ctx, struct counter *c)
{
	c->packets += noted(ctx, OVL_CB_PACKETS);
	c->bytes += noted(ctx, OVL_CB_BYTES);
}

/* count_copies counts so many copies of the frame. */
static __always_inline void count_copies(struct __sk_buff *ctx, struct counter *c, __u32 copies)
{
	c->packets += copies * noted(ctx, OVL_CB_PACKETS);
	c->bytes += copies * noted(ctx, OVL_CB_BYTES);
}

static __always_inline struct peer *peer(__u32 slot)
{
	return bpf_map_lookup_elem(&ovl_peers, &slot);
}

static __always_inline struct port_traffic *port_traffic(__u32 slot)
{
	return bpf_map_lookup_elem(&ovl_traffic, &slot);
}

/* sender is where the port counts that sent the frame, slot 0 if none did. */
static __always_inline struct port_traffic *sender(struct __sk_buff *ctx)
{
	return port_traffic(noted(ctx, OVL_CB_SLOT));
}

/* count_dropped counts so many copies. made_here: they were not there when a
 * frame came out of the tunnel, but were sent by an endpoint or copied by us.
 */
static __always_inline void count_dropped(struct __sk_buff *ctx, enum drop_reason reason,
					  __u32 copies, bool made_here)
{
	struct counter *c = bpf_map_lookup_elem(&ovl_drops, &reason);
	struct port_traffic *from = made_here ? sender(ctx) : NULL;

	if (c)
		count_copies(ctx, c, copies);
	if (from)
		count_copies(ctx, &from->counted.dropped, copies);
}

/* drop and answer end the work on a frame; the program has to return what they
 * return. An answer has been made of the frame, and goes back to its sender.
 */
static __always_inline int drop(struct __sk_buff *ctx, enum drop_reason reason)
{
	return OVL_DROPPED + reason;
}

static __always_inline int answer(struct __sk_buff *ctx)
{
	return OVL_ANSWERED;
}

/* settle counts what became of a frame, unless it went on, which is counted
 * where it goes.
 */
static __always_inline int settle(struct __sk_buff *ctx, int verdict, bool made_here)
{
	struct port_traffic *from;

	if (verdict < OVL_ANSWERED)
		return verdict;
	if (verdict == OVL_ANSWERED) {
		from = sender(ctx);
		if (from)
			count(ctx, &from->counted.answered);
		return bpf_redirect(ctx->ifindex, 0);
	}
	count_dropped(ctx, verdict - OVL_DROPPED, 1, made_here);
	return TC_ACT_SHOT;
}

#endif
