package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newServiceDrain(a *app) *cobra.Command {
	var r api.ServiceDrain
	cmd := &cobra.Command{
		Use:   "drain NAME EP",
		Short: "Keep new connections from a backend; those that exist go on",
		Long: `Keep new connections from a backend of a service; those that exist go on. When it
has no flows any more, on no host that has clients, it can go without anybody's
noticing.`,
		Example: `  ovlctl service drain web c1

  # wait for the flows of clients on this host, and take it away
  while [ "$(ovlctl flows --service web -o json | jq '[.Flows[] | select(.BackendName == "c1")] | length')" != 0 ]; do sleep 1; done
  ovlctl detach c1

  # it is needed after all
  ovlctl service drain web c1 --undo`,
		Args: args(2, "NAME", "EP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Service, r.Endpoint = args[0], args[1]
			if err := r.Validate(); err != nil {
				return usage(cmd, err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			s, err := client.ServiceDrain(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) {
				if b := backend(s, r.Endpoint); b != nil {
					fmt.Fprintf(w, "%s of service %s: %s, flows from here: %d\n", b.Name, s.Name, b.State, b.Flows)
				}
			})
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.completeServices(1)(cmd, args, toComplete)
			}
			if len(args) > 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeBackends()(cmd, args, toComplete)
		},
	}
	cmd.Flags().BoolVar(&r.Undo, "undo", false, "let it have new connections again")
	a.serviceNetworkFlag(cmd, &r.Network)
	a.outputFlag(cmd, formatTable)
	return cmd
}

// backend returns the one that ref names; a name wins over an ID.
func backend(s api.Service, ref string) *api.ServiceBackend {
	var found *api.ServiceBackend
	for i := range s.Backends {
		b := &s.Backends[i]
		if b.Name == ref {
			return b
		}
		if strings.HasPrefix(b.EndpointID, ref) {
			found = b
		}
	}
	return found
}
