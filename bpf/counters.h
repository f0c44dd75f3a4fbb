/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counting. Per-CPU entries need no atomics: a tc program is not preempted by
 * another one on its CPU.
 */
#ifndef OVL_COUNTERS_H
#define OVL_COUNTERS_H

#include "maps.h"

/* drop_many counts so many copies of one frame. */
static __always_inline int drop_many(struct __sk_buff *ctx, enum drop_reason reason, __u32 copies)
{
	struct counter *c = bpf_map_lookup_elem(&ovl_drops, &reason);

	if (c) {
		c->packets += copies;
		c->bytes += (__u64)copies * ctx->len;
	}
	return TC_ACT_SHOT;
}

static __always_inline int drop(struct __sk_buff *ctx, enum drop_reason reason)
{
	return drop_many(ctx, reason, 1);
}

static __always_inline struct peer *peer(__u32 slot)
{
	return bpf_map_lookup_elem(&ovl_peers, &slot);
}

static __always_inline void count_sent(struct peer *p, __u32 bytes)
{
	p->sent_packets++;
	p->sent_bytes += bytes;
}

static __always_inline void count_received(__u32 slot, __u32 bytes)
{
	struct peer *p = peer(slot);

	if (p) {
		p->received_packets++;
		p->received_bytes += bytes;
	}
}

#endif
