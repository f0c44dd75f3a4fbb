package main

import (
	"io"
	"math"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newAttach(a *app) *cobra.Command {
	var r api.AttachRequest
	cmd := &cobra.Command{
		Use:   "attach NETWORK (--netns NAME|PATH | --pid PID | --tap IFNAME)",
		Short: "Attach a namespace, container or VM of this host to a network",
		Long: `Attach a network namespace, the namespace of a process, or a TAP interface of
this host to a network. When the command returns, packets flow. A namespace can
be attached to several networks, each time with another --ifname. Its lo is
brought up where it is down.

A named namespace gets an /etc/netns/NAME/resolv.conf, which ` + "`ip netns exec`" + ` puts in
the place of /etc/resolv.conf, unless there is one: --resolv-conf replaces it. For a process
--resolv-conf writes /etc/resolv.conf as the process sees it. The last detach puts
back what was there.

Where the agent may not enter the namespace this command does, and then needs
CAP_SYS_ADMIN and CAP_NET_ADMIN itself.`,
		Example: `  ip netns add c1
  ovlctl attach red --netns c1

  # a container by its process, with a name and an address of its own
  ovlctl attach red --pid 4711 --name web --ip 10.0.0.80 --alias www

  # a container that finds others by name
  ovlctl attach red --pid 4711 --name web --resolv-conf

  # a backend of a service
  ovlctl attach red --netns c2 --service web

  # a second network for the same namespace
  ovlctl attach blue --netns c1 --ifname eth1

  # a virtual machine behind its TAP interface
  ovlctl attach red --tap tap0 --name vm1 --mac 02:00:00:00:00:01`,
		Args: args(1, "NETWORK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Network = args[0]
			if strings.Contains(r.NetNS, "/") {
				path, err := filepath.Abs(r.NetNS)
				if err != nil {
					return err
				}
				r.NetNS = path
			}
			if err := r.Validate(); err != nil {
				return usage(cmd, err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			e, err := a.attach(cmd.Context(), client, r)
			if err != nil {
				return err
			}
			return a.print(e, func(w io.Writer) {
				row(w, "NAME", "NETWORK", "INTERFACE", "ADDRESSES", "MAC", "ID")
				row(w, e.Name, e.Network, e.Interface, list(e.Addresses), e.MacAddress, short(e.ID))
			})
		},
		ValidArgsFunction: a.completeNetworks(1),
	}
	fs := cmd.Flags()
	fs.StringVar(&r.NetNS, "netns", "", "`name` of a network namespace, or the path of one")
	addNumber(fs, &r.PID, "pid", "process whose network namespace is meant, by its `PID`", 1, math.MaxInt32)
	fs.StringVar(&r.TAP, "tap", "", "`name` of an existing TAP interface of this host")
	fs.StringVar(&r.Name, "name", "", "`name` of the endpoint (default: that of the namespace or TAP interface)")
	fs.StringVar(&r.IfName, "ifname", "", "`name` of the interface inside the namespace (default eth0)")
	addValues(fs, &r.IPs, "ip", "`IP` to have, one for each family (default: the next free one)", parseAddr)
	addMAC(fs, &r.MAC, "mac", "`MAC` to have (default: one made from the endpoint's ID)")
	fs.StringArrayVar(&r.Aliases, "alias", nil, "one more `name` in this network; repeatable")
	addValues(fs, &r.Services, "service", "`name` of a service of the network to be a backend of", parseText)
	fs.BoolVar(&r.ResolvConf, "resolv-conf", false, "write /etc/resolv.conf of the process, or replace that of the named namespace")
	addPairs(fs, &r.Labels, "label", "`KEY=VALUE` to keep with the endpoint", parseText)
	completeFlag(cmd, "netns", a.completeNamespaces)
	completeFlag(cmd, "service", a.completeServicesOf())
	a.outputFlag(cmd, formatTable)
	return cmd
}
