/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How long the packets are that a frame becomes on the wire. */
#ifndef OVL_LENGTH_H
#define OVL_LENGTH_H

#include "measure.h"
#include "parse.h"

/* packet_len returns the length of the IP packet as the underlay will see it:
 * of the largest segment where the kernel is still to cut it, whose headers have been
 * measured.
 */
static __always_inline __u32 packet_len(struct __sk_buff *ctx)
{
	if (ctx->gso_size)
		return ctx->gso_size + noted(ctx, OVL_CB_HEADERS) - ETH_HLEN;
	return ctx->len - ETH_HLEN;
}

/* tag_len is what a tag that the device has taken off will take up again. */
static __always_inline __u32 tag_len(struct __sk_buff *ctx)
{
	return ctx->vlan_present ? OVL_VLAN_HLEN : 0;
}

#endif
