// Command ovlctl is all of ovl: `ovlctl up` is the agent, every other command
// asks it over the instance's socket. Flow of a command: its file builds a
// request out of flags and arguments, refuses what cannot be meant, calls the
// api.Client and prints the answer as -o says; execute turns the error, if
// any, into one line and an exit code.
package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends a process that does not come to its end.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, host{
		stdout: os.Stdout,
		stderr: os.Stderr,
		getenv: os.Getenv,
		euid:   os.Geteuid,
		now:    time.Now,
		run:    runAgent,
		tidy:   removeNamespaces,
		purge:  purgeAgent,
		attach: attachFor,
		hold:   runHolder,
	}, os.Args[1:]))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, h host, args []string) int {
	a := &app{host: h}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if a.output == "" && wantsJSON(args) {
		a.output = formatJSON
	}
	a.printError(err)
	return exitCode(err)
}

// wantsJSON looks for -o json where parsing ended before it came to the flag.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		if (arg == "-o" || arg == "--output") && i+1 < len(args) && args[i+1] == "json" {
			return true
		}
	}
	return slices.ContainsFunc(args, func(s string) bool {
		return s == "--output=json" || strings.TrimPrefix(s, "-o") == "json" || s == "-o=json"
	})
}
