package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
)

// options are what the command line says.
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

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "how often each scenario is measured for each contender")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long one measurement of throughput takes")
	flag.StringVar(&o.out, "out", "bench/out", "folder for the JSON report")
	flag.StringVar(&o.contenders.Ovlctl, "ovlctl", "bin/ovlctl", "the ovlctl to measure")
	flag.StringVar(&o.contenders.Wireguard, "wireguard", "bin/tools/wireguard", "the wireguard-go to measure")
	flag.Func("only", "measure these `scenarios`, separated by commas: "+strings.Join(scenarioNames(), ", "), func(s string) error {
		o.only = strings.Split(s, ",")
		return validateScenarios(o.only)
	})
	flag.BoolVar(&o.quick, "quick", false, "measure the most telling scenarios only, in a few minutes")
	flag.BoolVar(&o.clean, "clean", false, "only remove what killed benchmarks left behind")
	flag.Parse()
	if err := o.main(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (o options) main() error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if o.rounds < 1 || o.duration < time.Second {
		return errors.New("it takes at least 1 round and a duration of 1s")
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for _, path := range []*string{&o.contenders.Ovlctl, &o.contenders.Wireguard} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("%s: %w", *path, err)
		}
		*path = abs
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if o.clean {
		return contender.RemoveLeftovers(ctx, o.contenders)
	}
	if err := contender.CheckLeftovers(); err != nil {
		return err
	}
	r, err := run(ctx, o, os.Stderr)
	if ctx.Err() != nil {
		return errors.New("interrupted; everything is taken down")
	}
	if err != nil {
		return err
	}
	if err := r.Print(os.Stdout); err != nil {
		return err
	}
	path, err := r.Write(o.out)
	if err != nil {
		return err
	}
	fmt.Println("\nreport:", path)
	return nil
}
