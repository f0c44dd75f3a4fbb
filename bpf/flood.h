/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Frames to a group, on networks that carry them. The host of the sender makes
 * all the copies: one for each other port here, one for each VTEP that has the
 * network, which hands it to its own ports and to nobody else. So no frame
 * ever comes round, and what an endpoint can set off is bounded by the length
 * of the list.
 */
#ifndef OVL_FLOOD_H
#define OVL_FLOOD_H

#include "counters.h"
#include "tunnel.h"

/* What flood takes for the sender of frames that come out of the tunnel: no
 * port, which is also what the entry of a VTEP has. That is the split horizon.
 */
#define OVL_FROM_TUNNEL 0

/* carries_multicast returns the network if it carries frames to groups. */
static __always_inline const struct network_entry *carries_multicast(__u32 vni)
{
	const struct network_entry *n = bpf_map_lookup_elem(&ovl_networks, &vni);

	return n && (n->flags & OVL_NETWORK_MULTICAST) ? n : NULL;
}

/* flood_one sends one copy and returns 1, or 0 if nobody is at that index who
 * is to have one. A copy that fails is counted as a drop. Like flood it is a
 * function of its own, not inlined, so that the verifier walks through it once
 * and not for every copy.
 */
__noinline int flood_one(struct __sk_buff *ctx, __u32 vni, __u32 index, __u32 from, __u32 mtu)
{
	const struct flood_key key = { .vni = vni, .index = index };
	const struct flood_entry *to = bpf_map_lookup_elem(&ovl_flood, &key);
	const struct config *cfg = config();
	struct port_traffic *port;
	struct peer *p;
	int reason = 0;
	long rc;

	if (!cfg || !to || to->ifindex == from)
		return 0;
	if (to->ifindex) {
		port = port_traffic(to->slot);
		if (bpf_clone_redirect(ctx, to->ifindex, 0) < 0)
			count_dropped(ctx, OVL_DROP_ENCAP, 1, true);
		else if (port)
			count(ctx, &port->counted.received);
		return 1;
	}
	p = path(ctx, cfg, to->vtep, to->peer, &rc);
	if (!p)
		reason = OVL_DROP_NO_ROUTE;
	else if (packet_len(ctx) > inner_mtu(p, mtu, tag_len(ctx)))
		reason = OVL_DROP_TOO_BIG;
	if (!reason)
		reason = tunnel_key(ctx, cfg, to->vtep, vni);
	if (!reason && bpf_clone_redirect(ctx, cfg->vxlan_ifindex, 0) < 0)
		reason = OVL_DROP_ENCAP;
	if (reason)
		count_dropped(ctx, reason, 1, true);
	else if (p)
		count(ctx, &p->sent);
	return 1;
}

/* flood sends a copy to everybody but the sender, a port of this host or
 * OVL_FROM_TUNNEL, and lets go of the frame. Copies that the list has no room
 * for count as dropped; so does a frame that nobody is there to hear.
 */
__noinline int flood(struct __sk_buff *ctx, __u32 vni, __u32 from)
{
	const struct network_entry *n = carries_multicast(vni);
	__u32 i, targets, mtu, missing, copies = 0;
	struct port_traffic *t;

	if (!n)
		return drop(ctx, OVL_DROP_MULTICAST);
	targets = n->targets;
	mtu = n->mtu;
	missing = n->left_ports + (from == OVL_FROM_TUNNEL ? 0 : n->left_hosts);
	for (i = 0; i < OVL_MAX_TARGETS && i < targets; i++)
		copies += flood_one(ctx, vni, i, from, mtu);
	if (missing)
		count_dropped(ctx, OVL_DROP_MULTICAST, missing, true);
	copies += missing;
	if (!copies)
		return drop(ctx, OVL_DROP_MULTICAST);
	t = sender(ctx);
	if (t) /* one of them stands for the frame itself */
		count_copies(ctx, &t->counted.copied, copies - 1);
	return TC_ACT_SHOT;
}

#endif
