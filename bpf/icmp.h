/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the sender of a packet is told that cannot go where it wants: an ICMP error,
 * made out of the packet itself and sent back the way it came. Without those that
 * say "fragmentation needed" or "packet too big" a sender would go on sending what
 * never arrives.
 *
 * A tunnel never fragments (RFC 7348 section 4.3), so the answer does not depend
 * on DF: a sender that leaves fragmenting to the network learns from it what to
 * cut its packets to, as Linux does. Nothing limits their rate: each costs a
 * packet that is larger, and goes to nobody but who sent that.
 */
#ifndef OVL_ICMP_H
#define OVL_ICMP_H

#include "counters.h"
#include "csum.h"
#include "nat.h"
#include "tables.h"
#include "upper.h"

/* Every IPv4 host takes packets of this size (RFC 1122 section 3.3.2), every
 * IPv6 link carries them (RFC 8200 section 5). Nobody is asked for less, and no
 * answer is longer.
 */
#define OVL_LEAST_MTU4 576
#define OVL_LEAST_MTU6 1280

/* Types and codes: RFC 792, RFC 4443. */
#define OVL_ICMP_UNREACHABLE 3
#define OVL_ICMP_PROTOCOL 2
#define OVL_ICMP_PORT 3
#define OVL_ICMP_FRAG_NEEDED 4
#define OVL_ICMP_QUENCH 4
#define OVL_ICMP_REDIRECT 5
#define OVL_ICMP_EXCEEDED 11
#define OVL_ICMP_PARAMETER 12
#define OVL_ICMP_ECHO 8
#define OVL_ICMP_ECHO_REPLY 0
#define OVL_ICMP6_UNREACHABLE 1
#define OVL_ICMP6_PROHIBITED 1
#define OVL_ICMP6_PORT 4
#define OVL_ICMP6_TOO_BIG 2
#define OVL_ICMP6_PARAMETER 4
#define OVL_ICMP6_INFORMATIONAL 128 /* and up */
#define OVL_ICMP6_ECHO 128
#define OVL_ICMP6_ECHO_REPLY 129

#define OVL_TOS_CONTROL 0xc0 /* RFC 1812 section 4.3.2.5 */

/* The headers of an answer. */
struct answer4 {
	struct iphdr ip;
	__u8 type;
	__u8 code;
	__sum16 csum;
	__be32 rest;
};

struct answer6 {
	struct ipv6hdr ip6;
	__u8 type;
	__u8 code;
	__sum16 csum;
	__be32 rest;
};

/* Of a long packet, as much as makes the answer full (RFC 1812 section 4.3.2.3, RFC
 * 4443 section 2.4).
 */
#define OVL_QUOTE4 (OVL_LEAST_MTU4 - sizeof(struct answer4))
#define OVL_QUOTE6 (OVL_LEAST_MTU6 - sizeof(struct answer6))

/* answerable4 and answerable6 keep to RFC 1122 section 3.2.2 and RFC 4443 section
 * 2.4: no errors about errors, about what is for many, or, in IPv4, about fragments
 * but the first. That the source is one host the source check has seen to, and
 * frames for groups do not come here.
 */
static __always_inline bool answerable4(struct __sk_buff *ctx, const struct iphdr *ip)
{
	const __u8 first = *(const __u8 *)&ip->daddr;
	__u8 type = OVL_ICMP_UNREACHABLE;

	if (!first || first >= 224 || (ip->frag_off & bpf_htons(OVL_IP_OFFSET)))
		return false;
	if (ip->protocol != IPPROTO_ICMP)
		return true;
	bpf_skb_load_bytes(ctx, ETH_HLEN + ip->ihl * 4, &type, sizeof(type));
	switch (type) {
	case OVL_ICMP_UNREACHABLE:
	case OVL_ICMP_QUENCH:
	case OVL_ICMP_REDIRECT:
	case OVL_ICMP_EXCEEDED:
	case OVL_ICMP_PARAMETER:
		return false;
	}
	return true;
}

static __always_inline bool answerable6(struct __sk_buff *ctx, const struct ipv6hdr *ip6,
					struct upper *u)
{
	if (group6((const __u8 *)&ip6->daddr))
		return false;
	u->proto = ip6->nexthdr;
	return !walk6(ctx, u) &&
	       (u->proto != IPPROTO_ICMPV6 ||
		(u->type >= OVL_ICMP6_INFORMATIONAL && u->type != OVL_ND_REDIRECT));
}

/* settle_sum sees to it that nobody writes into the quote. A stack that leaves the
 * transport's checksum to the device has put the pseudo-header's sum in its
 * place, and the frame stays marked so whatever becomes of it: where it meets a
 * device that does no checksums, the kernel fills it in. So it gets the one value
 * that the kernel replaces by itself: with s the sum of all else that it covers,
 * x = ~(s + x), which ones' complement solves by half of ~s. Returns what the
 * quote's sum has grown by.
 *
 * l4 is where the transport header stands in the frame, covered the sum of the
 * quote from there on, pseudo that of the pseudo-header.
 */
