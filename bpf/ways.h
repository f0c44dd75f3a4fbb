/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the tables last said about frames like this one, kept per CPU: an array
 * costs a tenth of a hash table. An entry holds as long as the epoch, which the
 * agent moves on whenever it has changed a table (docs/adr/0009).
 */
#ifndef OVL_WAYS_H
#define OVL_WAYS_H

#include "tables.h"

static __always_inline __u32 way_slot(__u32 a, const __u8 *mac)
{
	__u32 h = (a ^ addr4(mac + 2)) * 0x9e3779b9;

	return h >> 23 & (OVL_MAX_WAYS - 1);
}

static __always_inline bool known(const struct fdb_entry *e)
{
	return e->ifindex || e->peer || (e->flags & OVL_TO_SERVICE);
}

static __always_inline void copy_fdb(struct fdb_entry *to, const struct fdb_entry *from)
{
	copy_words(to, from, sizeof(*to) / 4);
}

/* way_out returns what is known of a frame from a device to a MAC; NULL if the
 * device is no port. The epoch is read before the tables: an entry made while
 * they change is void at once.
 */
static __always_inline struct way_out *way_out(__u32 ifindex, const __u8 *dst)
{
	__u32 now = epoch, slot = way_slot(ifindex, dst);
	struct way_out *w = bpf_map_lookup_elem(&ovl_ways_out, &slot);
	struct fdb_entry *to;
	struct port *port;

	if (!w || (w->epoch == now && w->ifindex == ifindex && same_mac(w->dst, dst)))
		return w;
	port = bpf_map_lookup_elem(&ovl_ports, &ifindex);
	if (!port)
		return NULL;
	to = fdb(port->vni, dst);
	w->epoch = now;
	w->ifindex = ifindex;
	copy_mac(w->dst, dst);
	copy_words(&w->port, port, sizeof(*port) / 4);
	/* To the gateway, other hosts do not exist. */
	if (to && !(to->peer && (port->flags & OVL_PORT_GATEWAY)))
		copy_fdb(&w->to, to);
	else
		w->to = (struct fdb_entry){};
	return w;
}

static __always_inline bool same_vtep(const __u8 *a, const __u8 *b)
{
	return underlay6 ? same_words(a, b, 4) : mapped4(a) == mapped4(b);
}

/* remote_sender finds the endpoint on another host that a frame claims to
 * come from. Returns 0 or the reason to drop. Who sent it is settled by one
 * look-up; only a frame that fails costs more, to name the reason.
 */
static __always_inline int remote_sender(__u32 vni, const __u8 *mac, const __u8 *vtep,
					 struct fdb_entry **from)
{
	struct member_key member = { .vni = vni };
	struct fdb_entry *f = fdb(vni, mac);

	*from = f;
	if (f && f->peer && same_vtep(f->vtep, vtep))
		return 0;
	if (!bpf_map_lookup_elem(&ovl_networks, &vni))
		return OVL_DROP_UNKNOWN_VNI;
	copy_words(member.vtep, vtep, 4);
	if (!bpf_map_lookup_elem(&ovl_members, &member))
		return OVL_DROP_UNKNOWN_VTEP;
	return OVL_DROP_INNER_SOURCE;
}

/* local_endpoint is the endpoint of this host that a frame out of the tunnel is
 * for. The gateway is not one: each host has its own.
 */
static __always_inline struct fdb_entry *local_endpoint(__u32 vni, const __u8 *mac)
{
	struct fdb_entry *to = fdb(vni, mac);

	return to && to->ifindex && !(to->flags & OVL_PORT_GATEWAY) ? to : NULL;
}

/* way_in returns what is known of a frame out of the tunnel: who sent it and who
 * gets it; or the reason to drop.
 */
static __always_inline int way_in(__u32 vni, const struct ethhdr *eth, const __u8 *vtep,
				  struct way_in **way)
{
	__u32 now = epoch, slot = way_slot(vni ^ addr4(eth->h_source + 2), eth->h_dest);
	struct way_in *w = bpf_map_lookup_elem(&ovl_ways_in, &slot);
	struct fdb_entry *from, *to;
	int reason;

	*way = w;
	if (!w)
		return OVL_DROP_INNER_SOURCE;
	if (w->epoch == now && w->vni == vni && same_mac(w->src, eth->h_source) &&
	    same_mac(w->dst, eth->h_dest) && same_vtep(w->from.vtep, vtep))
		return 0;
	reason = remote_sender(vni, eth->h_source, vtep, &from);
	if (reason)
		return reason;
	to = local_endpoint(vni, eth->h_dest);
	w->epoch = now;
	w->vni = vni;
	copy_mac(w->src, eth->h_source);
	copy_mac(w->dst, eth->h_dest);
	copy_fdb(&w->from, from);
	if (to)
		copy_fdb(&w->to, to);
	else
		w->to = (struct fdb_entry){};
	return 0;
}

#endif
