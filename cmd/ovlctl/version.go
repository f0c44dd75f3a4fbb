package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker; see LDFLAGS in the Makefile.
var version string

// buildInfo is what `ovlctl version` prints.
type buildInfo struct {
	Version string
	// Commit is the revision that was built, with "-dirty" if it was changed
	// since; empty where the build did not know.
	Commit string
	Go     string
	OS     string
	Arch   string
}

func newVersion(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this ovlctl",
		Long:    "Print the version of this ovlctl. That of the running agent is in `ovlctl status`.",
		Example: "  ovlctl version\n  ovlctl version -o json",
		Args:    args(0),
		RunE: func(*cobra.Command, []string) error {
			b := build()
			return a.print(b, func(w io.Writer) {
				commit := ""
				if b.Commit != "" {
					commit = ", commit " + b.Commit
				}
				fmt.Fprintf(w, "ovlctl %s (%s %s/%s%s)\n", b.Version, b.Go, b.OS, b.Arch, commit)
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	a.outputFlag(cmd, formatTable)
	return cmd
}

// build puts together what the linker and the Go command left in the binary.
func build() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		b.Version = cmp.Or(b.Version, "unknown")
		return b
	}
	b.Version = cmp.Or(b.Version, info.Main.Version, "unknown")
	changed := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "-dirty"
		}
	}
	if b.Commit != "" {
		b.Commit += changed
	}
	return b
}
