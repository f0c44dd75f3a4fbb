package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newService(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Manage services: names and virtual IPs in front of endpoints",
		Example: `  ovlctl service create web --network red --port 80:8080
  ovlctl attach red --netns c1 --service web
  ovlctl service ls`,
	}
	cmd.AddCommand(newServiceCreate(a), newServiceList(a), newServiceInspect(a), newServiceUpdate(a), newServiceDrain(a),
		newServiceRemove(a))
	group(cmd)
	return cmd
}

func newServiceList(a *app) *cobra.Command {
	var network string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the cluster's services",
		Long: `List the cluster's services. BACKENDS are those that take new connections, of all
that there are.`,
		Example: `  ovlctl service ls

  # services that nobody answers for
  ovlctl service ls --network red -o json | jq -r '.[] | select(.Serving == 0) | .Name'`,
		Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("network") {
				if err := validateRefs(cmd, "network", []string{network}); err != nil {
					return err
				}
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			services, err := client.ServiceList(cmd.Context(), network)
			if err != nil {
				return err
			}
			return a.print(services, func(w io.Writer) {
				row(w, "NAME", "ID", "NETWORK", "MODE", "VIPS", "PORTS", "BACKENDS")
				for _, s := range services {
					row(w, s.Name, short(s.ID), s.Network, s.Mode, list(s.VIPs), ports(s.Mode, s.Ports),
						fmt.Sprintf("%d/%d", s.Serving, s.Backends))
				}
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&network, "network", "", "only those of the network of this `name`")
	completeFlag(cmd, "network", ignoringArgs(a.completeNetworks(1)))
	a.outputFlag(cmd, formatTable)
	return cmd
}

func newServiceInspect(a *app) *cobra.Command {
	var network string
	cmd := &cobra.Command{
		Use:   "inspect NAME…",
		Short: "Show all of one or more services",
		Long: `Show all of one or more services, by name, ID or the beginning of an ID: each
backend with its state, its share of new connections, and the live flows to it of
clients on this host: not those that are closing, which "ovlctl flows" lists.`,
		Example: `  ovlctl service inspect web -o table

  # backends that get no new connections
  ovlctl service inspect web | jq -r '.[0].Backends[] | select(.State != "serving") | .Name'`,
		Args: args(1, "NAME…"),
		RunE: func(cmd *cobra.Command, refs []string) error {
			if err := validateServices(cmd, refs, network); err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			return inspectEach(a, refs, func(ref string) (api.Service, error) {
				return client.ServiceInspect(cmd.Context(), api.ServiceRef{Service: ref, Network: network})
			}, serviceTable)
		},
		ValidArgsFunction: a.completeServices(0),
	}
	a.serviceNetworkFlag(cmd, &network)
	a.outputFlag(cmd, formatJSON)
	return cmd
}

func serviceTable(w io.Writer, s api.Service) {
	row(w, "Name:", s.Name)
	row(w, "ID:", s.ID)
	row(w, "Network:", fmt.Sprintf("%s (%s)", s.Network, s.NetworkID))
	row(w, "Created:", s.Created.Format("2006-01-02 15:04:05 MST"))
	row(w, "Mode:", s.Mode)
	if s.Mode == api.ServiceVIP {
		row(w, "VIPs:", list(s.VIPs))
		row(w, "Ports:", ports(s.Mode, s.Ports))
		affinity := "none"
		if s.Affinity != 0 {
			affinity = fmt.Sprintf("by client address, for %s", s.Affinity)
		}
		row(w, "Affinity:", affinity)
		row(w, "Table:", fmt.Sprintf("%d entries", s.TableSize))
	}
	if h := s.Health; h != nil {
		row(w, "Health:", fmt.Sprintf("%s://:%d%s every %s, time-out %s, rise %d, fall %d",
			h.Type, h.Port, h.Path, h.Interval, h.Timeout, h.Rise, h.Fall))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		row(w, "Label:", k+"="+s.Labels[k])
	}
	section(w, len(s.Backends), "BACKEND", "ID", "NODE", "ADDRESSES", "STATE", "WEIGHT", "SHARE", "FLOWS", "SENT", "RECEIVED")
	for _, b := range s.Backends {
		row(w, b.Name, short(b.EndpointID), b.Node, list(b.Addresses), b.State, b.Weight, fmt.Sprintf("%.1f%%", 100*b.Share),
			b.Flows, amount(b.Sent), amount(b.Received))
	}
}

// ports is what a service offers, as --port takes it.
func ports(mode api.ServiceMode, all []api.ServicePort) string {
	switch {
	case mode != api.ServiceVIP:
		return ""
	case len(all) == 0:
		return "any"
	}
	text := make([]string, len(all))
	for i, p := range all {
		text[i] = fmt.Sprint(p.Port)
		if p.Target != p.Port {
			text[i] += fmt.Sprintf(":%d", p.Target)
		}
		text[i] += "/" + p.Protocol
	}
	return strings.Join(text, ",")
}

func newServiceRemove(a *app) *cobra.Command {
	var network string
	cmd := &cobra.Command{
		Use:     "rm NAME…",
		Aliases: []string{"remove"},
		Short:   "Remove services",
		Long: `Remove services. Their backends stay on the network. Connections through a VIP end:
TCP clients get a reset with the next packet that they send; what clients send
by UDP is dropped, and they are not told.`,
		Example: "  ovlctl service rm web\n  ovlctl service rm web db --network red",
		Args:    args(1, "NAME…"),
		RunE: func(cmd *cobra.Command, refs []string) error {
			if err := validateServices(cmd, refs, network); err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			var removed []string
			failed := forEach(refs, func(ref string) error {
				_, err := client.ServiceRemove(cmd.Context(), api.ServiceRef{Service: ref, Network: network})
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
		ValidArgsFunction: a.completeServices(0),
	}
	a.serviceNetworkFlag(cmd, &network)
	a.outputFlag(cmd, formatTable)
	return cmd
}

// serviceNetworkFlag gives cmd the flag that says which service of that name.
func (a *app) serviceNetworkFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "network", "", "`name` of its network, where the name is on several")
	completeFlag(cmd, "network", ignoringArgs(a.completeNetworks(1)))
}

// validateServices refuses references to services that can fit nothing.
func validateServices(cmd *cobra.Command, refs []string, network string) error {
	if cmd.Flags().Changed("network") {
		if err := validateRefs(cmd, "network", []string{network}); err != nil {
			return err
		}
	}
	return validateRefs(cmd, "service", refs)
}
