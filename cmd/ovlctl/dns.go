package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newDNS(a *app) *cobra.Command {
	var r api.DNSRequest
	cmd := &cobra.Command{
		Use:   "dns NAME --network NETWORK",
		Short: "Show what endpoints are answered for a name, and why",
		Long: `Show what an endpoint of this host is answered when it asks for a name, and out
of what: services, backends and endpoints, on which hosts, and which of them are
left out. NAME may be an address, whose name is then asked for.

A namespace that is on several networks has the names of all of them: --from says
which endpoint asks. Without it, it is the one that was attached to NETWORK first.`,
		Example: `  ovlctl dns web --network red
  ovlctl dns tasks.web --network red --type A
  ovlctl dns _80._tcp.web --network red --type SRV
  ovlctl dns 10.0.0.5 --network red

  # what c1 gets, which is on other networks too
  ovlctl dns db --network red --from c1

  # why a backend is not among the answers
  ovlctl dns tasks.web --network red -o json | jq -r '.Sources[] | select(.Answered | not) | .Name + ": " + .Reason'`,
		Args: args(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Network == "" {
				return usage(cmd, errors.New("dns needs --network: each has names of its own"))
			}
			r.Name = args[0]
			if err := r.Validate(); err != nil {
				return usage(cmd, err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			d, err := client.DNS(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(d, func(w io.Writer) { dnsTable(w, d) })
		},
		ValidArgsFunction: a.completeNames(&r.Network),
	}
	fs := cmd.Flags()
	fs.StringVar(&r.Network, "network", "", "the network of this `name`, whose gateway is asked")
	fs.StringVar(&r.Type, "type", "", "`type` of record: A, AAAA, SRV, PTR… (default: PTR for an address, else A and AAAA)")
	fs.StringVar(&r.From, "from", "", "`name` of the endpoint that asks (default: the one that was attached first)")
	completeFlag(cmd, "network", ignoringArgs(a.completeNetworks(1)))
	completeFlag(cmd, "type", cobra.FixedCompletions([]string{"A", "AAAA", "SRV", "PTR"}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "from", ignoringArgs(a.completeEndpoints()))
	a.outputFlag(cmd, formatTable)
	return cmd
}

func dnsTable(w io.Writer, d api.DNSReport) {
	for _, q := range d.Questions {
		fmt.Fprintf(w, "%s %s, asked of %v by %s: %s, %s\n", q.Name, q.Type, d.Server, d.From, q.Status, q.Result)
	}
	records := 0
	for _, q := range d.Questions {
		records += len(q.Records)
	}
	section(w, records, "NAME", "TYPE", "TTL", "DATA")
	for _, q := range d.Questions {
		for _, r := range q.Records {
			row(w, r.Name, r.Type, r.TTL, r.Data)
		}
	}
	section(w, len(d.Sources), "OUT OF", "NAME", "ID", "NETWORK", "NODE", "ADDRESSES", "ANSWERED")
	for _, s := range d.Sources {
		answered := "yes"
		if !s.Answered {
			answered = "no: " + s.Reason
		}
		row(w, s.Kind, s.Name, short(s.ID), s.Network, s.Node, list(s.Addresses), answered)
	}
}

// completeNames proposes services and endpoints of the network that was named, or
// of all.
func (a *app) completeNames(network *string) completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		propose := func(ctx context.Context) ([]string, error) {
			names, err := a.serviceNames(ctx, *network)
			if err != nil {
				return nil, err
			}
			endpoints, err := a.endpointNames(ctx, *network)
			return append(names, endpoints...), err
		}
		return a.completeArgs(1, propose)(cmd, args, toComplete)
	}
}
