/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Headers as they stand in a frame, and safe access to them. */
#ifndef OVL_PARSE_H
#define OVL_PARSE_H

#include "consts.h"

struct vxlanhdr {
	__be32 flags; /* I flag and reserved bits */
	__be32 vni; /* VNI in the upper 24 bits */
};

/* Everything that encapsulation puts before the inner packet. Packed, for it
 * is laid over frames that start at an even address only.
 */
struct tunnel_hdr {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
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
#define OVL_ND_RS 133
#define OVL_ND_REDIRECT 137
#define OVL_ND_NS 135
#define OVL_ND_NA 136
#define OVL_ND_OPT_SLLA 1
#define OVL_ND_OPT_TLLA 2

/* frame returns the first `len` bytes of the frame for direct access, having
 * pulled them into the linear part if need be; NULL if the frame is shorter.
 * Pointers got before are void after it.
 */
static __always_inline void *frame(struct __sk_buff *ctx, __u32 len)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if (data + len <= end)
		return data;
	if (bpf_skb_pull_data(ctx, len))
		return NULL;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	return data + len <= end ? data : NULL;
}

static __always_inline __u32 addr4(const void *p)
{
	__u32 a;

	__builtin_memcpy(&a, p, sizeof(a));
	return a;
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return !__builtin_memcmp(a, b, ETH_ALEN);
}

static __always_inline bool is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

#endif
