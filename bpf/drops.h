/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Why a packet was dropped. The numbers are those of datapath.DropReason; a
 * test compares the two. What each means stands there.
 */
#ifndef OVL_DROPS_H
#define OVL_DROPS_H

enum drop_reason {
	/* from an endpoint */
	OVL_DROP_SOURCE_MAC = 1,
	OVL_DROP_SOURCE_IP,
	OVL_DROP_SOURCE_ARP,
	OVL_DROP_UNKNOWN_NEIGHBOUR,
	OVL_DROP_UNKNOWN_DESTINATION,
	OVL_DROP_MULTICAST,
	OVL_DROP_TOO_BIG,
	OVL_DROP_NO_ROUTE,
	OVL_DROP_ENCAP,
	OVL_DROP_ROGUE_ROUTER,
	/* from the underlay */
	OVL_DROP_UNKNOWN_VTEP = 32,
	OVL_DROP_UNKNOWN_VNI,
	OVL_DROP_VXLAN_FLAGS,
	OVL_DROP_TRUNCATED,
	OVL_DROP_INNER_SOURCE,
	OVL_DROP_INNER_MALFORMED,
	OVL_DROP_NOT_LOCAL,
	OVL_DROP_ECN,
	/* either way */
	OVL_DROP_QUEUE = 64,
};

#endif
