/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Keys and values of the maps. Addresses are byte arrays in network order, so
 * that `bpftool map dump` prints them as people write them; where either family
 * may stand, IPv4 does as ::ffff:a.b.c.d. Numbers are in host order. Padding is
 * explicit and zero.
 */
#ifndef OVL_TYPES_H
#define OVL_TYPES_H

#include "consts.h"

/* ovl_config, one entry: what the programs know of their host. */
struct config {
	__u8 vtep[16] OVL_ALIGNED;
	__u32 vxlan_ifindex; /* the `vxlan external` device */
	__u16 vxlan_port;
	__u16 pad;
};

/* Packets and bytes, as datapath.Counter has them. */
struct counter {
	__u64 packets;
	__u64 bytes;
};

#define OVL_PORT_TAP 1 /* no peer device behind it */
#define OVL_PORT_BACKEND 2 /* of some service */
#define OVL_TO_SERVICE 4 /* no endpoint: OVL_SERVICE_MAC, the way to VIPs */
#define OVL_PORT_GATEWAY 8 /* of its host alone */

/* ovl_ports, by ifindex: an endpoint on this host. */
struct port {
	__u32 vni;
	__u8 mac[ETH_ALEN];
	__u16 mtu; /* largest inner IP packet */
	__u8 addr4[4] OVL_ALIGNED; /* its first IPv4 address */
	__u8 addr6[16] OVL_ALIGNED; /* its first IPv6 address */
	__u32 slot; /* index into ovl_traffic */
	__u32 flags; /* OVL_PORT_… */
};

/* ovl_fdb, the forwarding table: where a MAC of a network lives. */
struct fdb_key {
	__u32 vni;
	__u8 mac[ETH_ALEN];
	__u16 pad;
};

struct fdb_entry {
	__u8 vtep[16] OVL_ALIGNED; /* zero: on this host */
	__u8 addr4[4] OVL_ALIGNED; /* its first IPv4 address */
	__u8 addr6[16] OVL_ALIGNED; /* its first IPv6 address */
	__u32 ifindex; /* the port, zero: on another host */
	__u16 peer; /* index into ovl_peers */
	__u16 flags; /* OVL_PORT_… of the endpoint, or OVL_TO_SERVICE */
	__u32 slot; /* of the port, index into ovl_traffic */
};

/* ovl_neigh, by network and address (IPv4 as ::ffff:a.b.c.d): who has it.
 * ARP and ND are answered from it, and it says who may send from an address.
 */
struct neigh_key {
	__u32 vni;
	__u8 addr[16] OVL_ALIGNED;
};

struct neigh_entry {
	__u8 mac[ETH_ALEN];
	__u16 pad;
};

/* ovl_members: hosts that have a network, and so may send into it. */
struct member_key {
	__u32 vni;
	__u8 vtep[16] OVL_ALIGNED;
};

struct member_entry {
	__u32 peer; /* index into ovl_peers */
};

#define OVL_NETWORK_MULTICAST 1 /* carries broadcast and multicast */

/* ovl_networks, by VNI: networks present on this host. */
struct network_entry {
	__u32 mtu;
	__u32 flags; /* OVL_NETWORK_… */
	__u8 gateway4[4] OVL_ALIGNED; /* its first gateway of each family, zero: none */
	__u8 gateway6[16] OVL_ALIGNED;
	__u16 targets; /* indices of ovl_flood in use, some of which may be free */
	__u16 left_ports; /* ports and VTEPs that the list had no room for */
	__u16 left_hosts;
	__u16 pad;
};

#define OVL_MAX_TARGETS 512 /* copies of one frame */

/* ovl_flood: who gets a copy of a frame to a group. An entry keeps its index as
 * long as it is wanted, so that who walks through the list meets it once,
 * whatever else comes and goes.
 */
struct flood_key {
	__u32 vni;
	__u32 index;
};

struct flood_entry {
	__u8 vtep[16] OVL_ALIGNED; /* zero: a port on this host */
	__u32 ifindex; /* the port, zero: a VTEP */
	__u32 peer; /* index into ovl_peers */
	__u32 slot; /* of the port, index into ovl_traffic */
};

