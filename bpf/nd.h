/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* IPv6 neighbour discovery (RFC 4861): what may pass, and the answer to a
 * solicitation, which never leaves the host of the endpoint that asks.
 */
#ifndef OVL_ND_H
#define OVL_ND_H

#include "counters.h"
#include "source.h"
#include "upper.h"

#define OVL_ND_START (ETH_HLEN + sizeof(struct ipv6hdr))
#define OVL_ND_HEADER 24 /* before the options */
#define OVL_ND_OPTIONS 13
/* The longest message that is looked at. Linux sends 40 bytes. */
#define OVL_ND_MAX (OVL_ND_HEADER + OVL_ND_OPTIONS * sizeof(struct nd_option))
#define OVL_ND_SOLICITED 0x40000000
#define OVL_ND_OVERRIDE 0x20000000

/* An advertisement as endpoints are answered. */
struct nd_answer {
	struct ipv6hdr ip6;
	__u8 type;
	__u8 code;
	__sum16 csum;
	__be32 flags;
	__u8 target[16];
	struct nd_option opt;
};

static __always_inline __u64 add_words(__u64 sum, const void *p, __u32 words)
{
	const __u32 *w = p;
	__u32 i;

#pragma unroll
	for (i = 0; i < words; i++)
		sum += w[i];
	return sum;
}

static __always_inline __sum16 fold_checksum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* pseudo6 sums up what of the IPv6 header is part of the checksum of a message
 * of that length: both addresses, that follow each other (RFC 8200 section 8.1).
 */
static __always_inline __u64 pseudo6(const void *addrs, __u32 len)
{
	return add_words((__u64)bpf_htonl(len) + bpf_htonl(IPPROTO_ICMPV6), addrs, 8);
}

/* check_nd_options wants the options to end where the message does, which one of
 * no length never does, and a link-layer address to be the sender's. One who has
 * no address yet gives none.
 */
static __always_inline int check_nd_options(struct __sk_buff *ctx, const struct sender *s,
					    __u32 len, bool nameless)
{
	__u32 i, at = OVL_ND_HEADER;

	for (i = 0; i < OVL_ND_OPTIONS && at < len; i++) {
		struct nd_option opt OVL_ALIGNED;

		if (bpf_skb_load_bytes(ctx, OVL_ND_START + at, &opt, sizeof(opt)))
			return OVL_DROP_INNER_MALFORMED;
		at += opt.len * 8;
		if (opt.type != OVL_ND_OPT_SLLA && opt.type != OVL_ND_OPT_TLLA)
			continue;
		if (opt.len != 1 || (nameless && opt.type == OVL_ND_OPT_SLLA))
			return OVL_DROP_INNER_MALFORMED;
		if (!same_mac(opt.mac, s->mac))
			return OVL_DROP_SOURCE_ARP;
	}
	return at == len ? 0 : OVL_DROP_INNER_MALFORMED;
}

/* nd_checksum is 0 for a message that is whole. It lies behind its IPv6 header,
 * whose part of the sum is pseudo. The bounds of the length are written out, one
 * by one: the verifier of Linux 6.1 does not follow what the compiler makes of
 * both.
 */
static __always_inline __sum16 nd_checksum(struct __sk_buff *ctx, __u64 len, __u64 pseudo)
{
	__u32 message[OVL_ND_MAX / 4] = {};

	len &= ~7ULL;
	if (len > OVL_ND_MAX)
		return 1;
	asm volatile("" : "+r"(len));
	if (len < OVL_ND_HEADER)
		return 1;
	if (bpf_skb_load_bytes(ctx, OVL_ND_START, message, len))
		return 1;
	return fold_checksum(pseudo + (__u32)bpf_csum_diff(NULL, 0, message, len, 0));
}

/* check_neighbour checks a solicitation or an advertisement, RFC 4861 sections
 * 7.1.1 and 7.1.2, and what the sender says of itself.
 */
static __always_inline int check_neighbour(struct __sk_buff *ctx, const struct sender *s)
{
	struct nd_frame *nd = frame(ctx, sizeof(*nd));
	bool nameless;
	__u32 len;

	if (!nd)
		return OVL_DROP_TRUNCATED;
	len = bpf_ntohs(nd->ip6.payload_len);
	if (nd->ip6.hop_limit != 255 || nd->code || group6(nd->target))
		return OVL_DROP_INNER_MALFORMED;
	nameless = unspecified6((const __u8 *)&nd->ip6.saddr);
	if (nd->type == OVL_ND_NA) {
		if (group6((const __u8 *)&nd->ip6.daddr) &&
		    (nd->flags & bpf_htonl(OVL_ND_SOLICITED)))
			return OVL_DROP_INNER_MALFORMED;
		if (!owns6(s->vni, s->mac, s->addr6, nd->target))
			return OVL_DROP_SOURCE_ARP;
	} else if (nameless && !solicited_node((const __u8 *)&nd->ip6.daddr)) {
		return OVL_DROP_INNER_MALFORMED;
	}
	/* RFC 4862 section 5.4.2: duplicate-address detection asks without one. */
	if (!(nameless && nd->type == OVL_ND_NS) && !sends_from6(s, &nd->ip6.saddr))
		return OVL_DROP_SOURCE_IP;
	if (nd_checksum(ctx, len, pseudo6(&nd->ip6.saddr, len)))
		return OVL_DROP_INNER_MALFORMED;
	return check_nd_options(ctx, s, len, nameless);
}

