/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What translation does to a packet: addresses, ports and MACs of struct work's from
 * become those of its to, and checksums follow (RFC 1624), whoever is to complete
 * them: we, the stack, or a device.
 */
#ifndef OVL_NAT_H
#define OVL_NAT_H

#include "csum.h"
#include "measure.h"
#include "tables.h"

static __always_inline struct work *work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ovl_work, &zero);
}

static __always_inline void copy_ends(void *to, const void *from)
{
	copy_words(to, from, sizeof(struct ends) / 4);
}

static __always_inline __be32 ports(const struct ends *e)
{
	return bpf_htons(e->sport) | (__u32)bpf_htons(e->dport) << 16;
}

/* translate_upper mends the transport's checksum, which covers addresses too, and
 * puts the ports in. diff is what the addresses have changed by.
 */
static __always_inline long translate_upper(struct __sk_buff *ctx, const struct work *k,
					    __wsum diff)
{
	const __be32 old = ports(&k->from), new = ports(&k->to);
	__u32 at, mangled = 0;
	long rc;

	switch (k->upper) {
	case IPPROTO_TCP:
		at = k->l4 + offsetof(struct tcphdr, check);
		break;
	case IPPROTO_UDP:
		at = k->l4 + offsetof(struct udphdr, check);
		mangled = BPF_F_MARK_MANGLED_0;
		break;
	case IPPROTO_ICMPV6:
		at = k->l4 + 2;
		break;
	default:
		return 0;
	}
	rc = bpf_l4_csum_replace(ctx, at, 0, diff, mangled | BPF_F_PSEUDO_HDR);
	if (rc)
		return rc;
	/* The sum that a device has taken of the packet is not mended as if there
	 * were an IPv4 header, whose own checksum makes up for its addresses.
	 */
	if (k->ipv6)
		bpf_csum_update(ctx, diff);
	if (k->upper == IPPROTO_ICMPV6 || old == new)
		return 0;
	rc = bpf_l4_csum_replace(ctx, at, old, new, mangled | sizeof(new));
	if (rc)
		return rc;
	return bpf_skb_store_bytes(ctx, k->l4, &new, sizeof(new), 0);
}

/* diff4 is what bpf_csum_diff says of IPv4 addresses, without the call. */
static __always_inline __wsum diff4(const struct ends *from, const struct ends *to)
{
	__u64 sum = (__u64)(__u32)~mapped4(from->src) + (__u32)~mapped4(from->dst) +
		    (__u32)mapped4(to->src) + (__u32)mapped4(to->dst);

	sum = (__u32)sum + (sum >> 32);
	return (__u32)sum + (__u32)(sum >> 32);
}

/* translate returns 0, or an error if headers are not there to be written. */
__noinline int translate(struct __sk_buff *ctx)
{
	struct work *k = work();
	struct ethhdr *eth;
	__wsum diff;

	if (!k)
		return -1;
	if (k->ipv6) {
		struct ipv6hdr *ip6;

		diff = bpf_csum_diff((__be32 *)k->from.src, 2 * sizeof(k->from.src),
				     (__be32 *)k->to.src, 2 * sizeof(k->to.src), 0);
		eth = frame(ctx, ETH_HLEN + sizeof(*ip6));
		if (!eth)
			return -1;
		ip6 = (void *)(eth + 1);
		copy_words(&ip6->saddr, k->to.src, 4);
		copy_words(&ip6->daddr, k->to.dst, 4);
	} else {
		struct iphdr *ip;

		diff = diff4(&k->from, &k->to);
		eth = frame(ctx, ETH_HLEN + sizeof(*ip));
		if (!eth)
			return -1;
		ip = (void *)(eth + 1);
		ip->saddr = mapped4(k->to.src);
		ip->daddr = mapped4(k->to.dst);
		ip->check = ~fold16((__u16)~ip->check + (__u32)fold16(diff));
	}
	copy_words(eth, &k->to_mac, sizeof(k->to_mac) / 4);
	return k->l4 ? translate_upper(ctx, k, diff) : 0;
}

/* translate_back makes the packet what it was. */
static __always_inline int translate_back(struct __sk_buff *ctx)
{
	struct work *k = work();
	struct macs macs;
	struct ends ends;

	if (!k)
		return -1;
	copy_ends(&ends, &k->from);
	copy_ends(&k->from, &k->to);
	copy_ends(&k->to, &ends);
	copy_words(&macs, &k->from_mac, sizeof(macs) / 4);
	copy_words(&k->from_mac, &k->to_mac, sizeof(macs) / 4);
	copy_words(&k->to_mac, &macs, sizeof(macs) / 4);
	return translate(ctx);
}

#endif
