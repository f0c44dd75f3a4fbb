/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Into the tunnel and out of it. Fast: the program writes and strips the
 * headers itself. Slow: the `vxlan external` device does, for frames that
 * bpf_skb_adjust_room does not take.
 */
#ifndef OVL_TUNNEL_H
#define OVL_TUNNEL_H

#include "counters.h"
#include "icmp.h"
#include "length.h"
#include "path.h"
#include "tables.h"

/* The endpoint's frame as the tunnel needs to know it. */
struct inner {
	__u32 vni;
	__u32 hash; /* of the inner flow */
	__u16 mtu; /* of the network */
	__u16 least; /* what every network of its family carries */
	__u8 ecn;
};

/* source_port spreads flows over the underlay's paths (RFC 7348 section 5). */
static __always_inline __u16 source_port(__u32 hash)
{
	return OVL_SPORT_MIN + (((__u64)hash * OVL_SPORT_COUNT) >> 32);
}

/* tunnel_key tells the vxlan device where a frame goes that fits. Returns 0
 * or the reason to drop.
 */
static __always_inline int tunnel_key(struct __sk_buff *ctx, const struct config *cfg,
				      const __u8 *vtep, __u32 vni)
{
	struct bpf_tunnel_key key = {
		.tunnel_id = vni,
		.tunnel_ttl = OVL_OUTER_TTL,
	};
	__u64 flags = BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT;

	if (underlay6) {
		flags |= BPF_F_TUNINFO_IPV6;
		copy_words(key.remote_ipv6, vtep, 4);
		copy_words(key.local_ipv6, cfg->vtep, 4);
	} else {
		key.remote_ipv4 = bpf_ntohl(mapped4(vtep));
		key.local_ipv4 = bpf_ntohl(mapped4(cfg->vtep));
	}
	/* The source port comes of the hash. Asked for by the vxlan device, behind
	 * a tag, the kernel would look for the flow in the wrong place.
	 */
	bpf_get_hash_recalc(ctx);
	/* The local address is part of the key since Linux 6.0; before it the
	 * route to the VTEP chooses.
	 */
	if (bpf_skb_set_tunnel_key(ctx, &key, sizeof(key), flags) &&
	    bpf_skb_set_tunnel_key(ctx, &key, offsetof(struct bpf_tunnel_key, local_ipv4), flags))
		return OVL_DROP_ENCAP;
	return 0;
}

/* encapsulate_slow hands any frame that fits to the vxlan device. */
static __always_inline int encapsulate_slow(struct __sk_buff *ctx, const struct config *cfg,
					    const struct fdb_entry *to, __u32 vni)
{
	struct peer *p = peer(to->peer);
	int reason = tunnel_key(ctx, cfg, to->vtep, vni);

	if (reason)
		return drop(ctx, reason);
	if (p)
		count(ctx, &p->sent);
	return bpf_redirect(cfg->vxlan_ifindex, 0);
}

/* write_outer4 and write_outer6 fill the room that was made before a frame of
 * that length, on an underlay of that family. False: it is not all there.
 */
static __always_inline bool write_outer4(struct __sk_buff *ctx, const struct config *cfg,
					 const struct fdb_entry *to, const struct inner *in,
					 const struct peer *p, __u32 frame_len)
{
	struct outer4 outer = {
		.ip = {
			.version = 4,
			.ihl = 5,
			.tos = in->ecn,
			.tot_len = bpf_htons(frame_len + sizeof(outer)),
			.frag_off = bpf_htons(OVL_IP_DF),
			.ttl = OVL_OUTER_TTL,
			.protocol = IPPROTO_UDP,
			.saddr = mapped4(cfg->vtep),
			.daddr = mapped4(to->vtep),
		},
		.udp = {
			.source = bpf_htons(source_port(in->hash)),
			.dest = bpf_htons(cfg->vxlan_port),
			.len = bpf_htons(frame_len + sizeof(struct udphdr) + OVL_VXLAN_HLEN),
		},
		.vxlan = {
			.flags = bpf_htonl(OVL_VXLAN_I),
			.vni = bpf_htonl(in->vni << 8),
		},
	};
	struct headers4 *h = frame(ctx, sizeof(*h));

	if (!h)
		return false;
	outer.ip.check = ip_checksum(&outer.ip);
	copy_eth(&h->inner, &h->eth);
	copy_mac(h->eth.h_dest, p->dmac);
	copy_mac(h->eth.h_source, p->smac);
	h->eth.h_proto = bpf_htons(ETH_P_IP);
	copy_words(&h->outer, &outer, sizeof(outer) / 4);
	return true;
}

