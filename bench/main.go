package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/crowd"
)

const usage = `Measure ovl beside what its users would pick instead.

Usage:
  bench [flags]                            measure, print a table, write a JSON report
  bench compare [flags] OLD.json NEW.json  say what got better or worse from one run to another
  bench page [flags] REPORT.json           write docs/performance.md and its plots from a report

Examples:
  bench                                    everything, in rounds
  bench -quick                             a first impression, in a few minutes
  bench -only tcp,rtt -rounds 9            two scenarios, with more certainty
  bench -previous /tmp/ovlctl -only udp-64 what a change to ovl is worth
  bench compare bench/results/latest.json bench/out/20261121T074721Z.json
  bench page bench/results/latest.json

A run needs root. It measures in network namespaces of its own.

Flags of a run:
`

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage is what the command line got wrong.
type errUsage struct{ error }

func main() {
	if len(os.Args) > 1 && os.Args[1] == crowd.Subcommand {
		// A process of the growth stage, on a third host.
		os.Exit(crowd.Main(os.Args[2:]))
	}
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	command := runCommand
	if len(args) > 0 {
		switch args[0] {
		case "compare":
			command, args = compareCommand, args[1:]
		case "page":
			command, args = pageCommand, args[1:]
		case "help":
			args = []string{"-help"}
		}
	}
	err := command(args, stdout, stderr)
	var wrong errUsage
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "bench: %v; see `bench -help`\n", wrong.error)
		return exitUsage
	}
	fmt.Fprintln(stderr, "bench:", err)
	return exitFailed
}

// newFlags returns a set of flags that says what is wrong once. Help goes to
// stdout, with text before the flags.
func newFlags(name, text string, stdout io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		fs.SetOutput(stdout)
		fmt.Fprint(stdout, text)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	return fs
}

// parse reads the flags and refuses other than n arguments behind them.
func parse(fs *flag.FlagSet, args []string, n int) error {
	// Usage is for those who ask; a mistake gets one line.
	help := fs.Usage
	fs.Usage = func() {}
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help()
		return err
	}
	if err != nil {
		return errUsage{err}
	}
	if fs.NArg() > n {
		return errUsage{fmt.Errorf("unknown argument %q", fs.Arg(n))}
	}
	if fs.NArg() < n {
		return errUsage{fmt.Errorf("%s: a report is missing", fs.Name())}
	}
	return nil
}

// options are what the command line says of a run.
type options struct {
	rounds   int
	duration time.Duration
	out      string
	clean    bool
	// quick leaves out what is not needed for a first impression.
	quick      bool
	contenders contender.Options
	// only are the names of the scenarios to measure; empty for all.
	only []string
}

// How many rounds there are if nobody says. With fewer than three, runs cannot be
// compared.
const (
	usualRounds = 5
	quickRounds = 4
)

// isSet reports whether the command line had the flag.
func isSet(fs *flag.FlagSet, name string) (set bool) {
	fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// parseOptions reads the command line of a run.
func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	fs := newFlags("bench", usage, stdout)
	fs.IntVar(&o.rounds, "rounds", usualRounds, fmt.Sprintf("how many `times` each scenario is measured for each contender, %d with -quick unless said", quickRounds))
	fs.DurationVar(&o.duration, "duration", time.Second, "how long one measurement of throughput takes")
	fs.StringVar(&o.out, "out", "bench/out", "`folder` for the JSON report")
	fs.StringVar(&o.contenders.Ovlctl, "ovlctl", "bin/ovlctl", "the ovlctl to measure")
	fs.StringVar(&o.contenders.Previous, "previous", "", "another `ovlctl`, to measure what a change is worth")
	fs.StringVar(&o.contenders.Wireguard, "wireguard", "bin/tools/wireguard", "the wireguard-go to measure")
	fs.Func("only", "measure these `scenarios`, separated by commas: "+strings.Join(scenarioNames(), ", "), func(s string) error {
		o.only = strings.Split(s, ",")
		return validateScenarios(o.only)
	})
	fs.BoolVar(&o.quick, "quick", false, "measure the most telling scenarios only, in a few minutes")
	fs.BoolVar(&o.clean, "clean", false, "only remove what killed benchmarks left behind")
	if err := parse(fs, args, 0); err != nil {
		return o, err
	}
	if o.quick && !isSet(fs, "rounds") {
		o.rounds = quickRounds
	}
	if o.rounds < 1 || o.duration < time.Second {
		return o, errUsage{errors.New("it takes at least 1 round and a duration of 1s")}
	}
	for _, path := range []*string{&o.contenders.Ovlctl, &o.contenders.Previous, &o.contenders.Wireguard} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return o, fmt.Errorf("%s: %w", *path, err)
		}
		*path = abs
	}
	return o, nil
}
