package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newFlows(a *app) *cobra.Command {
	var r api.FlowsRequest
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Show connections through VIPs of clients on this host",
		Long: `Show the flows of clients on this host through VIPs: connections of TCP, and what is
like one of UDP. Other hosts know of those of their own clients.

A flow is new until something comes back, closing once an end has finished it, else
established. IDLE is for how long there has been no packet.`,
		Example: `  ovlctl flows
  ovlctl flows --service web

  # flows by backend
  ovlctl flows -o json | jq -r '.Flows[].BackendName' | sort | uniq -c`,
		Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for what, ref := range map[string]string{"network": r.Network, "service": r.Service} {
				if cmd.Flags().Changed(what) {
					if err := validateRefs(cmd, what, []string{ref}); err != nil {
						return err
					}
				}
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			l, err := client.Flows(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(l, func(w io.Writer) { flowsTable(w, l) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVar(&r.Service, "service", "", "only those to the service of this `name`")
	fs.StringVar(&r.Network, "network", "", "only those of the network of this `name`")
	addNumber(fs, &r.Limit, "limit", fmt.Sprintf("`number` of flows to show at most (default %d)", api.MaxFlows), 1, api.MaxFlows)
	completeFlag(cmd, "service", ignoringArgs(a.completeServices(1)))
	completeFlag(cmd, "network", ignoringArgs(a.completeNetworks(1)))
	a.outputFlag(cmd, formatTable)
	return cmd
}

func flowsTable(w io.Writer, l api.FlowList) {
	row(w, "NETWORK", "SERVICE", "PROTOCOL", "CLIENT", "ADDRESS", "VIP", "BACKEND", "ADDRESS", "STATE", "IDLE", "SENT", "RECEIVED")
	for _, f := range l.Flows {
		client := f.Client.String()
		if f.SourcePort != f.Client.Port() {
			client += fmt.Sprintf(" (as %d)", f.SourcePort)
		}
		row(w, f.Network, f.Service, f.Protocol, f.ClientName, client, f.VIP, f.BackendName, f.Backend, f.State,
			time.Duration(f.Idle)*time.Second, amount(f.Sent), amount(f.Received))
	}
	if more := l.Total - len(l.Flows); more > 0 {
		fmt.Fprintf(w, "\n%d more are not shown\n", more)
	}
}
