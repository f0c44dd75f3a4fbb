/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which backend a new flow gets: package balance, in C. */
#ifndef OVL_BALANCE_H
#define OVL_BALANCE_H

#include "flows.h"

static __always_inline __u32 rotate(__u32 x, __u32 by)
{
	return x << by | x >> (32 - by);
}

static __always_inline __u32 murmur_word(__u32 h, __u32 k)
{
	h ^= rotate(k * 0xcc9e2d51, 15) * 0x1b873593;
	return rotate(h, 13) * 5 + 0xe6546b64;
}

/* flow_hash is balance.Flow's Hash; affine, that of its Affine. */
static __always_inline __u32 flow_hash(const struct flow_key *key, bool affine)
{
	const __u32 *w = (const __u32 *)key->src;
	__u32 i, h = 0;

#pragma unroll
	for (i = 0; i < 8; i++)
		h = murmur_word(h, w[i]);
	h = murmur_word(h, affine ? 0 : bpf_htons(key->sport) | (__u32)bpf_htons(key->dport) << 16);
	h = murmur_word(h, affine ? 0 : key->protocol);
	h ^= 40;
	h = (h ^ h >> 16) * 0x85ebca6b;
	h = (h ^ h >> 13) * 0xc2b2ae35;
	return h ^ h >> 16;
}

static __always_inline struct backend_entry *backend(__u32 service, __u32 endpoint)
{
	const struct backend_key key = { .service = service, .endpoint = endpoint };

	return bpf_map_lookup_elem(&ovl_backends, &key);
}

static __always_inline bool has_family(const struct backend_entry *b, bool ipv6)
{
	return ipv6 ? !unspecified6(b->addr6) : addr4(b->addr4) != 0;
}

/* balanced returns the number of the endpoint that the table names, 0 if none. */
static __always_inline __u32 balanced(__u32 service, bool ipv6, __u32 hash)
{
	const struct table_key key = { .service = service, .family = ipv6 ? 6 : 4 };
	void *table = bpf_map_lookup_elem(&ovl_tables, &key);
	table_row *r;
	__u32 row = 0, at;

	if (!table)
		return 0;
	r = bpf_map_lookup_elem(table, &row);
	if (!r)
		return 0;
	at = ((__u64)hash * (*r)[0]) >> 32;
	row = 1 + at / OVL_ROW;
	r = bpf_map_lookup_elem(table, &row);
	return r ? (*r)[at & (OVL_ROW - 1)] : 0;
}

/* choose returns the number of the endpoint that the flow of k->key is to go to,
 * 0 if there is none.
 */
static __always_inline __u32 choose(struct work *k, const struct vip_entry *vip)
{
	struct affinity_entry *a, fresh = { .seen = k->now };
	struct affinity_key key = { .service = vip->service };
	struct backend_entry *b;

	if (!vip->affinity)
		return balanced(vip->service, k->ipv6, flow_hash(&k->key, false));
	copy_words(key.client, k->key.src, 4);
	a = bpf_map_lookup_elem(&ovl_affinity, &key);
	if (a && k->now - a->seen <= vip->affinity * OVL_SECOND_NS) {
		b = backend(vip->service, a->endpoint);
		if (b && !b->draining && has_family(b, k->ipv6)) {
			a->seen = k->now;
			return a->endpoint;
		}
	}
	fresh.endpoint = balanced(vip->service, k->ipv6, flow_hash(&k->key, true));
	if (fresh.endpoint)
		bpf_map_update_elem(&ovl_affinity, &key, &fresh, BPF_ANY);
	return fresh.endpoint;
}

#endif
