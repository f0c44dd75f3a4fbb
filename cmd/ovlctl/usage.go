package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

// Exit codes of ovlctl.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
)

// usageError is a command line that cannot mean anything: nothing was asked
// of the agent.
type usageError struct {
	err error
	// command is whose help tells more; nil if the message says it all.
	command *cobra.Command
}

func (e *usageError) Error() string {
	if e.command == nil {
		return e.err.Error()
	}
	return fmt.Sprintf("%v; see `%s --help`", e.err, e.command.CommandPath())
}

func (e *usageError) Unwrap() error { return e.err }

func usage(cmd *cobra.Command, err error) error {
	if err == nil || errors.As(err, new(*usageError)) {
		return err
	}
	return &usageError{err: err, command: cmd}
}

// exitCode says how ovlctl ends.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, new(*usageError)):
		return exitUsage
	case errors.Is(err, api.ErrUnreachable):
		return exitUnreachable
	default:
		return exitFailed
	}
}

// args takes at least min arguments, and at most as many as there are names;
// a last name that ends in … can be repeated.
func args(min int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "…")
		switch {
		case len(got) < min:
			return usage(cmd, fmt.Errorf("%s needs %s", cmd.Name(), strings.Join(names[len(got):], " and ")))
		case len(got) > len(names) && !many:
			return usage(cmd, fmt.Errorf("%s does not take %q", cmd.Name(), got[len(names)]))
		}
		return nil
	}
}

// group makes cmd one that only holds others: on its own, or with a name that
// it does not have, it is refused.
func group(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			var names []string
			for _, c := range cmd.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name())
				}
			}
			return usage(cmd, fmt.Errorf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, ", ")))
		}
		err := fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			err = fmt.Errorf("%w: is %s meant?", err, near[0])
		}
		return usage(cmd, err)
	}
}
