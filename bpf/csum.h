/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Internet checksums (RFC 1071). */
#ifndef OVL_CSUM_H
#define OVL_CSUM_H

#include "consts.h"

/* The most that bpf_csum_diff takes at once. */
#define OVL_CSUM_MAX 512

/* add_up adds bytes, a multiple of four whose number is a constant, to a sum. */
static __always_inline __u32 add_up(__u32 sum, const void *bytes, __u32 len)
{
	__u32 done;

#pragma unroll
	for (done = 0; done + OVL_CSUM_MAX < len; done += OVL_CSUM_MAX)
		sum = bpf_csum_diff(NULL, 0, (void *)bytes + done, OVL_CSUM_MAX, sum);
	return bpf_csum_diff(NULL, 0, (void *)bytes + done, len - done, sum);
}

/* fold16 brings a sum to the 16 bits that go into a header, inverted. */
static __always_inline __u16 fold16(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* ip_checksum is zero for a header whose checksum is right. */
static __always_inline __sum16 ip_checksum(const struct iphdr *ip)
{
	const __u32 *w = (const __u32 *)ip;
	__u64 sum = (__u64)w[0] + w[1] + w[2] + w[3] + w[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

#endif
