package main

import (
	"io"

	"github.com/spf13/cobra"
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
				row(w, "NAME", "VTEP", "STATE", "SINCE", "DATAPATH", "VERSION", "LAST SYNC", "SENT", "RECEIVED")
				for _, p := range peers {
					row(w, p.Name, p.VTEP, p.State, a.ago(p.Since), p.Datapath, p.Version, a.ago(p.LastSync),
						amount(p.Sent), amount(p.Received))
				}
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	a.outputFlag(cmd, formatTable)
	return cmd
}
