package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newToken(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "token",
		Short:   "Manage the tokens with which hosts join",
		Example: "  ovlctl token create",
	}
	cmd.AddCommand(newTokenCreate(a))
	group(cmd)
	return cmd
}

func newTokenCreate(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Print a join token",
		Long: `Print a join token, alone on its line. Whoever has it can join the cluster and
read its traffic: keep it like a password.`,
		Example: `  ovlctl token create

  # to another host, past its process list and shell history
  ovlctl token create | ssh host-b 'umask 077; cat > /etc/ovl.token'
  ssh host-b ovlctl up --join 192.0.2.1 --token-file /etc/ovl.token`,
		Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			t, err := client.TokenCreate(cmd.Context(), api.TokenRequest{})
			if err != nil {
				return err
			}
			return a.print(t, func(w io.Writer) { fmt.Fprintln(w, t.Token) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	a.outputFlag(cmd, formatTable)
	return cmd
}