static __always_inline __u32 settle_sum(struct __sk_buff *ctx, __u8 protocol, __u32 l4,
					__u32 covered, __u32 pseudo)
{
	__u16 check, x;

	if (protocol == IPPROTO_TCP)
		l4 += offsetof(struct tcphdr, check);
	else if (protocol == IPPROTO_UDP)
		l4 += offsetof(struct udphdr, check);
	else
		return 0;
	if (bpf_skb_load_bytes(ctx, l4, &check, sizeof(check)) || check != fold16(pseudo))
		return 0;
	x = ~fold16(fold16(covered) + (__u16)~check);
	x = x >> 1 | x << 15; /* half */
	bpf_skb_store_bytes(ctx, l4, &x, sizeof(x), 0);
	return (__u32)x + (__u16)~check;
}

/* open_answer cuts the frame down to what is quoted of it, and makes room before
 * that for an answer's headers. Segments that were still to be cut are none any
 * more. It fails for an endpoint's own tunnel, which the kernel has down as such.
 */
static __always_inline bool open_answer(struct __sk_buff *ctx, __u32 quote, __u32 headers)
{
	return !bpf_skb_change_tail(ctx, ETH_HLEN + quote, 0) &&
	       !bpf_skb_adjust_room(ctx, headers, BPF_ADJ_ROOM_MAC, 0);
}

/* write_answer fills the room, and sends the frame back to whom it came from. */
static __always_inline int write_answer(struct __sk_buff *ctx, const void *headers, __u32 len)
{
	struct ethhdr *eth = frame(ctx, ETH_HLEN + len);
	__u8 mac[ETH_ALEN] OVL_ALIGNED;

	if (!eth)
		return TC_ACT_SHOT;
	copy_mac(mac, eth->h_dest);
	copy_mac(eth->h_dest, eth->h_source);
	copy_mac(eth->h_source, mac);
	copy_words(eth + 1, headers, len / 4);
	return bpf_redirect(ctx->ifindex, 0);
}

/* The sum of a part of the frame goes by pieces. */
#define OVL_PIECES (OVL_LEAST_MTU6 / OVL_PIECE)

static __noinline __u32 sum_up(struct __sk_buff *ctx, __u32 at, __u32 len)
{
	struct work *k = work();
	__u32 i, sum = 0;

	if (!k)
		return 0;
	for (i = 0; i < OVL_PIECES && len >= OVL_PIECE; i++) {
		if (bpf_skb_load_bytes(ctx, at, k->piece, OVL_PIECE))
			return 0;
		sum = bpf_csum_diff(NULL, 0, (__be32 *)k->piece, OVL_PIECE, sum);
		at += OVL_PIECE;
		len -= OVL_PIECE;
	}
	len &= OVL_PIECE - 1;
	if (!len)
		return fold16(sum);
	__builtin_memset(k->piece, 0, OVL_PIECE);
	/* The verifier of Linux 6.1 does not see that it is not zero. */
	len--;
	asm volatile("" : "+r"(len));
	if (bpf_skb_load_bytes(ctx, at, k->piece, (len & (OVL_PIECE - 1)) + 1))
		return 0;
	return fold16(bpf_csum_diff(NULL, 0, (__be32 *)k->piece, OVL_PIECE, sum));
}

/* What an answer says. */
struct icmp_error {
	__u8 type;
	__u8 code;
	__be32 rest; /* of its header */
};

/* answer4 and answer6 answer from the network's gateway; without one, from where
 * the packet was to go. A good IPv4 header adds up to nothing: what the transport's
 * checksum covers of the quote is the quote.
 */
static __always_inline int answer4(struct __sk_buff *ctx, const struct network_entry *network,
				   const struct icmp_error *e)
{
	const __u32 len = ctx->len - ETH_HLEN;
	struct ethhdr *eth = frame(ctx, ETH_HLEN + sizeof(struct iphdr));
	__u32 quoted, quote, l4, proto;
	struct answer4 a = {};
	__be32 pseudo[3];
	struct iphdr *ip;

	if (!eth || !answerable4(ctx, (void *)(eth + 1)))
		return TC_ACT_SHOT;
	eth = frame(ctx, ETH_HLEN + sizeof(*ip));
	if (!eth)
		return TC_ACT_SHOT;
	ip = (void *)(eth + 1);
	quoted = ctx->gso_size ? len : bpf_ntohs(ip->tot_len);
	if (quoted > OVL_QUOTE4)
		quoted = OVL_QUOTE4;
	l4 = ip->ihl * 4;
	proto = ip->protocol;
	a.ip.daddr = pseudo[0] = ip->saddr;
	a.ip.saddr = pseudo[1] = ip->daddr;
	if (network && addr4(network->gateway4))
		a.ip.saddr = addr4(network->gateway4);
	pseudo[2] = bpf_htonl(len - l4 + proto);
	quote = sum_up(ctx, ETH_HLEN, quoted);
	quote += settle_sum(ctx, proto, ETH_HLEN + l4, quote, add_up(0, pseudo, sizeof(pseudo)));
	if (!open_answer(ctx, quoted, sizeof(a)))
		return TC_ACT_SHOT;

	a.ip.version = 4;
	a.ip.ihl = sizeof(a.ip) / 4;
	a.ip.tos = OVL_TOS_CONTROL;
	a.ip.tot_len = bpf_htons(sizeof(a) + quoted);
	a.ip.frag_off = bpf_htons(OVL_IP_DF);
	a.ip.ttl = OVL_OUTER_TTL;
	a.ip.protocol = IPPROTO_ICMP;
	a.ip.check = ip_checksum(&a.ip);
	a.type = e->type;
	a.code = e->code;
	a.rest = e->rest;
	a.csum = ~fold16(add_up(quote, &a.type, OVL_ICMP_HLEN));
	return write_answer(ctx, &a, sizeof(a));
}

