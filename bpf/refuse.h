/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a client is told of packets that go to no backend, in the VIP's name. */
#ifndef OVL_REFUSE_H
#define OVL_REFUSE_H

#include "icmp.h"
#include "look.h"

/* The headers of a reset. */
struct reset4 {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct reset6 {
	struct ipv6hdr ip6;
	struct tcphdr tcp;
};

/* reset_tcp fills the TCP header in: RFC 9293 section 3.10.7.1. */
static __always_inline void reset_tcp(const struct work *k, struct tcphdr *tcp)
{
	const struct tcphdr *to = (const void *)k->head;
	__u32 start = k->l4 + to->doff * 4, payload = k->end > start ? k->end - start : 0;

	tcp->source = to->dest;
	tcp->dest = to->source;
	tcp->doff = sizeof(*tcp) / 4;
	tcp->rst = 1;
	if (to->ack) {
		tcp->seq = to->ack_seq;
		return;
	}
	tcp->ack = 1;
	tcp->ack_seq = bpf_htonl(bpf_ntohl(to->seq) + payload + to->syn + to->fin);
}

/* reset_sum sums the reset up. pseudo is its pseudo-header's sum. marked: the
 * frame's checksum is still to be filled in, and stays so whatever it becomes.
 * Then the sum has to be right before and after that (see settle_sum): the urgent
 * pointer, which says nothing here, makes it so.
 */
static __always_inline void reset_sum(struct tcphdr *tcp, __u32 pseudo, bool marked)
{
	__u32 sum = add_up(pseudo, tcp, sizeof(*tcp));

	if (marked) {
		tcp->check = fold16(pseudo);
		tcp->urg_ptr = ~fold16((__u32)fold16(sum) + tcp->check);
	} else {
		tcp->check = ~fold16(sum);
	}
}

/* marked recognises a frame by what a stack leaves in place of the checksum. */
static __always_inline bool marked(struct __sk_buff *ctx, const struct work *k, __u32 addrs)
{
	const struct tcphdr *tcp = (const void *)k->head;
	__be32 tail[2] = { bpf_htonl(ctx->len - k->l4), bpf_htonl(IPPROTO_TCP) };

	return tcp->check == fold16(add_up(addrs, tail, sizeof(tail)));
}

static __always_inline int reset4(struct __sk_buff *ctx, const struct work *k)
{
	struct reset4 r = {};
	__be32 pseudo[2] = { bpf_htonl(sizeof(r.tcp)), bpf_htonl(IPPROTO_TCP) };
	__u32 addrs;

	r.ip.version = 4;
	r.ip.ihl = sizeof(r.ip) / 4;
	r.ip.tot_len = bpf_htons(sizeof(r));
	r.ip.frag_off = bpf_htons(OVL_IP_DF);
	r.ip.ttl = OVL_OUTER_TTL;
	r.ip.protocol = IPPROTO_TCP;
	r.ip.saddr = mapped4(k->key.dst);
	r.ip.daddr = mapped4(k->key.src);
	r.ip.check = ip_checksum(&r.ip);
	addrs = add_up(0, &r.ip.saddr, 8);
	reset_tcp(k, &r.tcp);
	reset_sum(&r.tcp, add_up(addrs, pseudo, sizeof(pseudo)), marked(ctx, k, addrs));
	if (bpf_skb_change_tail(ctx, ETH_HLEN + sizeof(r), 0))
		return TC_ACT_SHOT;
	return write_answer(ctx, &r, sizeof(r));
}

static __always_inline int reset6(struct __sk_buff *ctx, const struct work *k)
{
	struct reset6 r = {};
	__be32 pseudo[2] = { bpf_htonl(sizeof(r.tcp)), bpf_htonl(IPPROTO_TCP) };
	__u32 addrs;

	r.ip6.version = 6;
	r.ip6.payload_len = bpf_htons(sizeof(r.tcp));
	r.ip6.nexthdr = IPPROTO_TCP;
	r.ip6.hop_limit = OVL_OUTER_TTL;
	copy_words(&r.ip6.saddr, k->key.dst, 4);
	copy_words(&r.ip6.daddr, k->key.src, 4);
	addrs = add_up(0, &r.ip6.saddr, 32);
	reset_tcp(k, &r.tcp);
	reset_sum(&r.tcp, add_up(addrs, pseudo, sizeof(pseudo)), marked(ctx, k, addrs));
	if (bpf_skb_change_tail(ctx, ETH_HLEN + sizeof(r), 0))
		return TC_ACT_SHOT;
	return write_answer(ctx, &r, sizeof(r));
}

/* unreachable says so of a VIP, by the code of either family. */
static __always_inline int unreachable(struct __sk_buff *ctx, const struct work *k, __u8 code4,
				       __u8 code6)
{
	struct icmp_error e = {
		.type = k->ipv6 ? OVL_ICMP6_UNREACHABLE : OVL_ICMP_UNREACHABLE,
		.code = k->ipv6 ? code6 : code4,
	};

	return k->ipv6 ? answer6(ctx, NULL, &e) : answer4(ctx, NULL, &e);
}

/* refuse drops a packet to a VIP, and tells its client, but for what has no
 * transport header, and for resets.
 */
__noinline int refuse(struct __sk_buff *ctx, __u32 reason)
{
	struct work *k = work();

	if (!k || reason == OVL_DROP_UNKNOWN_DESTINATION || !k->l4)
		return drop(ctx, reason);
	count_dropped(ctx, reason, 1, true);
	switch (k->upper) {
	case IPPROTO_TCP:
		if (tcp_flags(k) & OVL_TCP_RST)
			return TC_ACT_SHOT;
		return k->ipv6 ? reset6(ctx, k) : reset4(ctx, k);
	case IPPROTO_UDP:
		return unreachable(ctx, k, OVL_ICMP_PORT, OVL_ICMP6_PORT);
	}
	return unreachable(ctx, k, OVL_ICMP_PROTOCOL, OVL_ICMP6_PROHIBITED);
}

/* echo turns a ping round. */
static __always_inline int echo(struct __sk_buff *ctx, const struct work *k, __u8 reply)
{
	const __u16 from = *(const __u16 *)k->head,
		    to = (from & bpf_htons(0xff)) | bpf_htons(reply << 8);
	__u8 mac[ETH_ALEN] OVL_ALIGNED;
	struct ethhdr *eth;

	if (bpf_l4_csum_replace(ctx, k->l4 + 2, from, to, sizeof(to)) ||
	    bpf_skb_store_bytes(ctx, k->l4, &to, sizeof(to), 0))
		return drop(ctx, OVL_DROP_ENCAP);
	eth = frame(ctx, ETH_HLEN + sizeof(struct iphdr));
	if (!eth)
		return drop(ctx, OVL_DROP_ENCAP);
	copy_mac(mac, eth->h_dest);
	copy_mac(eth->h_dest, eth->h_source);
	copy_mac(eth->h_source, mac);
	if (k->ipv6) {
		struct ipv6hdr *ip6 = frame(ctx, ETH_HLEN + sizeof(*ip6));

		if (!ip6)
			return drop(ctx, OVL_DROP_ENCAP);
		ip6 = (void *)ip6 + ETH_HLEN;
		copy_words(&ip6->saddr, k->key.dst, 4);
		copy_words(&ip6->daddr, k->key.src, 4);
	} else {
		struct iphdr *ip = (void *)(eth + 1);

		ip->saddr = mapped4(k->key.dst);
		ip->daddr = mapped4(k->key.src);
	}
	return answer(ctx);
}

#endif
