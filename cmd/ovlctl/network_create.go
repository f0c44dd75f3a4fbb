package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newNetworkCreate(a *app) *cobra.Command {
	var r api.NetworkRequest
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a network",
		Long: `Create a network. It is known on every host at once, and takes up something on
a host only when it has an endpoint there.

Without --subnet it gets the next free one of the address pool (10.0.0.0/24,
10.0.1.0/24, …). With --ipv6 and no --subnet of IPv6 it gets the next free /64 of
the cluster's own unique local addresses as well. A network may have IPv6 alone.
Two networks may have the same subnet: they are isolated. Prints name and ID.`,
		Example: `  ovlctl network create red
  ovlctl network create green --ipv6
  ovlctl network create blue --subnet 10.5.0.0/16 --ip-range 10.5.8.0/24 --gateway 10.5.0.254
  ovlctl network create both --subnet 10.6.0.0/24 --subnet fd00:6::/64 --label team=web
  ovlctl network create lab --subnet 10.7.0.0/24 --aux-address router=10.7.0.9 --internal --mtu 1400

  # endpoints find each other by mDNS
  ovlctl network create home --multicast`,
		Args: args(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = args[0]
			if err := r.Validate(); err != nil {
				return usage(cmd, err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			n, err := client.NetworkCreate(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(n, func(w io.Writer) { fmt.Fprintln(w, n.Name, n.ID) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	addValues(fs, &r.Subnets, "subnet", "`CIDR` of the network", parsePrefix)
	addValues(fs, &r.Gateways, "gateway", "`IP` of the gateway, one for each subnet (default: the first address)", parseAddr)
	addValues(fs, &r.IPRanges, "ip-range", "`CIDR` inside a subnet from which addresses are handed out", parsePrefix)
	addPairs(fs, &r.AuxAddresses, "aux-address", "`NAME=IP` of an address never to hand out", parseAddr)
	fs.BoolVar(&r.IPv6, "ipv6", false, "have IPv6: without a --subnet of IPv6, the next free one of the IPv6 address pool")
	fs.BoolVar(&r.Internal, "internal", false, "no way to the outside")
	fs.BoolVar(&r.Multicast, "multicast", false, "carry broadcast and multicast to every endpoint")
	addMTU(fs, &r.MTU)
	addPairs(fs, &r.Labels, "label", "`KEY=VALUE` to keep with the network", parseText)
	fs.BoolVar(&r.Force, "force", false, "take a subnet that overlaps a route of this host")
	a.outputFlag(cmd, formatTable)
	return cmd
}
