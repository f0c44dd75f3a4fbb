/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The maps, filled by the agent and pinned by name in the instance's folder.
 * Tables that grow with the cluster take memory as they fill.
 */
#ifndef OVL_MAPS_H
#define OVL_MAPS_H

#include "drops.h"
#include "types.h"

#define OVL_MAX_PORTS 4096
#define OVL_MAX_ENDPOINTS 262144
#define OVL_MAX_NETWORKS 16384
#define OVL_MAX_PEERS 4096
#define OVL_MAX_FLOOD 65536
#define OVL_MAX_DROPS 64
#define OVL_MAX_VIPS 131072
#define OVL_MAX_TARGET_PORTS 262144
#define OVL_MAX_BACKENDS 1048576
#define OVL_MAX_FLOWS 131072 /* two entries a flow */
#define OVL_MAX_YOUNG 65536
#define OVL_MAX_AFFINITY 65536
#define OVL_MAX_FRAGMENTS 8192
#define OVL_MAX_WAYS 512 /* a CPU; a power of two */
#define OVL_MAX_SLOTS (OVL_MAX_PORTS + 1) /* slot 0 is nobody's */

/* The family of the underlay. It is set before the programs are loaded and never
 * after, so that the verifier leaves out what is for the other one.
 */
const volatile bool underlay6;

/* The agent moves it on when it has changed a table. Not zero, as entries are
 * that were never made.
 */
volatile __u32 epoch = 1;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OVL_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct port);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_ENDPOINTS);
	__type(key, struct fdb_key);
	__type(value, struct fdb_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_fdb SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_ENDPOINTS);
	__type(key, struct neigh_key);
	__type(value, struct neigh_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_neigh SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_ENDPOINTS);
	__type(key, struct member_key);
	__type(value, struct member_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_NETWORKS);
	__type(key, __u32);
	__type(value, struct network_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_FLOOD);
	__type(key, struct flood_key);
	__type(value, struct flood_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_flood SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_PEERS);
	__type(key, struct path_key);
	__type(value, struct path_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OVL_MAX_PEERS);
	__type(key, __u32);
	__type(value, struct peer);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_peers SEC(".maps");

/* Not pinned: they belong to the programs that fill them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} ovl_work SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OVL_MAX_WAYS);
	__type(key, __u32);
	__type(value, struct way_out);
} ovl_ways_out SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OVL_MAX_WAYS);
	__type(key, __u32);
	__type(value, struct way_in);
} ovl_ways_in SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OVL_MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct port_traffic);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_traffic SEC(".maps");

/* The agent's own, kept here for the next one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_NETWORKS);
	__type(key, __u32);
	__type(value, struct traffic);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_past SEC(".maps");

/* A hash and not an array, so that a dump prints the reason's name. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, OVL_MAX_DROPS);
	__type(key, enum drop_reason);
	__type(value, struct counter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_VIPS);
	__type(key, struct vip_key);
	__type(value, struct vip_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_TARGET_PORTS);
	__type(key, struct target_key);
	__type(value, struct target_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_BACKENDS);
	__type(key, struct backend_key);
	__type(value, struct backend_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_backends SEC(".maps");

/* Services of the same backends share a table. */
/* clang-format off */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OVL_MAX_VIPS);
	__type(key, struct table_key);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(map_flags, BPF_F_INNER_MAP); /* sizes differ */
		__uint(max_entries, 2);
		__type(key, __u32);
		__type(value, table_row);
	});
} ovl_tables SEC(".maps");
/* clang-format on */

/* What the programs remember of flows. Those that both ends keep up are apart,
 * so that no flood of others pushes them out.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OVL_MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OVL_MAX_YOUNG);
	__type(key, struct flow_key);
	__type(value, struct flow_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_flows_young SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OVL_MAX_AFFINITY);
	__type(key, struct affinity_key);
	__type(value, struct affinity_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OVL_MAX_FRAGMENTS);
	__type(key, struct fragment_key);
	__type(value, struct fragment_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct numbers);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ovl_numbers SEC(".maps");

#endif
