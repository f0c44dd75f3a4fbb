// Package bpf holds the eBPF programs of the kernel datapath and what Go needs
// to use them: the compiled object and the Go types of the maps' keys and
// values, both made from the C sources in this folder by `make generate`.
//
// ovl.c names the programs. A packet passes the headers in this order: parse.h,
// source.h, upper.h and nd.h for IPv6, tables.h, service.h if it has to do with a
// VIP, then tunnel.h, deliver.h or flood.h.
package bpf

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -output-stem ovl -type config -type port -type fdb_key -type fdb_entry -type neigh_key -type neigh_entry -type member_key -type member_entry -type network_entry -type flood_key -type flood_entry -type vip_key -type vip_entry -type target_key -type target_entry -type backend_key -type backend_entry -type table_key -type flow_key -type flow_entry -type affinity_key -type affinity_entry -type numbers -type path_key -type path_entry -type peer -type way_out -type way_in -type counter -type traffic -type port_traffic -type drop_reason Ovl ovl.c -- -O2 -g -fno-strict-aliasing -Wall -Werror -I/usr/include/x86_64-linux-gnu
