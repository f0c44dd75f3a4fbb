/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Questions that the programs ask of the maps. */
#ifndef OVL_TABLES_H
#define OVL_TABLES_H

#include "maps.h"
#include "parse.h"

static __always_inline struct config *config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ovl_config, &zero);
}

static __always_inline struct fdb_entry *fdb(__u32 vni, const __u8 *mac)
{
	struct fdb_key key = { .vni = vni };

	copy_mac(key.mac, mac);
	return bpf_map_lookup_elem(&ovl_fdb, &key);
}

static __always_inline struct neigh_entry *neigh4(__u32 vni, __be32 addr)
{
	struct neigh_key key = { .vni = vni, .addr = { [10] = 0xff, [11] = 0xff } };

	copy4(key.addr + 12, &addr);
	return bpf_map_lookup_elem(&ovl_neigh, &key);
}

static __always_inline bool mapped6(const __u8 *addr)
{
	const __u32 *w = (const __u32 *)addr;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff);
}

/* neigh6 leaves out the addresses that stand for IPv4 in the table: in an IPv6
 * packet nobody has them.
 */
static __always_inline struct neigh_entry *neigh6(__u32 vni, const __u8 *addr)
{
	struct neigh_key key = { .vni = vni };

	if (mapped6(addr))
		return NULL;
	copy_words(key.addr, addr, 4);
	return bpf_map_lookup_elem(&ovl_neigh, &key);
}

static __always_inline bool unspecified6(const __u8 *addr)
{
	const __u32 *w = (const __u32 *)addr;

	return !(w[0] | w[1] | w[2] | w[3]);
}

static __always_inline bool group6(const __u8 *addr)
{
	return addr[0] == 0xff;
}

/* solicited_node recognises ff02::1:ff00:0/104 (RFC 4291 section 2.7.1). */
static __always_inline bool solicited_node(const __u8 *addr)
{
	const __be32 *w = (const __be32 *)addr;

	return w[0] == bpf_htonl(0xff020000) && !w[1] && w[2] == bpf_htonl(1) && addr[12] == 0xff;
}

/* owns4 and owns6 say whether an address is that of the endpoint with this MAC;
 * first is the endpoint's first address, which spares the look-up.
 */
static __always_inline bool owns4(__u32 vni, const __u8 *mac, const __u8 *first, __be32 addr)
{
	struct neigh_entry *n;

	if (addr == addr4(first))
		return addr != 0;
	n = neigh4(vni, addr);
	return n && same_mac(n->mac, mac);
}

/* link_local reads the MAC out of a link-local address that was made from one
 * (RFC 4291 appendix A). Such addresses are in no table: they follow from the
 * MAC.
 */
static __always_inline bool link_local(const __u8 *addr, __u8 *mac)
{
	const __u32 *prefix = (const __u32 *)addr; /* fe80::/64 */

	if (prefix[0] != bpf_htonl(0xfe800000) || prefix[1] || addr[11] != 0xff || addr[12] != 0xfe)
		return false;
	mac[0] = addr[8] ^ 2;
	mac[1] = addr[9];
	mac[2] = addr[10];
	mac[3] = addr[13];
	mac[4] = addr[14];
	mac[5] = addr[15];
	return true;
}

/* owner6 finds the MAC that has an IPv6 address. */
static __always_inline bool owner6(__u32 vni, const __u8 *addr, __u8 *mac)
{
	struct neigh_entry *n;

	if (link_local(addr, mac))
		return true;
	n = neigh6(vni, addr);
	if (!n)
		return false;
	copy_mac(mac, n->mac);
	return true;
}

static __always_inline bool owns6(__u32 vni, const __u8 *mac, const __u8 *first, const __u8 *addr)
{
	__u8 owner[ETH_ALEN] OVL_ALIGNED;

	if (same_words(addr, first, 4))
		return !unspecified6(addr);
	return owner6(vni, addr, owner) && same_mac(owner, mac);
}

#endif
