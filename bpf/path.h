/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The way to another host, and how large a packet it takes. */
#ifndef OVL_PATH_H
#define OVL_PATH_H

#include "counters.h"
#include "tables.h"

/* outer_ip_len is the length of the outer IP header, encap_len that of all that
 * stands between the outer Ethernet header and the inner packet.
 */
static __always_inline __u32 outer_ip_len(void)
{
	return underlay6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

static __always_inline __u32 encap_len(void)
{
	return outer_ip_len() + OVL_TUNNEL_HLEN;
}

/* narrow makes an MTU less by what the kernel does not tell. */
static __always_inline __u32 narrow(const __u8 *vtep, __u32 mtu)
{
	struct path_entry *e;
	struct path_key key;

	copy_words(key.vtep, vtep, 4);
	e = bpf_map_lookup_elem(&ovl_paths, &key);
	if (!e)
		return mtu;
	if (e->limit && e->limit < mtu)
		mtu = e->limit;
	if (e->learned && e->learned < mtu && bpf_ktime_get_coarse_ns() < e->expires)
		mtu = e->learned;
	return mtu;
}

/* route asks the kernel for the way to a VTEP and keeps the answer in p, unless
 * the next hop's address is still to be found. Returns a BPF_FIB_LKUP_RET_…. Not
 * inlined, to have its stack to itself.
 */
static __noinline long route(struct __sk_buff *ctx, const struct config *cfg, const __u8 *vtep,
			     struct peer *p)
{
	struct bpf_fib_lookup fib = {
		.l4_protocol = IPPROTO_UDP,
		/* Any length makes the kernel return the path's MTU (Linux 5.12). */
		.tot_len = OVL_TUNNEL_HLEN,
		/* The look-up is that of a packet to forward, and wants a device
		 * that forwards: our own, so that no setting of the host matters.
		 */
		.ifindex = cfg->vxlan_ifindex,
	};
	long rc;

	if (underlay6) {
		fib.family = OVL_AF_INET6;
		copy_words(fib.ipv6_src, cfg->vtep, 4);
		copy_words(fib.ipv6_dst, vtep, 4);
	} else {
		fib.family = OVL_AF_INET;
		fib.ipv4_src = mapped4(cfg->vtep);
		fib.ipv4_dst = mapped4(vtep);
	}
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return rc;
	p->ifindex = fib.ifindex;
	/* Unchanged: the kernel did not say. */
	p->mtu = narrow(vtep, fib.mtu_result != OVL_TUNNEL_HLEN ? fib.mtu_result : ~0U);
	copy_mac(p->smac, fib.smac);
	copy_mac(p->dmac, fib.dmac);
	p->expires = rc == BPF_FIB_LKUP_RET_SUCCESS ? bpf_jiffies64() + OVL_ROUTE_TICKS : 0;
	return rc;
}

/* path returns a peer that there is a route to, NULL if there is none. rc becomes
 * what route returns.
 */
static __always_inline struct peer *path(struct __sk_buff *ctx, const struct config *cfg,
					 const __u8 *vtep, __u32 slot, long *rc)
{
	struct peer *p = peer(slot);

	*rc = BPF_FIB_LKUP_RET_SUCCESS;
	if (!p || bpf_jiffies64() < p->expires)
		return p;
	*rc = route(ctx, cfg, vtep, p);
	if (*rc != BPF_FIB_LKUP_RET_SUCCESS && *rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return NULL;
	return p;
}

/* inner_mtu is the largest inner packet for a path, in a network of that MTU. A
 * tag takes room of the path's, not of the network's.
 */
static __always_inline __u32 inner_mtu(const struct peer *p, __u32 mtu, __u32 tag)
{
	__u32 room = p->mtu - encap_len() - tag;

	return mtu < room ? mtu : room;
}

#endif
