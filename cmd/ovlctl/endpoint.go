package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newEndpoint(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "endpoint",
		Short:   "Show endpoints; `attach` and `detach` make and remove them",
		Example: "  ovlctl endpoint ls\n  ovlctl endpoint inspect c1",
	}
	cmd.AddCommand(newEndpointList(a), newEndpointInspect(a))
	group(cmd)
	return cmd
}

func newEndpointList(a *app) *cobra.Command {
	var network string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List endpoints on every host",
		Example: `  ovlctl endpoint ls
  ovlctl endpoint ls --network red -o json | jq -r '.[].Addresses[]'`,
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
			endpoints, err := client.EndpointList(cmd.Context(), network)
			if err != nil {
				return err
			}
			return a.print(endpoints, func(w io.Writer) {
				row(w, "NAME", "ID", "NETWORK", "NODE", "ADDRESSES", "MAC")
				for _, e := range endpoints {
					node := e.Node
					if e.NodeState != api.PeerAlive {
						node += fmt.Sprintf(" (%s)", e.NodeState)
					}
					row(w, e.Name, short(e.ID), e.Network, node, list(e.Addresses), e.MacAddress)
				}
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&network, "network", "", "only those on the network of this `name`")
	completeFlag(cmd, "network", ignoringArgs(a.completeNetworks(1)))
	a.outputFlag(cmd, formatTable)
	return cmd
}

func newEndpointInspect(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "inspect EP",
		Short:   "Show all of one endpoint, on whichever host it is",
		Long:    "Show all of one endpoint, by name, ID or the beginning of an ID, on whichever host it is.",
		Example: "  ovlctl endpoint inspect c1\n  ovlctl endpoint inspect c1 | jq -r .MacAddress",
		Args:    args(1, "EP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validateRefs(cmd, "endpoint", args); err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			e, err := client.EndpointInspect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(e, func(w io.Writer) { endpointTable(w, e) })
		},
		ValidArgsFunction: a.completeEndpoints(),
	}
	a.outputFlag(cmd, formatJSON)
	return cmd
}

func endpointTable(w io.Writer, e api.Endpoint) {
	row(w, "Name:", e.Name)
	row(w, "ID:", e.ID)
	row(w, "Network:", fmt.Sprintf("%s (%s)", e.Network, e.NetworkID))
	row(w, "Node:", fmt.Sprintf("%s (%s)", e.Node, e.NodeState))
	row(w, "Interface:", fmt.Sprintf("%s (%s, %s on the host)", e.Interface, e.Kind, e.Device))
	if e.NetNS != "" {
		row(w, "Namespace:", e.NetNS)
	}
	if e.PID != 0 {
		row(w, "PID:", e.PID)
	}
	row(w, "MAC:", e.MacAddress)
	row(w, "Addresses:", list(e.Addresses))
	row(w, "Gateways:", list(e.Gateways))
	row(w, "MTU:", e.MTU)
	if len(e.Aliases) > 0 {
		row(w, "Aliases:", list(e.Aliases))
	}
	for _, k := range slices.Sorted(maps.Keys(e.Labels)) {
		row(w, "Label:", k+"="+e.Labels[k])
	}
	if c := e.Counters; c != nil {
		row(w, "Sent:", traffic(c.Sent))
		row(w, "Received:", traffic(c.Received))
		row(w, "Answered:", traffic(c.Answered)+" of those sent")
		row(w, "Dropped:", traffic(c.Dropped)+" of those sent")
	} else {
		row(w, "Traffic:", "counted on "+e.Node+" only")
	}
	row(w, "Created:", e.Created.Format("2006-01-02 15:04:05 MST"))
}
