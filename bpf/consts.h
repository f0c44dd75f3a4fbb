/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sizes and numbers of the wire, and what the uapi headers leave out. */
#ifndef OVL_CONSTS_H
#define OVL_CONSTS_H

#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define OVL_AF_INET 2
#define OVL_AF_INET6 10

/* The verifier wants what it sees of the stack aligned. */
#define OVL_ALIGNED __attribute__((aligned(4)))

/* RFC 7348 section 5: UDP and VXLAN headers and the inner Ethernet header
 * follow the outer IP header.
 */
#define OVL_VXLAN_HLEN 8
#define OVL_TUNNEL_HLEN (sizeof(struct udphdr) + OVL_VXLAN_HLEN + ETH_HLEN)
#define OVL_VXLAN_I 0x08000000 /* the I flag in the first word, host order */

#define OVL_ICMP_HLEN 8 /* of ICMP and ICMPv6 */

/* RFC 6335 dynamic ports, cut where Linux cuts them: 32768 to 60999. */
#define OVL_SPORT_MIN 32768
#define OVL_SPORT_COUNT 28232

/* How long an answer about the way to a VTEP holds, in ticks of the kernel's clock
 * (CONFIG_HZ: 1 to 10 ms each): so much later at the most does a packet follow a
 * change of routes or of the next hop's address. Ticks can be read without a call.
 */
#define OVL_ROUTE_TICKS 2

#define OVL_VLAN_HLEN 4
#define OVL_VLAN_ID 0x0fff /* in the tag's 16 bits, IEEE 802.1Q */
#define OVL_VLAN_DEPTH 8 /* tags that Linux looks behind */

#define OVL_FLOW_LABEL 0x000fffff /* RFC 8200 section 3 */
/* datapath.ServiceMAC */
#define OVL_SERVICE_MAC                   \
	{                                 \
		0x0a, 'o', 'v', 'l', 0, 1 \
	}

#define OVL_OUTER_TTL 64
#define OVL_IP_DF 0x4000
#define OVL_IP_FRAG 0x3fff /* MF and offset */
#define OVL_IP_OFFSET 0x1fff
#define OVL_ECN_MASK 0x03
#define OVL_ECN_ECT1 0x01
#define OVL_ECN_ECT0 0x02
#define OVL_ECN_CE 0x03

/* Flags of bpf_skb_adjust_room since Linux 6.3, which older headers lack: the
 * frame's protocol becomes that of the inner packet.
 */
#define OVL_ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define OVL_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)

#endif
