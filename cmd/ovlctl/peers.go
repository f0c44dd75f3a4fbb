package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newPeers(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Show the other hosts",
		Long: `Show the other hosts of the cluster. A failed host keeps its endpoints and
addresses until it comes back or leaves.`,
		Example: `  ovlctl peers

  # names of the hosts that do not answer
  ovlctl peers -o json | jq -r '.[] | select(.State == "failed") | .Name'`,
		Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			peers, err := client.Peers(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(peers, func(w io.Writer) {
				row(w, "NAME", "VTEP", "STATE", "SINCE", "DATAPATH", "VERSION", "MTU", "LAST SYNC", "SENT", "RECEIVED")
				for _, p := range peers {
					row(w, p.Name, p.VTEP, p.State, a.ago(p.Since), p.Datapath, p.Version, mtu(p), a.ago(p.LastSync),
						amount(p.Sent), amount(p.Received))
				}
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	a.outputFlag(cmd, formatTable)
	return cmd
}

// mtu is what the peer's underlay takes, and what reaches it if that is less.
func mtu(p api.Peer) string {
	switch {
	case p.MTU == 0 && p.PathMTU == 0:
		return "?"
	case p.PathMTU == 0 || p.PathMTU == p.MTU:
		return fmt.Sprint(p.MTU)
	case p.MTU == 0:
		return fmt.Sprintf("?, path %d", p.PathMTU)
	}
	return fmt.Sprintf("%d, path %d", p.MTU, p.PathMTU)
}
