package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newStatus(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show this host: datapath, cluster, networks, counters",
		Example: `  ovlctl status

  # why this datapath, and whether all that is known has arrived
  ovlctl status -o json | jq '.Datapath, .Cluster.Converged'`,
		Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			s, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) { a.statusTable(w, s) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	a.outputFlag(cmd, formatTable)
	return cmd
}

func (a *app) statusTable(w io.Writer, s api.Status) {
	row(w, "Node:", s.Name+" ("+s.ID+")")
	if s.Instance != "" {
		row(w, "Instance:", s.Instance)
	}
	row(w, "Version:", s.Version)
	row(w, "Up:", fmt.Sprintf("%s (pid %d)", time.Duration(s.Uptime)*time.Second, s.PID))
	row(w, "Datapath:", fmt.Sprintf("%s: %s", s.Datapath.Kind, s.Datapath.Reason))
	row(w, "VTEP:", fmt.Sprintf("%s on %s, MTU %d", s.VTEP, s.Underlay, s.UnderlayMTU))
	row(w, "Join at:", s.JoinAddress)
	row(w, "Cluster:", fmt.Sprintf("%d hosts, %d alive, %d failed", s.Cluster.Size, s.Cluster.Alive, s.Cluster.Failed))
	converged := "yes"
	if !s.Cluster.Converged {
		converged = "no: " + s.Cluster.Reason
	}
	row(w, "Converged:", converged)
	row(w, "Last sync:", a.ago(s.Cluster.LastSync))
	row(w, "Sent:", traffic(s.Counters.Sent))
	row(w, "Received:", traffic(s.Counters.Received))
	row(w, "Repaired:", fmt.Sprintf("%d datapath entries, %d rows refused", s.Counters.Drift, s.Cluster.RefusedRows))
	if s.DNS != nil {
		row(w, "DNS:", queries(*s.DNS))
	}
	for _, p := range s.Problems {
		row(w, "Problem:", p)
	}

	section(w, len(s.Networks), "NETWORK", "ID", "VNI", "MTU", "HERE", "ELSEWHERE", "SENT", "RECEIVED", "DROPPED")
	for _, n := range s.Networks {
		row(w, n.Name, short(n.ID), n.VNI, n.MTU, n.Local, n.Remote,
			amount(n.Counters.Sent), amount(n.Counters.Received), amount(n.Counters.Dropped))
	}
	section(w, len(s.Attachments), "PROGRAM", "DEVICE", "HOOK")
	for _, p := range s.Attachments {
		row(w, p.Program, p.Device, p.Hook)
	}
	// Reasons that never happened are for -o json.
	drops := slices.Sorted(maps.Keys(s.Counters.Drops))
	drops = slices.DeleteFunc(drops, func(r string) bool { return s.Counters.Drops[r].Packets == 0 })
	section(w, len(drops), "DROPPED", "PACKETS", "BYTES")
	for _, r := range drops {
		row(w, r, s.Counters.Drops[r].Packets, s.Counters.Drops[r].Bytes)
	}
}

// queries says what became of those for names, most first.
func queries(d api.DNSStatus) string {
	met := slices.Collect(maps.Keys(d.Results))
	met = slices.DeleteFunc(met, func(r string) bool { return d.Results[r].Queries == 0 })
	slices.SortFunc(met, func(a, b string) int {
		return cmp.Or(cmp.Compare(d.Results[b].Queries, d.Results[a].Queries), cmp.Compare(a, b))
	})
	if len(met) == 0 {
		return "no queries yet"
	}
	text := make([]string, len(met))
	for i, r := range met {
		text[i] = fmt.Sprintf("%d %s", d.Results[r].Queries, r)
	}
	return "queries: " + strings.Join(text, ", ")
}

// section begins a table below another one, unless it has no rows.
func section(w io.Writer, rows int, heads ...any) {
	if rows == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, heads...)
}

// short is the part of an ID that people read, and may type.
func short(id string) string { return id[:min(12, len(id))] }

// amount is traffic where there is little room.
func amount(t api.Traffic) string { return fmt.Sprintf("%d/%d B", t.Packets, t.Bytes) }

func traffic(t api.Traffic) string { return fmt.Sprintf("%d packets, %d bytes", t.Packets, t.Bytes) }

// ago says how long since t, in the two coarsest units.
func (a *app) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := max(0, a.now().Sub(t))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds ago", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm ago", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh ago", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}
