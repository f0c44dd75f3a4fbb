//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The three programs of the kernel datapath, all for tc ingress:
 *
 *   from_endpoint  on the host's end of every endpoint's interface
 *   from_underlay  on the device that holds the VTEP's address
 *   from_vxlan     on the `vxlan external` device
 *
 * Each header holds one role; docs/architecture.md draws the paths.
 */
#include "endpoint.h"
#include "underlay.h"
#include "vxlan.h"

char __license[] SEC("license") = "Dual BSD/GPL";

SEC("tc")
int from_endpoint(struct __sk_buff *ctx)
{
	return endpoint(ctx);
}

SEC("tc")
int from_underlay(struct __sk_buff *ctx)
{
	return underlay(ctx);
}

SEC("tc")
int from_vxlan(struct __sk_buff *ctx)
{
	return vxlan(ctx);
}
