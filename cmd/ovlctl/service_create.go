package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newServiceCreate(a *app) *cobra.Command {
	var (
		r      api.ServiceRequest
		health healthFlags
	)
	cmd := &cobra.Command{
		Use:   "create NAME --network N",
		Short: "Create a service",
		Long: `Create a service: a name and a virtual IP (VIP) of a network, in front of
endpoints of that network. Endpoints join it with ` + "`attach --service`" + ` or
` + "`service update --add-endpoint`" + `.

What an endpoint sends to the VIP goes to one of the backends, which sees the
client's own address. Without --port the VIP has every port of TCP and UDP. In mode
dnsrr there is no VIP: clients connect to the backends themselves. Prints name, ID
and VIPs.`,
		Example: `  ovlctl service create web --network red
  ovlctl service create web --network red --port 80:8080 --port 443 --port 443/udp --vip 10.0.0.80

  # backends that do not answer get nothing
  ovlctl service create api --network red --port 80 --health http://:80/live --health-interval 2s

  # a client comes back to the same backend within ten minutes
  ovlctl service create shop --network red --affinity client-ip=10m

  # no VIP
  ovlctl service create db --network red --endpoint-mode dnsrr`,
		Args: args(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = args[0]
			if !cmd.Flags().Changed("network") {
				return usage(cmd, fmt.Errorf("create needs --network"))
			}
			var err error
			if r.Health, err = health.wanted(cmd.Flags()); err != nil {
				return usage(cmd, err)
			}
			if err := r.Validate(); err != nil {
				return usage(cmd, err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			s, err := client.ServiceCreate(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) {
				if len(s.VIPs) == 0 {
					fmt.Fprintln(w, s.Name, s.ID)
					return
				}
				fmt.Fprintln(w, s.Name, s.ID, list(s.VIPs))
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVar(&r.Network, "network", "", "`name` of its network")
	fs.StringVar((*string)(&r.Mode), "endpoint-mode", "", "how clients come to backends, `vip|dnsrr` (default vip)")
	addValues(fs, &r.VIPs, "vip", "`IP` to have, one for each family (default: the next free one)", parseAddr)
	addValues(fs, &r.Ports, "port", "`PORT[:TARGET][/tcp|/udp]` to offer, and the backends' port that it leads to", parseServicePort)
	fs.Func("affinity", "`client-ip[=DURATION]`: a client comes back to the same backend for so long (default 3h)",
		func(s string) (err error) {
			r.Affinity, err = parseAffinity(s)
			return err
		})
	addNumber(fs, &r.TableSize, "table-size", "`number` of entries that backends share (default 16381)", 1, 1<<20)
	health.add(fs, false)
	addPairs(fs, &r.Labels, "label", "`KEY=VALUE` to keep with the service", parseText)
	completeFlag(cmd, "network", ignoringArgs(a.completeNetworks(1)))
	completeFlag(cmd, "endpoint-mode", cobra.FixedCompletions([]string{string(api.ServiceVIP), string(api.ServiceDNSRR)},
		cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "affinity", cobra.FixedCompletions([]string{affinityClientIP}, cobra.ShellCompDirectiveNoFileComp))
	a.outputFlag(cmd, formatTable)
	return cmd
}
