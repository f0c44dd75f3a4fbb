package contender

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// instancePrefix begins the name of every ovl instance that bench starts; the
// PID of the bench follows, then a number of its own.
const instancePrefix = "bench"

func instanceName(pid, number int) string { return fmt.Sprintf("%s%d-%d", instancePrefix, pid, number) }

// instancePaths are the folders and files that an agent of that name may leave.
func instancePaths(instance string) []string {
	run := "/run/ovl-" + instance
	return []string{run, run + ".hold", run + ".flows", "/var/lib/ovl-" + instance, "/sys/fs/bpf/ovl-" + instance}
}

// instanceNamespaces are the names of network namespaces that an agent of that name
// may leave, for its networks' gateways. The name may be a pattern.
func instanceNamespaces(instance string) []string {
	found, _ := filepath.Glob(filepath.Join(link.NamedDir, gatewayPrefix+"*-"+instance)) // the pattern is well-formed
	var names []string
	for _, path := range found {
		names = append(names, filepath.Base(path))
	}
	return names
}

// gatewayPrefix begins the names of gateways' namespaces; the VNI and the instance
// follow.
const gatewayPrefix = "ovl-"

// logPrefix begins the path of the folder in which a bench keeps the logs of
// its daemons; its PID follows.
const logPrefix = "/run/ovlbench-"

func logFolder(pid int) string { return logPrefix + strconv.Itoa(pid) }

// filePrefixes begin the paths of what may be left beside ovl's instances and
// go by just being removed. The PID of the bench follows.
func filePrefixes() []string {
	return []string{logPrefix, wireguardSockets + "/" + wireguardPrefix}
}

// CheckLeftovers returns an error if an earlier bench was killed and left
// something, or another one is running: figures would not be worth much.
func CheckLeftovers() error {
	var left []string
	spaces, err := linktest.Leftovers()
	if err != nil {
		return err
	}
	for _, ns := range spaces {
		left = append(left, "network namespace "+ns.Name)
	}
	for _, instance := range instances() {
		if instancePID(instance) != os.Getpid() {
			left = append(left, "instance "+instance)
		}
	}
	for _, name := range benchCgroups() {
		if cgroupPID(name) != os.Getpid() {
			left = append(left, "cgroup "+name)
		}
	}
	left = append(left, files(func(pid int) bool { return pid != os.Getpid() })...)
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("another benchmark runs or was killed: %s; `bin/bench -clean` removes what a killed one left", strings.Join(left, ", "))
}

// RemoveLeftovers takes down what killed benches left.
func RemoveLeftovers(ctx context.Context, o Options) error {
	var errs []error
	for _, instance := range instances() {
		if alive(instancePID(instance)) {
			continue
		}
		fmt.Println("removing instance", instance)
		errs = append(errs, removeInstance(ctx, o, instance))
	}
	spaces, err := linktest.Leftovers()
	errs = append(errs, err)
	for _, ns := range spaces {
		fmt.Println("removing network namespace", ns.Name)
		errs = append(errs, killInside(ctx, ns), ns.Delete())
	}
	for _, name := range benchCgroups() {
		if !alive(cgroupPID(name)) {
			fmt.Println("removing cgroup", name)
			errs = append(errs, removeCgroups(ctx, name))
		}
	}
	for _, path := range files(func(pid int) bool { return !alive(pid) }) {
		fmt.Println("removing", path)
		errs = append(errs, os.RemoveAll(path))
	}
	_ = os.Remove(wireguardSockets) // fails, and shall, if others have theirs there
	return errors.Join(errs...)
}

// killInside ends the programs that a killed bench left running in ns.
func killInside(ctx context.Context, ns *linktest.Namespace) error {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", ns.Name).Output()
	if err != nil {
		return fmt.Errorf("list the processes in %s: %w", ns.Name, err)
	}
	var errs []error
	for pid := range strings.FieldsSeq(string(out)) {
		n, err := strconv.Atoi(pid)
		if err == nil {
			err = unix.Kill(n, unix.SIGKILL)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("end process %s in %s: %w", pid, ns.Name, err))
		}
	}
	return errors.Join(errs...)
}

// removeInstance ends an agent that outlived its bench and removes what it
// left, inside the namespace it ran in as long as that exists.
func removeInstance(ctx context.Context, o Options, instance string) error {
	down := []string{o.Ovlctl, "--instance", instance, "down", "--force"}
	// The pattern is well-formed, and its matches are bench's own labs.
	spaces, _ := filepath.Glob(fmt.Sprintf("/run/netns/ovllab-%d-*-h*", instancePID(instance)))
	for _, ns := range spaces {
		args := append([]string{"--net=" + ns, "--"}, down...)
		// A lab without this agent has nothing to take down.
		_ = exec.CommandContext(ctx, "nsenter", args...).Run()
	}
	var errs []error
	for _, path := range instancePaths(instance) {
		errs = append(errs, os.RemoveAll(path))
	}
	for _, name := range instanceNamespaces(instance) {
		errs = append(errs, link.RemoveNamed(name))
	}
	return errors.Join(errs...)
}

// instances returns the names of all of bench's instances that have a folder, a
// file or a namespace, sorted.
func instances() []string {
	var out []string
	for _, pattern := range instancePaths(instancePrefix + "*") {
		found, _ := filepath.Glob(pattern) // the pattern is well-formed
		for _, path := range found {
			name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), "ovl-"), ".")
			if instancePID(name) > 0 {
				out = append(out, name)
			}
		}
	}
	for _, name := range instanceNamespaces(instancePrefix + "*") {
		_, instance, _ := strings.Cut(strings.TrimPrefix(name, gatewayPrefix), "-")
		if instancePID(instance) > 0 {
			out = append(out, instance)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// instancePID returns the process that the name tells, 0 for other names.
func instancePID(instance string) int {
	return leadingPID(strings.TrimPrefix(instance, instancePrefix))
}

// files returns the paths below filePrefixes of those processes.
func files(of func(pid int) bool) []string {
	var out []string
	for _, prefix := range filePrefixes() {
		found, _ := filepath.Glob(prefix + "*") // the pattern is well-formed
		for _, path := range found {
			if pid := leadingPID(strings.TrimPrefix(path, prefix)); pid > 0 && of(pid) {
				out = append(out, path)
			}
		}
	}
	return out
}

// leadingPID returns the number before the first dash, 0 if there is none.
func leadingPID(s string) int {
	digits, _, _ := strings.Cut(s, "-")
	pid, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return pid
}

func alive(pid int) bool { return pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }
