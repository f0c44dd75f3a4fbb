package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newNetwork(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "network",
		Short:   "Manage networks",
		Example: "  ovlctl network create red\n  ovlctl network ls",
	}
	cmd.AddCommand(newNetworkCreate(a), newNetworkList(a), newNetworkInspect(a), newNetworkRemove(a))
	group(cmd)
	return cmd
}

func newNetworkList(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the cluster's networks",
		Example: "  ovlctl network ls\n  ovlctl network ls -o json | jq -r '.[].Name'",
		Args:    args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			networks, err := client.NetworkList(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(networks, func(w io.Writer) {
				row(w, "NAME", "ID", "VNI", "SUBNETS", "MTU", "ENDPOINTS")
				for _, n := range networks {
					row(w, n.Name, short(n.ID), n.VNI, list(n.Subnets), n.MTU, n.Endpoints)
				}
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	a.outputFlag(cmd, formatTable)
	return cmd
}

func newNetworkInspect(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect NAME…",
		Short: "Show all of one or more networks",
		Long: `Show all of one or more networks, by name, ID or the beginning of an ID. The JSON
array has the fields that ` + "`docker network inspect`" + ` has.`,
		Example: `  ovlctl network inspect red

  # the VNI, and the addresses of all endpoints
  ovlctl network inspect red | jq -r '.[0].Options.vni, .[0].Containers[].IPv4Address'`,
		Args: args(1, "NAME…"),
		RunE: func(cmd *cobra.Command, refs []string) error {
			if err := validateRefs(cmd, "network", refs); err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			return inspectEach(a, refs, func(ref string) (api.Network, error) {
				return client.NetworkInspect(cmd.Context(), ref)
			}, networkTable)
		},
		ValidArgsFunction: a.completeNetworks(0),
	}
	a.outputFlag(cmd, formatJSON)
	return cmd
}

func networkTable(w io.Writer, n api.Network) {
	row(w, "Name:", n.Name)
	row(w, "ID:", n.ID)
	row(w, "Created:", n.Created.Format("2006-01-02 15:04:05 MST"))
	row(w, "VNI:", n.Options[api.OptionVNI])
	row(w, "MTU:", n.Options[api.OptionMTU])
	row(w, "Internal:", n.Internal)
	row(w, "Multicast:", n.Options[api.OptionMulticast] == "true")
	for _, c := range n.IPAM.Config {
		text := fmt.Sprintf("%s, gateway %s", c.Subnet, c.Gateway)
		if c.IPRange.IsValid() {
			text += ", range " + c.IPRange.String()
		}
		for _, k := range slices.Sorted(maps.Keys(c.AuxiliaryAddresses)) {
			text += fmt.Sprintf(", %s=%s", k, c.AuxiliaryAddresses[k])
		}
		row(w, "Subnet:", text)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		row(w, "Label:", k+"="+n.Labels[k])
	}
	for _, p := range n.Peers {
		row(w, "Host:", fmt.Sprintf("%s %s", p.Name, p.IP))
	}
	services := slices.Sorted(maps.Keys(n.Services))
	section(w, len(services), "SERVICE", "VIPS", "PORTS", "BACKENDS")
	for _, name := range services {
		s := n.Services[name]
		mode := api.ServiceVIP
		if len(s.VIPs) == 0 {
			mode = api.ServiceDNSRR
		}
		row(w, name, list(s.VIPs), ports(mode, s.Ports), s.Backends)
	}
	byName := slices.SortedFunc(maps.Values(n.Containers), func(a, b api.Container) int {
		return cmpStrings(a.Name, b.Name, a.EndpointID, b.EndpointID)
	})
	section(w, len(byName), "ENDPOINT", "ID", "NODE", "IPV4", "IPV6", "MAC")
	for _, c := range byName {
		v4, v6 := "", ""
		if c.IPv4Address.IsValid() {
			v4 = c.IPv4Address.String()
		}
		if c.IPv6Address.IsValid() {
			v6 = c.IPv6Address.String()
		}
		row(w, c.Name, short(c.EndpointID), c.Node, v4, v6, c.MacAddress)
	}
}

func newNetworkRemove(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm NAME…",
		Aliases: []string{"remove"},
		Short:   "Remove networks that have no endpoints and no services",
		Example: "  ovlctl network rm red\n  ovlctl network rm red blue",
		Args:    args(1, "NAME…"),
		RunE: func(cmd *cobra.Command, refs []string) error {
			if err := validateRefs(cmd, "network", refs); err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			var removed []string
			failed := forEach(refs, func(ref string) error {
				err := client.NetworkRemove(cmd.Context(), ref)
				if err == nil {
					removed = append(removed, ref)
				}
				return err
			})
			if len(removed) == 0 {
				return failed
			}
			return errors.Join(a.print(removed, func(w io.Writer) {
				for _, r := range removed {
					fmt.Fprintln(w, r)
				}
			}), failed)
		},
		ValidArgsFunction: a.completeNetworks(0),
	}
	a.outputFlag(cmd, formatTable)
	return cmd
}
