/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who may send what. The same rules hold for an endpoint on this host and for
 * the endpoints behind a VTEP: a sender is a MAC and the addresses that the
 * tables give it.
 */
#ifndef OVL_SOURCE_H
#define OVL_SOURCE_H

#include "drops.h"
#include "tables.h"

struct sender {
	__u32 vni;
	const __u8 *mac;
	const __u8 *addr4; /* its first addresses */
	const __u8 *addr6;
};

/* Each check returns 0 or the reason to drop. */

static __always_inline int check_ip4(const struct sender *s, const struct iphdr *ip, __u32 avail)
{
	__u32 tot = bpf_ntohs(ip->tot_len);

	if (ip->version != 4 || ip->ihl < 5)
		return OVL_DROP_INNER_MALFORMED;
	/* Where the 16 bits cannot say a GSO packet's length, they are zero. */
	if (avail <= 0xffff && (tot < (__u32)ip->ihl * 4 || tot > avail))
		return OVL_DROP_INNER_MALFORMED;
	if (!owns4(s->vni, s->mac, s->addr4, ip->saddr))
		return OVL_DROP_SOURCE_IP;
	return 0;
}

static __always_inline int check_arp(const struct sender *s, const struct arp_frame *arp)
{
	__be32 spa = addr4(arp->spa);

	if (arp->hrd != bpf_htons(1) || arp->pro != bpf_htons(ETH_P_IP) || arp->hln != ETH_ALEN ||
	    arp->pln != 4 ||
	    (arp->op != bpf_htons(OVL_ARP_REQUEST) && arp->op != bpf_htons(OVL_ARP_REPLY)))
		return OVL_DROP_INNER_MALFORMED;
	if (!same_mac(arp->sha, s->mac))
		return OVL_DROP_SOURCE_ARP;
	/* RFC 5227: a probe has no sender address yet. */
	if ((spa || arp->op == bpf_htons(OVL_ARP_REPLY)) && !owns4(s->vni, s->mac, s->addr4, spa))
		return OVL_DROP_SOURCE_ARP;
	return 0;
}

/* check_ip6 is about the header. Whether the sender has the address is asked
 * apart: duplicate-address detection has none yet.
 */
static __always_inline int check_ip6(const struct ipv6hdr *ip6, __u32 avail)
{
	/* A GSO packet whose length 16 bits cannot say has zero there. */
	if (ip6->version != 6 || bpf_ntohs(ip6->payload_len) + sizeof(*ip6) > avail)
		return OVL_DROP_INNER_MALFORMED;
	return 0;
}

static __always_inline bool sends_from6(const struct sender *s, const void *addr)
{
	return owns6(s->vni, s->mac, s->addr6, addr);
}

#endif