static __always_inline bool write_outer6(struct __sk_buff *ctx, const struct config *cfg,
					 const struct fdb_entry *to, const struct inner *in,
					 const struct peer *p, __u32 frame_len)
{
	const __u16 udp_len = frame_len + sizeof(struct udphdr) + OVL_VXLAN_HLEN;
	struct outer6 outer = {
		.ip = {
			.payload_len = bpf_htons(udp_len),
			.nexthdr = IPPROTO_UDP,
			.hop_limit = OVL_OUTER_TTL,
		},
		.udp = {
			.source = bpf_htons(source_port(in->hash)),
			.dest = bpf_htons(cfg->vxlan_port),
			/* The checksum stays zero, as RFC 6935 has it for tunnels. */
			.len = bpf_htons(udp_len),
		},
		.vxlan = {
			.flags = bpf_htonl(OVL_VXLAN_I),
			.vni = bpf_htonl(in->vni << 8),
		},
	};
	struct headers6 *h = frame(ctx, sizeof(*h));

	if (!h)
		return false;
	/* The flow label spreads flows as the source port does (RFC 6438). */
	*(__be32 *)&outer.ip =
		bpf_htonl(6 << 28 | (__u32)in->ecn << 20 | (in->hash & OVL_FLOW_LABEL));
	copy_words(&outer.ip.saddr, cfg->vtep, 4);
	copy_words(&outer.ip.daddr, to->vtep, 4);
	copy_eth(&h->inner, &h->eth);
	copy_mac(h->eth.h_dest, p->dmac);
	copy_mac(h->eth.h_source, p->smac);
	h->eth.h_proto = bpf_htons(ETH_P_IPV6);
	copy_words(&h->outer, &outer, sizeof(outer) / 4);
	return true;
}

/* encapsulate sends a frame of an inner IP packet to another host. The inner
 * checksum and segmentation are left to whoever comes last, the underlay's
 * device at best.
 */
static __always_inline int encapsulate(struct __sk_buff *ctx, const struct config *cfg,
				       const struct fdb_entry *to, const struct inner *in)
{
	const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET |
			    BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |
			    BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	__u32 len = packet_len(ctx), frame_len = ctx->len, mtu;
	long rc = BPF_FIB_LKUP_RET_SUCCESS;
	struct peer *p = path(ctx, cfg, to->vtep, to->peer, &rc);
	bool written;

	if (!p)
		return drop(ctx, OVL_DROP_NO_ROUTE);
	mtu = inner_mtu(p, in->mtu, 0);
	/* What the sender may count on is not too big for a path, whatever we are
	 * told of that: it cannot be asked for less, and what routers say may be
	 * forged. If it is true, the underlay drops it.
	 */
	if (len > mtu && (len > in->mtu || len > in->least))
		return too_big(ctx, in->vni, mtu);

	if (bpf_skb_adjust_room(ctx, encap_len(), BPF_ADJ_ROOM_MAC,
				flags | (underlay6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6
						   : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)))
		/* The kernel still has it down as encapsulated: it came out of
		 * a tunnel, and an endpoint passes it on.
		 */
		return encapsulate_slow(ctx, cfg, to, in->vni);
	if (underlay6)
		written = write_outer6(ctx, cfg, to, in, p, frame_len);
	else
		written = write_outer4(ctx, cfg, to, in, p, frame_len);
	if (!written)
		return drop(ctx, OVL_DROP_ENCAP);

	count(ctx, &p->sent);
	if (rc == BPF_FIB_LKUP_RET_NO_NEIGH)
		return bpf_redirect_neigh(p->ifindex, NULL, 0, 0);
	return bpf_redirect(p->ifindex, 0);
}

