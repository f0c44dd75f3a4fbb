package main

import (
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ovlnet/ovl/control/api"
)

// anyPort is the value of --port that makes a service offer all.
const anyPort = "any"

func newServiceUpdate(a *app) *cobra.Command {
	var f updateFlags
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Change a service, or which endpoints are its backends",
		Long: `Change a service, or which endpoints are its backends, all or nothing. What is not
given stays as it is; ports and labels that are given replace those that there are.

Connections to an endpoint that is removed end at once: TCP clients get a reset.
With ` + "`service drain`" + ` before, they come to their own end.`,
		Example: `  ovlctl service update web --add-endpoint c1 --add-endpoint c2=3
  ovlctl service update web --remove-endpoint c1
  ovlctl service update web --port 80:8081 --health http://:8081/live

  # back to how services are created
  ovlctl service update web --port any --affinity none --health none --label none`,
		Args: args(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.request(cmd.Flags(), args[0])
			if err == nil {
				err = r.Validate()
			}
			if err != nil {
				return usage(cmd, err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			s, err := client.ServiceUpdate(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) { serviceTable(w, s) })
		},
		ValidArgsFunction: a.completeServices(1),
	}
	f.add(cmd.Flags())
	a.serviceNetworkFlag(cmd, &f.update.Network)
	completeFlag(cmd, "add-endpoint", ignoringArgs(a.completeEndpoints()))
	completeFlag(cmd, "remove-endpoint", a.completeBackends())
	completeFlag(cmd, "affinity", cobra.FixedCompletions([]string{affinityClientIP, none}, cobra.ShellCompDirectiveNoFileComp))
	a.outputFlag(cmd, formatTable)
	return cmd
}

// updateFlags are those of `service update`.
type updateFlags struct {
	update   api.ServiceUpdate
	ports    []api.ServicePort
	anyPort  bool
	affinity api.Duration
	labels   map[string]string
	noLabels bool
	health   healthFlags
}

func (f *updateFlags) add(fs *pflag.FlagSet) {
	addValues(fs, &f.update.Add, "add-endpoint", "`EP[=WEIGHT]` that is to be a backend, or to have another weight", parseMember)
	addValues(fs, &f.update.Remove, "remove-endpoint", "`EP` that is a backend no more", parseText)
	fs.Func("port", "`PORT[:TARGET][/tcp|/udp]` to offer, or any; repeatable", func(s string) error {
		if s == anyPort {
			f.anyPort = true
			return nil
		}
		p, err := parseServicePort(s)
		f.ports = append(f.ports, p)
		return err
	})
	fs.Func("affinity", "`client-ip[=DURATION]`, or none", func(s string) (err error) {
		if f.affinity = 0; s != none {
			f.affinity, err = parseAffinity(s)
		}
		return err
	})
	f.health.add(fs, true)
	addPairs(fs, &f.labels, "label", "`KEY=VALUE` to keep with the service, or none", parseText)
	pairs := fs.Lookup("label").Value
	fs.Lookup("label").Value = labelOrNone{Value: pairs, none: &f.noLabels}
}

// labelOrNone is the value of --label that takes none as well.
type labelOrNone struct {
	pflag.Value
	none *bool
}

// Set is pflag.Value's.
func (v labelOrNone) Set(s string) error {
	if s == none {
		*v.none = true
		return nil
	}
	return v.Value.Set(s)
}

// request is what the flags that were given say.
func (f *updateFlags) request(fs *pflag.FlagSet, service string) (api.ServiceUpdate, error) {
	r := f.update
	r.Service = service
	changes := []string{"add-endpoint", "remove-endpoint", "port", "affinity", "health", "label"}
	health, err := f.health.wanted(fs)
	switch {
	case err != nil:
		return r, err
	case f.anyPort && len(f.ports) > 0:
		return r, fmt.Errorf("--port %s leaves no place for another --port", anyPort)
	case f.noLabels && len(f.labels) > 0:
		return r, fmt.Errorf("--label %s leaves no place for another --label", none)
	case !anyChanged(fs, changes):
		return r, errors.New("update has nothing to change")
	}
	// Empty ones are not nil: as null they would get lost on the way.
	if fs.Changed("port") {
		ports := append([]api.ServicePort{}, f.ports...)
		r.Ports = &ports
	}
	if fs.Changed("affinity") {
		r.Affinity = &f.affinity
	}
	if fs.Changed("label") {
		labels := maps.Clone(f.labels)
		if f.noLabels {
			labels = map[string]string{}
		}
		r.Labels = &labels
	}
	r.Health, r.NoHealth = health, f.health.none
	return r, nil
}

func anyChanged(fs *pflag.FlagSet, flags []string) bool {
	for _, flag := range flags {
		if fs.Changed(flag) {
			return true
		}
	}
	return false
}
