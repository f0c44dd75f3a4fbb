/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What routers of an IPv4 underlay say of our tunnel packets. The kernel keeps the
 * MTU of a "fragmentation needed" with the route, where it finds the vxlan device's
 * socket by what is quoted; for that it wants the VXLAN header. Routers need not
 * quote more than 8 bytes behind the IP header (RFC 792), and many do not: those
 * messages are for us. In IPv6 all quote what fits (RFC 4443 section 2.4).
 */
#ifndef OVL_LEARN_H
#define OVL_LEARN_H

#include "csum.h"
#include "icmp.h"
#include "tables.h"

/* For how long, and no less than what: as Linux does for its own
 * (net.ipv4.route.mtu_expires and min_pmtu).
 */
#define OVL_LEARNED_NS 600000000000ULL
#define OVL_LEAST_PATH 552

struct short_quote {
	struct ethhdr eth;
	struct iphdr ip;
	__u8 type;
	__u8 code;
	__sum16 csum;
	__be16 unused;
	__be16 mtu;
	struct iphdr about;
	struct udphdr udp;
} __attribute__((packed));

#define OVL_SHORT_QUOTE (sizeof(struct short_quote) - ETH_HLEN)

/* learn4 takes such a message in, if it can be about a packet of ours. Anybody can
 * forge what it says (RFC 5927), so it has to name a host that we send to, by
 * ports that we use, and a packet longer than what it asks for; and whatever it
 * asks, what endpoints may count on is sent regardless. The stack gets it, too.
 */
static __always_inline void learn4(struct __sk_buff *ctx, const struct config *cfg)
{
	struct path_key key = { .vtep = { [10] = 0xff, [11] = 0xff } };
	struct short_quote *m = frame(ctx, sizeof(*m));
	__u64 now = bpf_ktime_get_coarse_ns();
	struct path_entry *e;
	__u32 mtu, sport;

	if (!m || m->type != OVL_ICMP_UNREACHABLE || m->code != OVL_ICMP_FRAG_NEEDED)
		return;
	if (m->ip.tot_len != bpf_htons(OVL_SHORT_QUOTE) ||
	    fold16(add_up(0, &m->type, OVL_SHORT_QUOTE - sizeof(m->ip))) != 0xffff)
		return;
	sport = bpf_ntohs(m->udp.source);
	if (m->about.version != 4 || m->about.ihl != 5 || m->about.protocol != IPPROTO_UDP ||
	    m->about.saddr != mapped4(cfg->vtep) || m->about.frag_off != bpf_htons(OVL_IP_DF) ||
	    m->udp.dest != bpf_htons(cfg->vxlan_port) || sport < OVL_SPORT_MIN ||
	    sport >= OVL_SPORT_MIN + OVL_SPORT_COUNT)
		return;
	mtu = bpf_ntohs(m->mtu);
	if (mtu >= bpf_ntohs(m->about.tot_len))
		return;
	if (mtu < OVL_LEAST_PATH)
		mtu = OVL_LEAST_PATH;
	copy4(key.vtep + 12, &m->about.daddr);
	e = bpf_map_lookup_elem(&ovl_paths, &key);
	if (!e || (e->learned && e->learned < mtu && now < e->expires))
		return;
	e->learned = mtu;
	e->expires = now + OVL_LEARNED_NS;
}

#endif
