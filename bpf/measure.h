/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a frame counts for. It is measured once, as it comes; whoever counts it
 * later, under whatever name, counts the same packets and bytes, so that the
 * sums of both ends agree.
 */
#ifndef OVL_MEASURE_H
#define OVL_MEASURE_H

#include "upper.h"

/* What the program notes of its frame in ctx->cb: the measure, and the slot of
 * the port that sent it, zero if none did, and whether it is one no more that the
 * port would know; of a GSO packet, how long the headers are, Ethernet's included,
 * that each of its segments repeats. Written out, for the compiler otherwise
 * computes an address of its own, which the verifier refuses.
 */
#define OVL_CB(n) offsetof(struct __sk_buff, cb[n])
#define OVL_CB_PACKETS OVL_CB(0)
#define OVL_CB_BYTES OVL_CB(1)
#define OVL_CB_SLOT OVL_CB(2)
#define OVL_CB_TRANSLATED OVL_CB(3) /* it was to a VIP (nat.h) */
#define OVL_CB_HEADERS OVL_CB(4)

#define note(ctx, offset, value) \
	asm volatile("*(u32 *)(%0 + %1) = %2" ::"r"(ctx), "i"(offset), "r"((__u32)(value)))

#define noted(ctx, offset)                                                                    \
	({                                                                                    \
		__u64 value;                                                                  \
		asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(value) : "r"(ctx), "i"(offset)); \
		value;                                                                        \
	})

#define OVL_VLAN_HLEN 4
#define OVL_MAX_TAGS 2

/* segment_headers returns the length of all that every segment of a GSO packet
 * repeats, from its Ethernet header on, which stands at start.
 */
static __always_inline __u32 segment_headers(struct __sk_buff *ctx, __u32 start)
{
	__u8 b = 0, protocol = 0;
	__u32 at = start + offsetof(struct ethhdr, h_proto);
	struct upper u = {};
	__be16 type = 0;
	int i;

	bpf_skb_load_bytes(ctx, at, &type, sizeof(type));
	at += sizeof(type);
	for (i = 0; i < OVL_MAX_TAGS; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		at += OVL_VLAN_HLEN;
		bpf_skb_load_bytes(ctx, at - sizeof(type), &type, sizeof(type));
	}
	if (type == bpf_htons(ETH_P_IP)) {
		bpf_skb_load_bytes(ctx, at, &b, sizeof(b)); /* version and IHL */
		bpf_skb_load_bytes(ctx, at + offsetof(struct iphdr, protocol), &protocol,
				   sizeof(protocol));
		at += (b & 0xf) * 4;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		bpf_skb_load_bytes(ctx, at + offsetof(struct ipv6hdr, nexthdr), &protocol,
				   sizeof(protocol));
		at += sizeof(struct ipv6hdr);
		u.offset = at;
		u.proto = protocol;
		walk6(ctx, &u);
		at = u.offset;
		protocol = u.proto;
	}
	if (protocol == IPPROTO_TCP) {
		bpf_skb_load_bytes(ctx, at + 12, &b, sizeof(b)); /* data offset */
		at += (b >> 4) * 4;
	} else if (protocol == IPPROTO_UDP) {
		at += sizeof(struct udphdr);
	}
	return at - start;
}

/* plain_headers is segment_headers for IP without tags, options or extensions, whose
 * headers lie together: nearly all there is, and read without a call. Returns 0 for
 * other packets. The mask tells the verifier what bounds start, which is encap_len at
 * most.
 */
static __always_inline __u32 plain_headers(struct __sk_buff *ctx, __u32 start)
{
	const void *p = frame_start(ctx) + (start & 0x7f), *end = frame_end(ctx);
	const struct ethhdr *eth = p;
	const __u8 *l4;
	__u8 protocol;

	if (p + ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = p + ETH_HLEN;

		if (ip->ihl != 5)
			return 0;
		protocol = ip->protocol;
		l4 = (const void *)(ip + 1);
	} else {
		const struct ipv6hdr *ip6 = p + ETH_HLEN;

		if (eth->h_proto != bpf_htons(ETH_P_IPV6) ||
		    (const void *)(ip6 + 1) + sizeof(struct tcphdr) > end)
			return 0;
		protocol = ip6->nexthdr;
		l4 = (const void *)(ip6 + 1);
	}
	if (protocol == IPPROTO_TCP)
		return l4 - (const __u8 *)p + (l4[12] >> 4) * 4; /* data offset */
	if (protocol == IPPROTO_UDP)
		return l4 - (const __u8 *)p + sizeof(struct udphdr);
	return 0;
}

/* measure_segments counts a GSO packet as the packets that it stands for, which
 * the kernel, a device or nobody at all cuts apart after us. What it says of
 * their number itself is no use: a TAP and adjust_room leave it at zero.
 *
 * A function of its own, for the verifier to look at once.
 */
__noinline int measure_segments(struct __sk_buff *ctx, __u32 start)
{
	const __u32 size = ctx->gso_size;
	__u32 headers, payload, bytes, packets;

	headers = plain_headers(ctx, start);
	if (!headers)
		headers = segment_headers(ctx, start);
	note(ctx, OVL_CB_HEADERS, headers);
	bytes = ctx->len - start;
	if (ctx->vlan_present) {
		headers += OVL_VLAN_HLEN;
		bytes += OVL_VLAN_HLEN;
	}
	if (!size || ctx->len <= start || bytes <= headers)
		return 0;
	payload = bytes - headers;
	packets = (payload + size - 1) / size;
	note(ctx, OVL_CB_PACKETS, packets);
	note(ctx, OVL_CB_BYTES, payload + packets * headers);
	return 0;
}

/* measure notes what the frame counts for whose Ethernet header stands at start,
 * behind the tunnel's headers if there are any. It comes before anything that
 * changes the frame. A tag that the device has taken off counts.
 */
static __always_inline void measure(struct __sk_buff *ctx, __u32 start)
{
	__u32 len = ctx->len;

	note(ctx, OVL_CB_SLOT, 0);
	note(ctx, OVL_CB_TRANSLATED, 0);
	note(ctx, OVL_CB_PACKETS, 1);
	note(ctx, OVL_CB_BYTES,
	     (len > start ? len - start : 0) + (ctx->vlan_present ? OVL_VLAN_HLEN : 0));
	if (ctx->gso_size)
		measure_segments(ctx, start);
}

#endif
