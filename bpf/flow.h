/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Telling flows apart, so that the underlay can spread them. */
#ifndef OVL_FLOW_H
#define OVL_FLOW_H

#include "upper.h"

static __always_inline __u32 fold(__u64 h)
{
	/* The odd constant spreads every bit upwards; the fold brings them back. */
	h *= 0x9e3779b97f4a7c15ULL;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ULL;
	return h >> 32;
}

/* flow_hash4 and flow_hash6 return the same number for all packets of an inner flow. A TCP
 * socket has chosen one already, and changes it when a path seems broken; for
 * the others it is made of addresses, protocol and ports. Fragments have no
 * ports to look at but in the first, so none of them uses them: all take the
 * same way.
 */
static __always_inline __u32 flow_hash4(struct __sk_buff *ctx, const struct iphdr *ip)
{
	const void *l4 = (const void *)ip + ip->ihl * 4;
	__u64 h;

	if (ctx->hash)
		return ctx->hash;
	h = ((__u64)ip->saddr << 32 | ip->daddr) ^ ip->protocol;
	if ((ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) &&
	    !(ip->frag_off & bpf_htons(OVL_IP_FRAG)) && l4 + 4 <= frame_end(ctx))
		h ^= (__u64)addr4(l4) << 16;
	return fold(h);
}

static __always_inline __u32 flow_hash6(struct __sk_buff *ctx, const struct ipv6hdr *ip6,
					const struct upper *u)
{
	const __u32 *w = (const void *)&ip6->saddr;
	const void *l4 = ip6 + 1;
	__be32 ports = 0;
	__u64 h;

	if (ctx->hash)
		return ctx->hash;
	h = (__u64)(w[0] ^ w[2] ^ w[5] ^ w[7]) << 32 | (w[1] ^ w[3] ^ w[4] ^ w[6]);
	h = (__u64)fold(h) << 32 ^ w[3] ^ w[7] ^ (u->fragment ? IPPROTO_FRAGMENT : u->proto);
	if ((u->proto == IPPROTO_TCP || u->proto == IPPROTO_UDP) && !u->fragment) {
		if (u->extended)
			bpf_skb_load_bytes(ctx, u->offset, &ports, sizeof(ports));
		else if (l4 + 4 <= frame_end(ctx))
			ports = addr4(l4);
		h ^= (__u64)ports << 16;
	}
	return fold(h);
}

#endif