/* send_slow sends any frame to another host by the vxlan device. Like too_big it is
 * a function of its own; no pointer may be missing. A packet behind a tag is of
 * the endpoints' own network, whose gateway is not ours to name.
 */
__noinline int send_slow(struct __sk_buff *ctx, const struct config *cfg,
			 const struct fdb_entry *to, const struct port *port)
{
	struct peer *p;
	__u32 mtu;
	long rc;

	if (!cfg || !to || !port)
		return TC_ACT_SHOT;
	p = path(ctx, cfg, to->vtep, to->peer, &rc);
	if (!p)
		return drop(ctx, OVL_DROP_NO_ROUTE);
	mtu = inner_mtu(p, port->mtu, tag_len(ctx));
	if (packet_len(ctx) > mtu)
		return too_big(ctx, ctx->vlan_present ? 0 : port->vni, mtu);
	return encapsulate_slow(ctx, cfg, to, port->vni);
}

/* strip takes the tunnel headers off an inner IP packet. An error changes
 * nothing: before Linux 6.3 the kernel cannot take a packet of one family out
 * of one of the other.
 */
static __always_inline long strip(struct __sk_buff *ctx, __be16 inner_proto)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET;
	long rc;

	if (inner_proto == bpf_htons(ETH_P_IPV6) && !underlay6)
		flags |= OVL_ADJ_ROOM_DECAP_L3_IPV6;
	if (inner_proto == bpf_htons(ETH_P_IP) && underlay6)
		flags |= OVL_ADJ_ROOM_DECAP_L3_IPV4;
	rc = bpf_skb_adjust_room(ctx, -(__s32)encap_len(), BPF_ADJ_ROOM_MAC, flags);
	/* Of the checksums that device or GRO have verified, the first is the
	 * outer one, even if it is zero. It went with its header: left standing,
	 * it would vouch for the inner one.
	 */
	if (!rc)
		bpf_csum_level(ctx, BPF_CSUM_LEVEL_DEC);
	return rc;
}

/* set_ect1 makes ECT(1) of ECT(0) in the IP header of a frame: the weakest sign
 * of congestion (RFC 6040 section 4.2). False: the header could not be written.
 */
static __always_inline bool set_ect1(struct __sk_buff *ctx, __be16 proto)
{
	__u8 head[2];

	if (bpf_skb_load_bytes(ctx, ETH_HLEN, head, sizeof(head)))
		return false;
	if (proto == bpf_htons(ETH_P_IPV6)) {
		if ((head[1] >> 4 & OVL_ECN_MASK) != OVL_ECN_ECT0)
			return true;
		head[1] ^= OVL_ECN_MASK << 4;
		return !bpf_skb_store_bytes(ctx, ETH_HLEN, head, sizeof(head),
					    BPF_F_RECOMPUTE_CSUM);
	}
	if ((head[1] & OVL_ECN_MASK) != OVL_ECN_ECT0)
		return true;
	head[1] ^= OVL_ECN_MASK;
	/* The sum over header and checksum stays what it was. */
	return !bpf_l3_csum_replace(ctx, ETH_HLEN + offsetof(struct iphdr, check),
				    bpf_htons(OVL_ECN_ECT0), bpf_htons(OVL_ECN_ECT1), 2) &&
	       !bpf_skb_store_bytes(ctx, ETH_HLEN, head, sizeof(head), 0);
}

/* reframe gives what strip has left its own Ethernet header, and takes the
 * outer ECN over (RFC 6040 section 4.2). Returns 0 or the reason to drop.
 */
static __always_inline int reframe(struct __sk_buff *ctx, const struct ethhdr *inner,
				   __u8 outer_tos)
{
	struct ethhdr *eth = frame(ctx, sizeof(*eth));

	if (!eth)
		return OVL_DROP_ENCAP;
	copy_eth(eth, inner);
	if (!(outer_tos & OVL_ECN_ECT1)) /* nor OVL_ECN_CE, which has this bit too */
		return 0;
	if ((outer_tos & OVL_ECN_MASK) == OVL_ECN_CE)
		return bpf_skb_ecn_set_ce(ctx) ? 0 : OVL_DROP_ECN;
	return set_ect1(ctx, inner->h_proto) ? 0 : OVL_DROP_ENCAP;
}

#endif