/* ovl_paths, by VTEP: what the kernel's look-up of a route does not tell of the
 * way there. limit is the agent's, the others the programs'.
 */
struct path_key {
	__u8 vtep[16] OVL_ALIGNED;
};

struct path_entry {
	__u32 limit; /* MTU of the other end, or one that the route names; 0: none */
	__u32 learned; /* MTU that a router has told, until it expires; 0: none */
	__u64 expires; /* ns of bpf_ktime_get_coarse_ns */
};

/* ovl_peers, per CPU: one VTEP, how to reach it, and the traffic with it. The
 * route is what the kernel answered last, and is asked for anew when it has
 * expired.
 */
struct peer {
	__u8 vtep[16] OVL_ALIGNED;
	__u32 ifindex;
	__u8 smac[ETH_ALEN];
	__u8 dmac[ETH_ALEN];
	__u32 mtu; /* of the path, outer IP header included */
	__u32 pad;
	__u64 expires; /* in ticks, as bpf_jiffies64 counts them */
	struct counter sent;
	struct counter received;
};

/* ovl_ways_out, per CPU: what the tables say of frames from a port to a MAC. */
struct way_out {
	__u32 epoch;
	__u32 ifindex;
	__u8 dst[ETH_ALEN];
	__u16 pad;
	struct port port;
	struct fdb_entry to; /* zero: nowhere */
};

/* ovl_ways_in, per CPU: the same of frames out of the tunnel. */
struct way_in {
	__u32 epoch;
	__u32 vni;
	__u8 src[ETH_ALEN];
	__u8 dst[ETH_ALEN];
	struct fdb_entry from;
	struct fdb_entry to; /* zero: nowhere */
};

/* What an endpoint on this host has to do with: datapath.PortCounter says what
 * each counts. In ovl_past it is by VNI, and not per CPU: the sums of ports
 * that are gone; by 0 those of networks that are gone.
 */
struct traffic {
	struct counter sent;
	struct counter received;
	struct counter answered;
	struct counter dropped;
	struct counter copied;
};

/* ovl_traffic, per CPU, by slot: a port. Slot 0 is nobody's, and counts frames
 * from a device that is no port (any more).
 */
struct port_traffic {
	__u32 vni;
	__u32 ifindex;
	__u8 mac[ETH_ALEN];
	__u16 pad;
	struct traffic counted;
};

/* ovl_drops, per CPU, by enum drop_reason: struct counter. */

#define OVL_SERVICE_ANY_PORT 1 /* each leads to the same port of the backend */

/* ovl_services, by VIP (IPv4 as ::ffff:a.b.c.d). */
struct vip_key {
	__u32 vni;
	__u8 addr[16] OVL_ALIGNED;
};

struct vip_entry {
	__u32 service; /* its number */
	__u32 flags; /* OVL_SERVICE_… */
	__u32 affinity; /* seconds, 0: none */
	char name[64];
};

/* ovl_targets: the ports that a service offers, and where they lead. */
struct target_key {
	__u32 service;
	__u16 port;
	__u8 protocol;
	__u8 pad;
};

struct target_entry {
	__u16 port; /* of the backend */
	__u16 pad;
};

/* ovl_backends: which endpoints a service has on its list. An endpoint has one
 * number, whatever services it is a backend of, and no other ever gets it.
 */
struct backend_key {
	__u32 service;
	__u32 endpoint;
};

struct backend_entry {
	char id[64]; /* of the endpoint */
	__u8 addr4[4] OVL_ALIGNED; /* zero: none */
	__u8 addr6[16] OVL_ALIGNED;
	__u8 mac[ETH_ALEN];
	__u16 draining;
};

/* ovl_tables: a Maglev table for each family of a service, in rows. The first
 * row begins with the number of entries; the numbers of endpoints follow from
 * the second on.
 */
struct table_key {
	__u32 service;
	__u32 family; /* 4 or 6 */
};

