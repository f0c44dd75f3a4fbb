package contender

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/bench/measure"
)

// cgroupPrefix begins the name of the cgroup of each dockerd's containers;
// the PID of the bench follows, then the number of the host.
const cgroupPrefix = "ovlbench"

// cgroupPatience is how long the kernel may take to let go of the cgroups of
// processes that are gone.
const cgroupPatience = 3 * time.Second

func cgroupName(pid, host int) string { return fmt.Sprintf("%s%d-%d", cgroupPrefix, pid, host) }

// cgroupFolders returns where cgroups that match the pattern are: in the one
// hierarchy of version 2, or in each of version 1.
func cgroupFolders(pattern string) []string {
	var out []string
	for _, root := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		found, _ := filepath.Glob(root + pattern) // the pattern is well-formed
		out = append(out, found...)
	}
	return out
}

// benchCgroups returns the names of all of bench's cgroups, sorted.
func benchCgroups() []string {
	var out []string
	for _, dir := range cgroupFolders(cgroupPrefix + "*") {
		if name := filepath.Base(dir); cgroupPID(name) > 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// cgroupPID returns the process that the name tells, 0 for other names.
func cgroupPID(name string) int {
	digits, _, _ := strings.Cut(strings.TrimPrefix(name, cgroupPrefix), "-")
	pid, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return pid
}

// removeCgroups removes the cgroup of that name from every hierarchy, with
// those inside. Its processes have ended, or are about to.
func removeCgroups(ctx context.Context, name string) error {
	var errs []error
	for _, dir := range cgroupFolders(name) {
		errs = append(errs, removeCgroup(ctx, dir))
	}
	return errors.Join(errs...)
}

func removeCgroup(ctx context.Context, dir string) error {
	var inside []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // it is gone already
		}
		if err == nil && e.IsDir() {
			inside = append(inside, path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("cgroup %s: %w", dir, err)
	}
	for _, path := range slices.Backward(inside) {
		for end := time.Now().Add(cgroupPatience); ; {
			err := os.Remove(path)
			if err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			if err := measure.Sleep(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("remove cgroup %s: %w", path, err)
			}
		}
	}
	return nil
}
