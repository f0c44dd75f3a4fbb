/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors about packets of a flow: they go where the flow goes, and quote the
 * packet as its sender knows it. Such an error travels with the packets of an
 * entry; what it quotes went the other way.
 */
#ifndef OVL_QUOTE_H
#define OVL_QUOTE_H

#include "flows.h"
#include "icmp.h"

#define OVL_QUOTED 8 /* bytes of the transport header that there have to be */
#define OVL_QUOTED_TCP_CHECK offsetof(struct tcphdr, check)
#define OVL_QUOTED_UDP_CHECK offsetof(struct udphdr, check)

static __always_inline bool is_icmp_error(const struct work *k)
{
	const __u8 type = k->head[0];

	if (!k->l4 || k->part)
		return false;
	if (k->ipv6)
		return k->upper == IPPROTO_ICMPV6 && type >= OVL_ICMP6_UNREACHABLE &&
		       type <= OVL_ICMP6_PARAMETER;
	return k->upper == IPPROTO_ICMP &&
	       (type == OVL_ICMP_UNREACHABLE || type == OVL_ICMP_EXCEEDED ||
		type == OVL_ICMP_PARAMETER);
}

/* quoted_upper finds the transport header of the packet that is quoted at an
 * offset, and whose ends k->from become. 0: there is none that has ports.
 */
static __always_inline __u32 quoted_upper(struct __sk_buff *ctx, struct work *k, __u32 at)
{
	__u32 upper;

	if (k->ipv6) {
		struct upper u = { .offset = at + sizeof(struct ipv6hdr) };
		struct ipv6hdr ip6;

		if (bpf_skb_load_bytes(ctx, at, &ip6, sizeof(ip6)) || ip6.version != 6)
			return 0;
		copy_words(k->from.src, &ip6.saddr, 8);
		u.proto = ip6.nexthdr;
		if (is_extension(u.proto) && walk6(ctx, &u))
			return 0;
		k->key.protocol = u.proto;
		upper = u.offset;
	} else {
		struct iphdr ip;

		if (bpf_skb_load_bytes(ctx, at, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 ||
		    (ip.frag_off & bpf_htons(OVL_IP_OFFSET)))
			return 0;
		copy_words(k->from.src, k->key.src, 3);
		copy_words(k->from.dst, k->key.src, 3);
		copy4(k->from.src + 12, &ip.saddr);
		copy4(k->from.dst + 12, &ip.daddr);
		k->key.protocol = ip.protocol;
		upper = at + ip.ihl * 4;
	}
	if ((k->key.protocol != IPPROTO_TCP && k->key.protocol != IPPROTO_UDP) ||
	    upper + OVL_QUOTED > k->end)
		return 0;
	return upper;
}

/* quoted_flow reads the quote, and returns the entry that the error travels with;
 * k->key becomes its key. NULL: there is none.
 */
static __always_inline struct flow_entry *quoted_flow(struct __sk_buff *ctx, struct work *k,
						      __u32 *upper)
{
	__be16 ports[2];

	*upper = quoted_upper(ctx, k, k->l4 + OVL_ICMP_HLEN);
	if (!*upper || bpf_skb_load_bytes(ctx, *upper, ports, sizeof(ports)) ||
	    !same_words(k->from.src, k->key.dst, 4) || !same_words(k->from.dst, k->key.src, 4))
		return NULL;
	k->from.sport = k->key.dport = bpf_ntohs(ports[0]);
	k->from.dport = k->key.sport = bpf_ntohs(ports[1]);
	return find(&k->key);
}

/* mend changes a checksum in the frame by what it covers has changed by, and
 * returns what it has changed by itself.
 */
static __always_inline __u32 mend(struct __sk_buff *ctx, __u32 at, __u32 diff, bool udp)
{
	__u16 old, new;

	if (bpf_skb_load_bytes(ctx, at, &old, sizeof(old)) || (udp && !old))
		return 0;
	new = ~fold16((__u32)(__u16)~old + fold16(diff));
	if (udp && !new)
		new = 0xffff;
	bpf_skb_store_bytes(ctx, at, &new, sizeof(new), 0);
	return (__u32) new + (__u16)~old;
}

/* turn_quote makes the packet that is quoted, whose transport header is at upper,
 * what its sender knows.
 */
static __always_inline void turn_quote(struct __sk_buff *ctx, struct work *k,
				       const struct flow_entry *f, __u32 upper)
{
	const __u32 at = k->l4 + OVL_ICMP_HLEN;
	__u32 addrs, diff;
	__be32 old, new;

	copy_words(k->to.src, f->dst, 4);
	copy_words(k->to.dst, f->src, 4);
	k->to.sport = f->dport;
	k->to.dport = f->sport;
	old = ports(&k->from);
	new = ports(&k->to);
	addrs = fold16(bpf_csum_diff((__be32 *)k->from.src, 32, (__be32 *)k->to.src, 32, 0));
	diff = (__u32)fold16(bpf_csum_diff(&old, sizeof(old), &new, sizeof(new), 0));

	if (k->key.protocol == IPPROTO_UDP)
		diff += mend(ctx, upper + OVL_QUOTED_UDP_CHECK, addrs + diff, true);
	else if (upper + OVL_QUOTED_TCP_CHECK + 2 <= k->end)
		diff += mend(ctx, upper + OVL_QUOTED_TCP_CHECK, addrs + diff, false);
	bpf_skb_store_bytes(ctx, upper, &new, sizeof(new), 0);
	diff += addrs;
	if (k->ipv6) {
		bpf_skb_store_bytes(ctx, at + offsetof(struct ipv6hdr, saddr), k->to.src, 32, 0);
	} else {
		diff += mend(ctx, at + offsetof(struct iphdr, check), addrs, false);
		bpf_skb_store_bytes(ctx, at + offsetof(struct iphdr, saddr), k->to.src + 12, 4, 0);
		bpf_skb_store_bytes(ctx, at + offsetof(struct iphdr, daddr), k->to.dst + 12, 4, 0);
	}
	bpf_l4_csum_replace(ctx, k->l4 + 2, 0, fold16(diff), 0);
}

/* turn_error sends an error the way of a flow's entry. Returns 0 or the reason to
 * drop.
 */
__noinline int turn_error(struct __sk_buff *ctx, __u32 upper)
{
	struct work *k = work();
	struct flow_entry *f;

	if (!k)
		return OVL_DROP_ENCAP;
	f = find(&k->key);
	if (!f)
		return OVL_DROP_SERVICE_PORT;
	turn_quote(ctx, k, f, upper);
	return turn(ctx, k, f);
}

#endif
