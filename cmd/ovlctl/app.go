package main

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/control/name"
)

// host is what a command meets of the machine that it runs on. main has the
// real one; tests have their own.
type host struct {
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	euid   func() int
	now    func() time.Time
	// root is put before every folder; empty on a real host.
	root string
	// run is the agent: it returns when ctx has ended or the host has left.
	run func(ctx context.Context, c config.Config, ready readyFunc) error
	// tidy removes what an agent that has left was not allowed to.
	tidy func(c config.Config) error
	// purge removes what an agent that does not run has left behind.
	purge func(ctx context.Context, c config.Config) error
	// attach asks an agent for an endpoint, and does its own part of it.
	attach func(ctx context.Context, agent api.Backend, r api.AttachRequest) (api.Endpoint, error)
	// hold keeps descriptors for the agent.
	hold func(ctx context.Context, path string) error
}

// readyFunc is called once the agent answers, with what other hosts join with.
type readyFunc func(joinAt netip.AddrPort, token string)

// app is one run of ovlctl: the host, and the flags that every command has.
type app struct {
	host
	instance string
	// output is what -o asked for, if anything; fallback is the command's
	// own form.
	output   format
	fallback format
}

// newRoot returns the whole tree of commands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "ovlctl",
		Short: "A VXLAN overlay network for containers, namespaces and VMs on many hosts",
		Long: `ovl makes isolated layer-2 networks that span hosts. ` + "`ovlctl up`" + ` on each host is the
whole installation; every other command asks the agent that it runs.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the agent cannot be
reached.`,
		Example: `  # on the first host; it prints the line to run on the others
  ovlctl up

  # a network, and a network namespace on it
  ovlctl network create red
  ovlctl attach red --netns c1`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.PersistentFlags().StringVar(&a.instance, "instance", a.getenv(config.EnvInstance),
		"`name` of the agent, where several run on one machine (environment: "+config.EnvInstance+")")

	root.AddCommand(
		newUp(a), newDown(a), newStatus(a), newPeers(a), newVersion(a), newToken(a),
		newNetwork(a), newAttach(a), newDetach(a), newEndpoint(a), newService(a), newFlows(a), newDNS(a), newCompletion(a), newHold(a),
	)
	group(root)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  ovlctl help network create"
		}
	}
	return root
}

// client returns a client of the instance's agent.
func (a *app) client() (*api.Client, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	return api.NewClient(c), nil
}

// config returns what commands other than up know of the instance: its
// folders.
func (a *app) config() (config.Config, error) {
	if err := name.ValidateInstance(a.instance); err != nil {
		return config.Config{}, &usageError{err: err}
	}
	return config.Config{Instance: a.instance, Root: a.root}, nil
}

// usageTemplate is cobra's, with the examples at the end, where the eye falls.
const usageTemplate = `Usage:{{if and .Runnable (not .HasAvailableSubCommands)}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}
`
