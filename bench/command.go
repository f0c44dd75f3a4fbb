package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/report"
)

// runCommand measures, prints the table and writes the report.
func runCommand(args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stdout)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if o.clean {
		return contender.RemoveLeftovers(ctx, o.contenders)
	}
	if err := contender.CheckLeftovers(); err != nil {
		return err
	}
	r, failed := run(ctx, o, stderr)
	if ctx.Err() != nil {
		return errors.New("interrupted; everything is taken down")
	}
	if failed != nil {
		failed = fmt.Errorf("the report may lack something: %w", failed)
	}
	r.Ovl = ovlVersion(ctx, o.contenders.Ovlctl)
	// The file first: it is what cannot be had again.
	path, err := r.Write(o.out)
	if err != nil {
		return errors.Join(failed, err)
	}
	if err := r.Print(stdout); err != nil {
		return errors.Join(failed, err)
	}
	fmt.Fprintln(stdout, "\nreport:", path)
	return failed
}

// ovlVersion returns what was measured, empty where it cannot be told.
func ovlVersion(ctx context.Context, ovlctl string) string {
	out, err := exec.CommandContext(ctx, ovlctl, "version").Output()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(strings.TrimPrefix(first, "ovlctl "))
}

const compareUsage = `Say what got better or worse from one run to another, beyond the noise.

Compared are the ratios to the baseline, so the runs may be from different
machines. Something has changed if the medians of its ratios differ by 10 % or
more and the rounds' scatter does not account for it. With nothing changed, the
chance of anything at all being called so is 5 %.

Usage:
  bench compare [flags] OLD.json NEW.json

Examples:
  bench compare bench/results/latest.json bench/out/20261121T074721Z.json
  bench compare -fail old.json new.json    exit code 1 if something got worse

Flags:
`

// compareCommand prints what has changed between two reports.
func compareCommand(args []string, stdout, _ io.Writer) error {
	fs := newFlags("bench compare", compareUsage, stdout)
	fail := fs.Bool("fail", false, "end with exit code 1 if something got worse")
	if err := parse(fs, args, 2); err != nil {
		return err
	}
	before, err := report.Load(fs.Arg(0))
	if err != nil {
		return err
	}
	after, err := report.Load(fs.Arg(1))
	if err != nil {
		return err
	}
	c := report.Compare(before, after)
	if err := c.Print(stdout); err != nil {
		return err
	}
	if *fail && c.Worse() {
		return errors.New("something got worse")
	}
	return nil
}

const pageUsage = `Write the page on performance, and its plots, from a report.

The page links to the report: let it be one that is committed. A test compares
the two.

Usage:
  bench page [flags] REPORT.json

Examples:
  cp bench/out/20261121T074721Z.json bench/results/latest.json
  bench page bench/results/latest.json

Flags:
`

// pageCommand writes performance.md and its plots.
func pageCommand(args []string, stdout, _ io.Writer) error {
	fs := newFlags("bench page", pageUsage, stdout)
	docs := fs.String("docs", "docs", "`folder` to write performance.md and performance/*.svg to")
	if err := parse(fs, args, 1); err != nil {
		return err
	}
	written, err := report.WritePage(fs.Arg(0), *docs)
	for _, path := range written {
		fmt.Fprintln(stdout, path)
	}
	return err
}