/* inspect6 looks at an IPv6 packet that does not carry TCP or UDP right behind
 * its header, and tells in u what it carries. Returns 0 or the reason to drop.
 * No endpoint is a router that others may learn of (RFC 6105), nor asks for one.
 */
static __noinline int inspect6(struct __sk_buff *ctx, const struct sender *s, struct upper *u)
{
	struct ipv6hdr *ip6;
	int reason;
	void *data;

	reason = walk6(ctx, u);
	if (reason)
		return reason;
	if (u->proto == IPPROTO_ICMPV6) {
		switch (u->type) {
		case OVL_ND_RS:
			return OVL_DROP_MULTICAST;
		case OVL_ND_RA:
		case OVL_ND_REDIRECT:
			return OVL_DROP_ROGUE_ROUTER;
		case OVL_ND_NS:
		case OVL_ND_NA:
			/* RFC 6980, for who is to inspect it could not. */
			if (u->extended)
				return OVL_DROP_INNER_MALFORMED;
			return check_neighbour(ctx, s);
		}
	}
	data = frame(ctx, ETH_HLEN + sizeof(*ip6));
	if (!data)
		return OVL_DROP_TRUNCATED;
	ip6 = data + ETH_HLEN;
	if (sends_from6(s, &ip6->saddr))
		return 0;
	/* RFC 3590: a report may come before its sender has an address. */
	if (unspecified6((const __u8 *)&ip6->saddr) && u->proto == IPPROTO_ICMPV6 &&
	    (u->type == OVL_MLD_REPORT || u->type == OVL_MLD_DONE || u->type == OVL_MLD2_REPORT))
		return OVL_DROP_MULTICAST;
	return OVL_DROP_SOURCE_IP;
}

/* advertise turns a solicitation into the advertisement that the owner of the
 * address would send. Returns 0 or the reason to drop.
 */
static __noinline int advertise(struct __sk_buff *ctx, const __u8 *owner)
{
	const __u32 len = sizeof(struct nd_answer) - sizeof(struct ipv6hdr);
	struct nd_answer a OVL_ALIGNED = {
		.ip6 = {
			.version = 6,
			.payload_len = bpf_htons(len),
			.nexthdr = IPPROTO_ICMPV6,
			.hop_limit = 255,
		},
		.type = OVL_ND_NA,
		.flags = bpf_htonl(OVL_ND_SOLICITED | OVL_ND_OVERRIDE),
		.opt = { .type = OVL_ND_OPT_TLLA, .len = 1 },
	};
	__u8 asker[ETH_ALEN] OVL_ALIGNED = { 0x33, 0x33, 0, 0, 0, 1 };
	struct nd_frame *nd = frame(ctx, sizeof(*nd));
	struct ethhdr *eth;

	if (!nd)
		return OVL_DROP_TRUNCATED;
	copy_mac(a.opt.mac, owner);
	copy_words(a.target, nd->target, 4);
	copy_words(&a.ip6.saddr, nd->target, 4);
	copy_words(&a.ip6.daddr, &nd->ip6.saddr, 4);
	if (unspecified6((const __u8 *)&a.ip6.daddr)) {
		/* Who has no address yet is told with all others: RFC 4861
		 * section 7.2.4.
		 */
		a.ip6.daddr.s6_addr32[0] = bpf_htonl(0xff020000);
		a.ip6.daddr.s6_addr32[3] = bpf_htonl(1);
		a.flags = bpf_htonl(OVL_ND_OVERRIDE);
	} else {
		copy_mac(asker, nd->eth.h_source);
	}
	a.csum = fold_checksum(add_words(pseudo6(&a.ip6.saddr, len), &a.type, len / 4));

	if (bpf_skb_change_tail(ctx, sizeof(*eth) + sizeof(a), 0))
		return OVL_DROP_ENCAP;
	eth = frame(ctx, sizeof(*eth) + sizeof(a));
	if (!eth)
		return OVL_DROP_ENCAP;
	copy_mac(eth->h_dest, asker);
	copy_mac(eth->h_source, owner);
	copy_words(eth + 1, &a, sizeof(a) / 4);
	return 0;
}

/* answer_nd answers a solicitation of an endpoint. One for its own address, by
 * which it looks for duplicates, nobody answers.
 */
static __always_inline int answer_nd(struct __sk_buff *ctx, const struct port *port)
{
	__u8 owner[ETH_ALEN] OVL_ALIGNED;
	struct nd_frame *nd = frame(ctx, sizeof(*nd));
	struct fdb_entry *e;
	int reason;

	if (!nd)
		return drop(ctx, OVL_DROP_TRUNCATED);
	/* A link-local address may be made of a MAC that no endpoint has. */
	if (!owner6(port->vni, nd->target, owner))
		return drop(ctx, OVL_DROP_UNKNOWN_NEIGHBOUR);
	e = fdb(port->vni, owner);
	if (!e || ((e->flags & OVL_TO_SERVICE) && link_local(nd->target, owner)))
		return drop(ctx, OVL_DROP_UNKNOWN_NEIGHBOUR);
	if (same_mac(owner, port->mac))
		return drop(ctx, OVL_DROP_MULTICAST);
	reason = advertise(ctx, owner);
	return reason ? drop(ctx, reason) : answer(ctx);
}

#endif
