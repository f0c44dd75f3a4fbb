package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newDetach(a *app) *cobra.Command {
	var r api.DetachRequest
	cmd := &cobra.Command{
		Use:   "detach EP",
		Short: "Detach an endpoint of this host from its network",
		Long: `Detach an endpoint of this host, by name, ID or the beginning of an ID. Its
interface is removed (a TAP interface is only let go), its address rests for a
while before it is handed out again.`,
		Example: `  ovlctl detach c1

  # where the name is on several networks
  ovlctl detach c1 --network blue`,
		Args: args(1, "EP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Endpoint = args[0]
			if err := r.Validate(); err != nil {
				return usage(cmd, err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			e, err := client.Detach(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(e, func(w io.Writer) { fmt.Fprintf(w, "%s detached from %s\n", e.Name, e.Network) })
		},
		ValidArgsFunction: a.completeEndpoints(),
	}
	cmd.Flags().StringVar(&r.Network, "network", "", "`name` of its network")
	completeFlag(cmd, "network", ignoringArgs(a.completeNetworks(1)))
	a.outputFlag(cmd, formatTable)
	return cmd
}