static __always_inline int answer6(struct __sk_buff *ctx, const struct network_entry *network,
				   const struct icmp_error *e)
{
	struct upper u = { .offset = ETH_HLEN + sizeof(struct ipv6hdr) };
	const __u32 len = ctx->len - ETH_HLEN - sizeof(struct ipv6hdr);
	struct ethhdr *eth = frame(ctx, ETH_HLEN + sizeof(struct ipv6hdr));
	__u32 quoted, quote, header, addrs;
	struct answer6 a = {};
	struct ipv6hdr *ip6;
	__be32 tail[2];

	if (!eth || !answerable6(ctx, (void *)(eth + 1), &u))
		return TC_ACT_SHOT;
	eth = frame(ctx, ETH_HLEN + sizeof(*ip6));
	if (!eth)
		return TC_ACT_SHOT;
	ip6 = (void *)(eth + 1);
	quoted = sizeof(*ip6) + (ctx->gso_size ? len : bpf_ntohs(ip6->payload_len));
	if (quoted > OVL_QUOTE6)
		quoted = OVL_QUOTE6;
	header = fold16(add_up(0, ip6, sizeof(*ip6)));
	addrs = add_up(0, &ip6->saddr, 2 * sizeof(ip6->saddr));
	copy_words(&a.ip6.daddr, &ip6->saddr, 4);
	copy_words(&a.ip6.saddr, &ip6->daddr, 4);
	if (network && !unspecified6(network->gateway6))
		copy_words(&a.ip6.saddr, network->gateway6, 4);
	tail[0] = bpf_htonl(len);
	tail[1] = bpf_htonl(u.proto);
	quote = sum_up(ctx, ETH_HLEN, quoted);
	if (!u.extended)
		quote += settle_sum(ctx, u.proto, u.offset, quote + (__u16)~header,
				    add_up(addrs, tail, sizeof(tail)));
	if (!open_answer(ctx, quoted, sizeof(a)))
		return TC_ACT_SHOT;

	a.ip6.version = 6;
	a.ip6.payload_len = bpf_htons(OVL_ICMP_HLEN + quoted);
	a.ip6.nexthdr = IPPROTO_ICMPV6;
	a.ip6.hop_limit = OVL_OUTER_TTL;
	a.type = e->type;
	a.code = e->code;
	a.rest = e->rest;
	/* The pseudo-header, RFC 4443 section 2.3. */
	tail[0] = bpf_htonl(OVL_ICMP_HLEN + quoted);
	tail[1] = bpf_htonl(IPPROTO_ICMPV6);
	quote = add_up(quote, tail, sizeof(tail));
	quote = add_up(quote, &a.ip6.saddr, 2 * sizeof(a.ip6.saddr));
	a.csum = ~fold16(add_up(quote, &a.type, OVL_ICMP_HLEN));
	return write_answer(ctx, &a, sizeof(a));
}

/* too_big drops a packet that does not fit, and tells its sender which size does.
 * vni is the network whose gateway the answer comes from; without one, or where it
 * has none, it comes from the packet's destination. What was to a VIP is quoted as it
 * came. Frames that are not IP are
 * counted, no more. The drop is what counts: the answer is of our making. It is a
 * function of its own so that the verifier goes through it once.
 */
__noinline int too_big(struct __sk_buff *ctx, __u32 vni, __u32 mtu)
{
	struct network_entry *network = bpf_map_lookup_elem(&ovl_networks, &vni);
	struct icmp_error e = {};
	struct ethhdr *eth;

	count_dropped(ctx, OVL_DROP_TOO_BIG, 1, true);
	if (noted(ctx, OVL_CB_TRANSLATED) && translate_back(ctx))
		return TC_ACT_SHOT;
	eth = frame(ctx, sizeof(*eth));
	if (!eth)
		return TC_ACT_SHOT;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		e.type = OVL_ICMP_UNREACHABLE;
		e.code = OVL_ICMP_FRAG_NEEDED;
		e.rest = bpf_htonl(mtu < OVL_LEAST_MTU4 ? OVL_LEAST_MTU4 : mtu);
		return answer4(ctx, network, &e);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		e.type = OVL_ICMP6_TOO_BIG;
		e.rest = bpf_htonl(mtu < OVL_LEAST_MTU6 ? OVL_LEAST_MTU6 : mtu);
		return answer6(ctx, network, &e);
	}
	return TC_ACT_SHOT;
}

#endif
