package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
)

func newUp(a *app) *cobra.Command {
	flags := config.Default()
	var file, datapath string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the agent of this host in the foreground",
		Long: `Run the agent of this host in the foreground. It logs to standard error, tells
systemd when it is ready, and prints the line to run on the other hosts. The
first host has no --join; a host that was in a cluster goes back to it without.

SIGTERM or Ctrl-C ends the agent and leaves the kernel forwarding: the next up
takes over without losing a packet. With the userspace datapath packets wait for
the next up. ` + "`ovlctl down`" + ` is what removes everything.

With --datapath auto the agent takes the kernel datapath (eBPF) if it can bring
it up, else the userspace one; ` + "`ovlctl status`" + ` says why. Another --datapath than
before moves a running host: endpoints keep interfaces, addresses and
connections.

A setting is taken from the first of: flag, --config file, environment
(` + config.EnvInstance + ` only), default. The file is YAML; its keys are instance, name,
advertise, datapath, gossipPort, syncPort, vxlanPort, join, token, tokenFile,
addressPool (default 10.0.0.0/8), subnetBits (24), addressPool6 (the cluster's
own unique local prefix), subnetBits6 (64), resolvers, logLevel and logFormat.`,
		Example: `  # the first host
  ovlctl up

  # another one, with the token that the first has printed
  ovlctl up --join 192.0.2.1 --token ovl1.…

  # the underlay is another device than that of the default route
  ovlctl up --advertise eth1 --join 192.0.2.1 --token-file /etc/ovl.token

  # as a service: the unit has Type=notify
  ovlctl up --config /etc/ovl.yaml`,
		Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags.Datapath = config.DatapathMode(datapath)
			c, err := config.Load(config.Sources{
				Getenv: a.getenv, File: file,
				Flags: func(c *config.Config) { a.applyUpFlags(cmd, flags, c) },
			})
			if err != nil {
				return usage(cmd, err)
			}
			return a.up(cmd.Context(), c)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.Func("join", "`ADDR[,ADDR…]` of hosts of the cluster, each with its sync port unless that is 7947", func(s string) error {
		flags.Join = append(flags.Join, strings.Split(s, ",")...)
		return nil
	})
	fs.StringVar(&flags.Token, "token", "", "`token` that admits to the cluster")
	fs.StringVar(&flags.TokenFile, "token-file", "", "`file` that holds the token")
	fs.StringVar(&flags.Name, "name", "", "`name` of this host in the cluster (default: the hostname)")
	fs.StringVar(&flags.Advertise, "advertise", "", "underlay `IP|IFACE` of this host (default: that of the default route)")
	fs.StringVar(&datapath, "datapath", string(flags.Datapath), "what moves packets: auto, kernel or userspace")
	addPort(fs, &flags.GossipPort, "gossip-port", "`port` for gossip, UDP and TCP")
	addPort(fs, &flags.SyncPort, "sync-port", "`port` for state between hosts, TCP")
	addPort(fs, &flags.VXLANPort, "vxlan-port", "`port` for VXLAN, UDP, the same on every host")
	addValues(fs, &flags.Resolvers, "resolver", "`IP[:PORT]` of a name server to ask for names of the outside (default: those of the host)", parseText)
	fs.StringVar(&file, "config", "", "YAML `file` with settings")
	fs.StringVar(&flags.LogLevel, "log-level", flags.LogLevel, "least `level` to log: debug, info, warn or error")
	fs.StringVar(&flags.LogFormat, "log-format", flags.LogFormat, "`form` of the log: text or json")
	completeFlag(cmd, "datapath", cobra.FixedCompletions([]string{"auto", "kernel", "userspace"}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// applyUpFlags sets in c what the command line says, and nothing that it does
// not.
func (a *app) applyUpFlags(cmd *cobra.Command, flags config.Config, c *config.Config) {
	for flag, set := range map[string]func(){
		"instance":    func() { c.Instance = a.instance },
		"join":        func() { c.Join = flags.Join },
		"name":        func() { c.Name = flags.Name },
		"advertise":   func() { c.Advertise = flags.Advertise },
		"datapath":    func() { c.Datapath = flags.Datapath },
		"gossip-port": func() { c.GossipPort = flags.GossipPort },
		"sync-port":   func() { c.SyncPort = flags.SyncPort },
		"vxlan-port":  func() { c.VXLANPort = flags.VXLANPort },
		"resolver":    func() { c.Resolvers = flags.Resolvers },
		"log-level":   func() { c.LogLevel = flags.LogLevel },
		"log-format":  func() { c.LogFormat = flags.LogFormat },
	} {
		if cmd.Flags().Changed(flag) {
			set()
		}
	}
	// Either form of the token on the command line hides both of the file.
	if cmd.Flags().Changed("token") || cmd.Flags().Changed("token-file") {
		c.Token, c.TokenFile = flags.Token, flags.TokenFile
	}
	c.Root = a.root
}

// up runs the agent. Above the call of run nothing touches the system.
func (a *app) up(ctx context.Context, c config.Config) error {
	if a.euid() != 0 {
		return api.Errorf(api.CodeUnsupported, "up needs root: it loads programs into the kernel and makes interfaces")
	}
	slog.SetDefault(a.logger(c))
	ready := func(joinAt netip.AddrPort, token string) {
		fmt.Fprintln(a.stdout, joinLine(c, joinAt, token))
		notify(daemon.SdNotifyReady)
	}
	stop := context.AfterFunc(ctx, func() { notify(daemon.SdNotifyStopping) })
	defer stop()
	err := a.run(ctx, c, ready)
	if errors.Is(err, config.ErrLocked) {
		return api.Errorf(api.CodeExists, "%w: end that one first, or give this one another --instance", err)
	}
	return err
}

// logger returns what the configuration asks for; its level and format are
// valid.
func (a *app) logger(c config.Config) *slog.Logger {
	var opts slog.HandlerOptions
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err == nil {
		opts.Level = level
	}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, &opts))
	}
	return slog.New(slog.NewTextHandler(a.stderr, &opts))
}

// notify tells systemd, if it started us; that it cannot be told is no reason
// not to run.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		slog.Warn("systemd not told", "state", state, "err", err)
	}
}

// joinLine is what to run on the other hosts.
func joinLine(c config.Config, joinAt netip.AddrPort, token string) string {
	at := joinAt.String()
	if joinAt.Port() == config.DefaultSyncPort {
		at = joinAt.Addr().String()
	}
	line := fmt.Sprintf("ovlctl up --join %s --token %s", at, token)
	if c.VXLANPort != config.Default().VXLANPort {
		line += fmt.Sprintf(" --vxlan-port %d", c.VXLANPort)
	}
	return line
}
