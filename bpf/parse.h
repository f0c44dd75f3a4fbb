/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Headers as they stand in a frame, and safe access to them. */
#ifndef OVL_PARSE_H
#define OVL_PARSE_H

#include "consts.h"

struct vxlanhdr {
	__be32 flags; /* I flag and reserved bits */
	__be32 vni; /* VNI in the upper 24 bits */
};

/* What stands between the outer IP header and the inner packet. */
struct tunnel_hdr {
	struct udphdr udp;
	struct vxlanhdr vxlan;
	struct ethhdr inner;
} __attribute__((packed));

/* What follows the outer Ethernet header, on an underlay of either family. */
struct outer4 {
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
};

struct outer6 {
	struct ipv6hdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
};

/* Everything that encapsulation puts before the inner packet. */
struct headers4 {
	struct ethhdr eth;
	struct outer4 outer;
	struct ethhdr inner;
} __attribute__((packed));

struct headers6 {
	struct ethhdr eth;
	struct outer6 outer;
	struct ethhdr inner;
} __attribute__((packed));

struct arp_frame {
	struct ethhdr eth;
	__be16 hrd;
	__be16 pro;
	__u8 hln;
	__u8 pln;
	__be16 op;
	__u8 sha[ETH_ALEN];
	__u8 spa[4];
	__u8 tha[ETH_ALEN];
	__u8 tpa[4];
} __attribute__((packed));

/* A neighbour solicitation or advertisement, RFC 4861 sections 4.3 and 4.4,
 * as far as its first option.
 */
struct nd_frame {
	struct ethhdr eth;
	struct ipv6hdr ip6;
	__u8 type;
	__u8 code;
	__sum16 csum;
	__be32 flags;
	__u8 target[16];
} __attribute__((packed));

struct nd_option {
	__u8 type;
	__u8 len;
	__u8 mac[ETH_ALEN];
} __attribute__((packed));

#define OVL_ARP_REQUEST 1
#define OVL_ARP_REPLY 2
#define OVL_MLD_REPORT 131
#define OVL_MLD_DONE 132
#define OVL_ND_RS 133
#define OVL_ND_RA 134
#define OVL_ND_NS 135
#define OVL_ND_NA 136
#define OVL_ND_REDIRECT 137
#define OVL_MLD2_REPORT 143
#define OVL_ND_OPT_SLLA 1
#define OVL_ND_OPT_TLLA 2

/* Loads and copies in as few instructions as the size allows. The packet may
 * leave them unaligned, which the machines that BPF is compiled for do not
 * mind; memcpy would go byte by byte.
 */
static __always_inline __be32 addr4(const void *p)
{
	return *(const __be32 *)p;
}

/* mapped4 reads the IPv4 address out of ::ffff:a.b.c.d. */
static __always_inline __be32 mapped4(const __u8 *addr)
{
	return addr4(addr + 12);
}

static __always_inline void copy4(void *to, const void *from)
{
	*(__u32 *)to = *(const __u32 *)from;
}

static __always_inline void copy_words(void *to, const void *from, __u32 words)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < words; i++)
		copy4(to + 4 * i, from + 4 * i);
}

static __always_inline void copy2(void *to, const void *from)
{
	*(__u16 *)to = *(const __u16 *)from;
}

/* MACs go by twos: inside a struct on the stack one need not be aligned to
 * four, and there the verifier does mind.
 */
static __always_inline void copy_mac(void *to, const void *from)
{
	copy2(to, from);
	copy2(to + 2, from + 2);
	copy2(to + 4, from + 4);
}

static __always_inline void copy_eth(void *to, const void *from)
{
	copy_words(to, from, 3);
	copy2(to + 12, from + 12);
}

static __always_inline bool same_mac(const void *a, const void *b)
{
	const __u16 *x = a, *y = b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

static __always_inline bool same_words(const void *a, const void *b, __u32 words)
{
	const __u32 *x = a, *y = b;
	__u32 i, diff = 0;

#pragma unroll
	for (i = 0; i < words; i++)
		diff |= x[i] ^ y[i];
	return !diff;
}

/* traffic_class is to IPv6 what the TOS byte is to IPv4. */
static __always_inline __u8 traffic_class(const struct ipv6hdr *ip6)
{
	return bpf_ntohs(*(const __be16 *)ip6) >> 4;
}

static __always_inline bool is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* untag takes a priority tag off, one of VLAN 0: its receiver takes the frame
 * for one without a tag, so it has to be looked at as one. Returns false for a
 * frame that has another such tag behind it.
 */
static __always_inline bool untag(struct __sk_buff *ctx)
{
	if (ctx->vlan_present && !(ctx->vlan_tci & OVL_VLAN_ID) && bpf_skb_vlan_pop(ctx))
		return false;
	return !ctx->vlan_present || (ctx->vlan_tci & OVL_VLAN_ID);
}

/* whole_behind_tags says whether a frame with tags has all of the IP header
 * behind them. Nobody here looks into it, but the vxlan device does since Linux
 * 6.10, and drops the frame without telling us.
 */
static __always_inline bool whole_behind_tags(struct __sk_buff *ctx)
{
	__u32 i, at = ETH_HLEN - sizeof(__be16);
	__be16 type;

	for (i = 0; i < OVL_VLAN_DEPTH; i++) {
		if (bpf_skb_load_bytes(ctx, at, &type, sizeof(type)))
			return false;
		at += sizeof(type);
		if (type == bpf_htons(ETH_P_IP))
			return ctx->len >= at + sizeof(struct iphdr);
		if (type == bpf_htons(ETH_P_IPV6))
			return ctx->len >= at + sizeof(struct ipv6hdr);
		if (!is_tag(type))
			return true;
		at += sizeof(__be16);
	}
	return false;
}

/* The bounds of the frame. Written out, for the compiler otherwise computes
 * with the 32 bits that it believes them to be, which the verifier refuses.
 */
static __always_inline void *frame_start(const struct __sk_buff *ctx)
{
	void *p;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(p)
		     : "r"(ctx), "i"(offsetof(struct __sk_buff, data)));
	return p;
}

static __always_inline void *frame_end(const struct __sk_buff *ctx)
{
	void *p;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(p)
		     : "r"(ctx), "i"(offsetof(struct __sk_buff, data_end)));
	return p;
}

/* frame returns the first `len` bytes of the frame for direct access, having
 * pulled them into the linear part if need be; NULL if the frame is shorter.
 * Pointers got before are void after it.
 */
static __always_inline void *frame(struct __sk_buff *ctx, __u32 len)
{
	void *data = frame_start(ctx);

	if (data + len <= frame_end(ctx))
		return data;
	if (bpf_skb_pull_data(ctx, len))
		return NULL;
	data = frame_start(ctx);
	return data + len <= frame_end(ctx) ? data : NULL;
}

#endif
