package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

func newCompletion(a *app) *cobra.Command {
	shells := []string{"bash", "fish", "powershell", "zsh"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a completion script for bash, fish, powershell or zsh",
		Long: `Print a completion script. With it the shell completes commands, flags, and the
names of networks, endpoints, services and namespaces.`,
		Example: `  # for this shell
  source <(ovlctl completion bash)

  # for every one
  ovlctl completion bash > /etc/bash_completion.d/ovlctl
  ovlctl completion zsh > "${fpath[1]}/_ovlctl"`,
		Args:      args(1, "SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			default:
				return usage(cmd, fmt.Errorf("shell %q is not one of %s", args[0], strings.Join(shells, ", ")))
			}
		},
	}
}

// completionTime bounds how long a press of the tab key waits for the agent.
const completionTime = time.Second

// completer proposes values for an argument or flag.
type completer = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completeNetworks proposes networks that are not on the line yet, up to max
// arguments (0: any number).
func (a *app) completeNetworks(max int) completer {
	return a.completeArgs(max, func(ctx context.Context) ([]string, error) {
		client, err := a.client()
		if err != nil {
			return nil, err
		}
		networks, err := client.NetworkList(ctx)
		var names []string
		for _, n := range networks {
			names = append(names, cobra.CompletionWithDesc(n.Name, list(n.Subnets)))
		}
		return names, err
	})
}

// completeEndpoints proposes one endpoint.
func (a *app) completeEndpoints() completer {
	return a.completeArgs(1, func(ctx context.Context) ([]string, error) { return a.endpointNames(ctx, "") })
}

func (a *app) endpointNames(ctx context.Context, network string) ([]string, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	endpoints, err := client.EndpointList(ctx, network)
	var names []string
	for _, e := range endpoints {
		names = append(names, cobra.CompletionWithDesc(e.Name, e.Network+" on "+e.Node))
	}
	return names, err
}

// completeServices proposes services that are not on the line yet, up to max
// arguments (0: any number).
func (a *app) completeServices(max int) completer {
	return a.completeArgs(max, func(ctx context.Context) ([]string, error) { return a.serviceNames(ctx, "") })
}

// completeServicesOf proposes the services of the network that is the first
// argument.
func (a *app) completeServicesOf() completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		network := ""
		if len(args) > 0 {
			network = args[0]
		}
		propose := func(ctx context.Context) ([]string, error) { return a.serviceNames(ctx, network) }
		return a.completeArgs(0, propose)(cmd, nil, toComplete)
	}
}

func (a *app) serviceNames(ctx context.Context, network string) ([]string, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	services, err := client.ServiceList(ctx, network)
	var names []string
	for _, s := range services {
		names = append(names, cobra.CompletionWithDesc(s.Name, strings.TrimSpace(list(s.VIPs)+" on "+s.Network)))
	}
	return names, err
}

// completeBackends proposes the backends of the service that is the first
// argument.
func (a *app) completeBackends() completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		propose := func(ctx context.Context) ([]string, error) {
			client, err := a.client()
			if err != nil {
				return nil, err
			}
			s, err := client.ServiceInspect(ctx, api.ServiceRef{Service: args[0]})
			var names []string
			for _, b := range s.Backends {
				names = append(names, cobra.CompletionWithDesc(b.Name, fmt.Sprintf("%s on %s", b.State, b.Node)))
			}
			return names, err
		}
		return a.completeArgs(0, propose)(cmd, nil, toComplete)
	}
}

func (a *app) completeArgs(max int, propose func(context.Context) ([]string, error)) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if max > 0 && len(args) >= max {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		names, err := propose(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError | cobra.ShellCompDirectiveNoFileComp
		}
		names = slices.DeleteFunc(names, func(n string) bool {
			n, _, _ = strings.Cut(n, "\t")
			return slices.Contains(args, n)
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// ignoringArgs makes a completer of arguments one of a flag's value.
func ignoringArgs(f completer) completer {
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return f(cmd, nil, toComplete)
	}
}

// completeNamespaces proposes the named network namespaces, or files once a
// path was begun.
func (a *app) completeNamespaces(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(toComplete, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	entries, err := os.ReadDir(filepath.Join("/", a.root, "/run/netns"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFlag ties f to a flag of cmd.
func completeFlag(cmd *cobra.Command, flag string, f completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // cmd has no such flag: the command's own file is wrong
	}
}