#define OVL_ROW 16

typedef __u32 table_row[OVL_ROW];

/* ovl_flows and ovl_flows_young: a direction of a flow, by its packets as they
 * come, and what becomes of them.
 */
struct flow_key {
	__u32 vni;
	__u8 src[16] OVL_ALIGNED;
	__u8 dst[16] OVL_ALIGNED;
	__u16 sport;
	__u16 dport;
	__u8 protocol;
	__u8 pad[3];
};

#define OVL_FLOW_REVERSE 1 /* from the backend */
#define OVL_FLOW_OWN 2 /* the client is its own backend */
#define OVL_FLOW_AFFINE 4 /* ovl_affinity hears of it */
#define OVL_FLOW_CLOSING 8 /* FIN went this way, or a reset either way */
#define OVL_FLOW_ESTABLISHED 16 /* both have spoken, a second or longer ago */

struct flow_entry {
	__u8 src[16] OVL_ALIGNED;
	__u8 dst[16] OVL_ALIGNED;
	__u16 sport;
	__u16 dport;
	__u8 mac[ETH_ALEN]; /* the backend's */
	__u16 flags; /* OVL_FLOW_… */
	__u32 service;
	__u32 endpoint; /* the backend */
	__u32 epoch; /* of the tables that said last that it goes on */
	__u64 born; /* ns of bpf_ktime_get_coarse_ns, as is seen */
	__u64 seen; /* to a second */
	struct counter counted;
};

/* ovl_affinity: where a client of a service was led last. */
struct affinity_key {
	__u32 service;
	__u8 client[16] OVL_ALIGNED;
};

struct affinity_entry {
	__u32 endpoint;
	__u32 pad;
	__u64 seen; /* ns of bpf_ktime_get_coarse_ns, to a second */
};

/* ovl_fragments: the ports that a first fragment had. */
struct fragment_key {
	__u32 vni;
	__u8 src[16] OVL_ALIGNED;
	__u8 dst[16] OVL_ALIGNED;
	__u8 id[4] OVL_ALIGNED;
	__u32 protocol;
};

struct fragment_entry {
	__u16 sport;
	__u16 dport;
	__u32 protocol; /* of the flow: an IPv6 fragment header may name another */
	__u64 seen; /* ns of bpf_ktime_get_coarse_ns */
};

/* ovl_work, per CPU: the packet that is looked at, as far as services have to do
 * with it. The stack has no room for it.
 */
struct ends { /* as flow_key and flow_entry have them */
	__u8 src[16] OVL_ALIGNED;
	__u8 dst[16] OVL_ALIGNED;
	__u16 sport;
	__u16 dport;
};

struct macs {
	__u8 dst[ETH_ALEN];
	__u8 src[ETH_ALEN];
};

#define OVL_PIECE 64
#define OVL_PART_FIRST 1
#define OVL_PART_LATER 2

struct work {
	struct flow_key key; /* a later fragment has its first one's ports */
	struct flow_key other; /* of the other direction */
	struct flow_entry flow; /* to be written to a map */
	struct fragment_key fragment;
	struct ends from; /* what translate replaces */
	struct ends to; /* and by what */
	struct macs from_mac;
	struct macs to_mac;
	__u8 head[20]; /* the transport header's first bytes */
	__u32 l4; /* its offset in the frame, 0: a later fragment has none */
	__u32 end; /* of the packet in the frame, which may be padded */
	__u32 epoch;
	__u16 ipv6;
	__u16 part; /* OVL_PART_…, 0: a whole packet */
	__u32 upper; /* the transport protocol: of an ICMP error not that of key */
	__u32 pad;
	__u8 piece[OVL_PIECE]; /* of the frame, for its sum */
	__u64 now; /* ns of bpf_ktime_get_coarse_ns */
};

/* ovl_numbers, one entry: the last that were given out, which no other agent may
 * give out again. The programs do not look at it.
 */
struct numbers {
	__u32 service;
	__u32 endpoint;
	__u32 epoch;
};

#endif
