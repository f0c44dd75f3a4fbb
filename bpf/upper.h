/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What an IPv6 packet carries behind its extension headers. Hardly any has
 * some: they are walked behind one branch.
 */
#ifndef OVL_UPPER_H
#define OVL_UPPER_H

#include "drops.h"
#include "parse.h"

/* More than RFC 8200 section 4.1 recommends, where each stands once and one
 * twice.
 */
#define OVL_MAX_EXTENSIONS 8
#define OVL_EXT_FRAG_OFFSET 0xfff8

struct upper {
	__u32 offset; /* of the upper header, in the frame */
	__u8 proto; /* IPPROTO_FRAGMENT: in a later fragment, so unknown */
	__u8 type; /* its first byte: of ICMPv6, the message's type */
	bool extended; /* extension headers stand before it */
	bool fragment;
	__u8 fragment_proto; /* as its fragment header has it */
	__be32 id; /* of the fragment */
};

/* The first bytes of every extension header. */
struct extension {
	__u8 next;
	__u8 len; /* in eights beyond the first; of an AH, in fours beyond two */
	__be16 frag; /* of a fragment header: offset and flags */
};

static __always_inline bool is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_FRAGMENT ||
	       proto == IPPROTO_AH || proto == IPPROTO_DSTOPTS;
}

/* walk6 goes from the first header after the IPv6 header, which u names, to the
 * upper one. Returns 0 or the reason to drop: a first fragment has to hold all
 * headers (RFC 7112), or nobody could tell what the packet is.
 */
static __noinline int walk6(struct __sk_buff *ctx, struct upper *u)
{
	struct extension h;
	int i;

	for (i = 0; i < OVL_MAX_EXTENSIONS && is_extension(u->proto); i++) {
		__u32 len = 8;

		if (bpf_skb_load_bytes(ctx, u->offset, &h, sizeof(h)))
			return OVL_DROP_TRUNCATED;
		u->extended = true;
		if (u->proto == IPPROTO_FRAGMENT) {
			u->fragment = true;
			u->fragment_proto = h.next;
			bpf_skb_load_bytes(ctx, u->offset + 4, &u->id, sizeof(u->id));
			if (h.frag & bpf_htons(OVL_EXT_FRAG_OFFSET))
				return 0;
		} else if (u->proto == IPPROTO_AH) {
			len = (h.len + 2) * 4;
		} else {
			len = (h.len + 1) * 8;
		}
		u->offset += len;
		u->proto = h.next;
	}
	if (is_extension(u->proto))
		return OVL_DROP_INNER_MALFORMED;
	if ((u->extended && u->proto != IPPROTO_NONE) || u->proto == IPPROTO_ICMPV6) {
		if (bpf_skb_load_bytes(ctx, u->offset, &u->type, sizeof(u->type)))
			return OVL_DROP_TRUNCATED;
	}
	return 0;
}

#endif
