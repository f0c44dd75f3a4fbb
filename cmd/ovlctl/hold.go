package main

import (
	"github.com/spf13/cobra"
)

// newHold is what an agent with the userspace datapath starts beside itself;
// nobody types it.
func newHold(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               holderCommand + " SOCKET",
		Hidden:            true,
		Short:             "Keep the agent's devices and sockets open while it restarts",
		Long:              "Keep the agent's devices and sockets open while it restarts. The agent runs it by\nitself; it ends with `ovlctl down`.",
		Example:           "  ovlctl hold /run/ovl.hold",
		Args:              args(1, "SOCKET"),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.hold(cmd.Context(), args[0]) },
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}
