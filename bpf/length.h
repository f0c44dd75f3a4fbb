/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How long the packets are that a frame becomes on the wire. */
#ifndef OVL_LENGTH_H
#define OVL_LENGTH_H

#include "measure.h"
#include "parse.h"

/* packet_len returns the length of the IP packet as the underlay will see it:
 * of the largest segment where the kernel is still to cut it.
 */
static __always_inline __u32 packet_len(struct __sk_buff *ctx, __u32 headers)
{
	if (ctx->gso_size)
		return ctx->gso_size + headers;
	return ctx->len - ETH_HLEN;
}

/* gso_headers returns the length of the headers that every segment of a GSO
 * packet repeats, 0 for a packet that is none.
 */
static __always_inline __u16 gso_headers(struct __sk_buff *ctx, __u32 l3_len, __u8 protocol)
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

/* slow_len is packet_len for a frame that nobody has looked into. */
static __always_inline __u32 slow_len(struct __sk_buff *ctx)
{
	return packet_len(ctx, ctx->gso_size ? segment_headers(ctx, 0) - ETH_HLEN : 0);
}

/* tag_len is what a tag that the device has taken off will take up again. */
static __always_inline __u32 tag_len(struct __sk_buff *ctx)
{
	return ctx->vlan_present ? OVL_VLAN_HLEN : 0;
}

#endif
