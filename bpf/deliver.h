/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The last step to an endpoint on this host. */
#ifndef OVL_DELIVER_H
#define OVL_DELIVER_H

#include "counters.h"

/* deliver gives the frame to a port. An IP packet goes straight to the far end
 * of a veth pair, with no queue in between. Other frames, and those for a TAP,
 * go out of the port's device: bpf_redirect_peer would leave them the packet
 * type and protocol of the frame that came in.
 */
static __always_inline int deliver(struct __sk_buff *ctx, const struct fdb_entry *to, bool ip)
{
	struct port_traffic *t;

	/* The frame is addressed to the endpoint, not to the device it came in
	 * by: without this its stack would take it for somebody else's.
	 */
	ip = ip && !(to->flags & OVL_PORT_TAP);
	if (ip && ctx->pkt_type != PACKET_HOST && bpf_skb_change_type(ctx, PACKET_HOST))
		return drop(ctx, OVL_DROP_ENCAP);
	t = port_traffic(to->slot);
	if (t)
		count(ctx, &t->counted.received);
	return ip ? bpf_redirect_peer(to->ifindex, 0) : bpf_redirect(to->ifindex, 0);
}

/* received_from counts a frame that came from a peer and was not dropped. */
static __always_inline int received_from(struct __sk_buff *ctx, __u32 peer_slot, int verdict)
{
	struct peer *p = peer(peer_slot);

	if (p && verdict < OVL_ANSWERED)
		count(ctx, &p->received);
	return verdict;
}

#endif
