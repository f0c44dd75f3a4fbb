package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
)

// endTime is how long down waits for the agent's process once it has left.
const endTime = 30 * time.Second

func newDown(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Leave the cluster and remove every trace from this host",
		Long: `Leave the cluster, end the agent and remove every trace of it: programs, maps,
interfaces, and the run and data folders. The host forgets its endpoints and the
cluster's keys; to come back it needs a token. It works with no agent running:
then the other hosts count this one as failed, since nobody told them.

Only to restart or upgrade the agent, send it SIGTERM and run up again.`,
		Example: `  ovlctl down

  # no other host answers, or something cannot be removed
  ovlctl down --force`,
		Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			report, err := a.down(cmd.Context(), c, force)
			if err != nil {
				return err
			}
			return a.print(report, func(w io.Writer) {
				for _, p := range report.Problems {
					fmt.Fprintln(a.stderr, "ovlctl: passed over:", p)
				}
				fmt.Fprintln(w, "down")
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&force, "force", false, "go on past a farewell that nobody hears and past what cannot be removed")
	a.outputFlag(cmd, formatTable)
	return cmd
}

// down asks the agent to leave and sees it end, or without an agent does its
// cleaning up.
func (a *app) down(ctx context.Context, c config.Config, force bool) (api.LeaveReport, error) {
	report, err := api.NewClient(c).Leave(ctx, api.LeaveRequest{Force: force})
	switch {
	case err == nil:
		ctx, cancel := context.WithTimeout(ctx, endTime)
		defer cancel()
		if err := config.WaitReleased(ctx, c); err != nil {
			return report, fmt.Errorf("the agent has left but its process goes on: %w", err)
		}
		if err := a.tidy(c); err != nil {
			report.Problems = append(report.Problems, err.Error())
		}
		return report, nil
	case !errors.Is(err, api.ErrUnreachable):
		return report, err
	}

	pid, held, lockErr := config.Holder(c)
	switch {
	case lockErr != nil:
		return report, lockErr
	case held:
		return report, api.Errorf(api.CodeAgentUnreachable,
			"%w: process %d runs the instance but does not answer: end it (kill %d), then run down again", api.ErrUnreachable, pid, pid)
	case a.euid() != 0:
		return report, api.Errorf(api.CodeUnsupported, "down needs root: it removes programs and interfaces from the kernel")
	}
	if err := a.purge(ctx, c); err != nil {
		if !force {
			return report, fmt.Errorf("%w; --force passes over it", err)
		}
		report.Problems = append(report.Problems, err.Error())
	}
	return report, nil
}
