// Package link is the one place that speaks to the kernel about devices,
// addresses, routes and network namespaces. It changes single things when it
// is told to and keeps nothing in mind; what ought to be there is for its
// callers to know.
//
// What flows through it, in order of an agent's life: Underlay finds the
// device and the address that tunnels start from; MountBPFFS and EnsureVXLAN
// prepare the host; OverlappingRoute or RoutedWithin is asked before a subnet is used;
// OpenNamed or OpenPID, and CreateEndpoint, put an endpoint's interface into
// its namespace, or CheckTAP takes one that is there; EnsureGateway makes a
// namespace of our own with such an interface; WatchRemovals tells when
// an interface is gone; List finds, and Remove takes away, what a lost agent
// left.
//
//	host                              endpoint's namespace
//	┌──────────────────┐             ┌──────────────────┐
//	│ Host, up, no     │    veth     │ IfName, up, MAC, │
//	│ addresses ───────┼─────────────┼── Addrs, MTU     │
//	└──────────────────┘             └──────────────────┘
//
// Every call works in the network namespace of the thread that makes it,
// unless it is given a Namespace. Devices, routes and addresses come from
// netlink dumps, which the kernel may interrupt: all go through dump.
package link

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

var (
	// ErrNoDevice is wrapped where an interface is not there.
	ErrNoDevice = errors.New("no such interface")
	// ErrNoNamespace is wrapped where a network namespace is not there, or
	// no longer.
	ErrNoNamespace = errors.New("no such network namespace")
	// ErrExists is wrapped where the wanted interface name is taken inside
	// the endpoint's namespace.
	ErrExists = errors.New("interface exists")
	// ErrNoIPv6 is wrapped where an interface cannot have an IPv6 address:
	// IPv6 is switched off and cannot be switched on.
	ErrNoIPv6 = errors.New("IPv6 is switched off")
	// ErrNotTAP is wrapped where an interface is of another kind.
	ErrNotTAP = errors.New("not a TAP interface")
	// ErrName is wrapped where the kernel would not take an interface name.
	ErrName = errors.New("bad interface name")
)

// maxName is the longest interface name, IFNAMSIZ less the final zero.
const maxName = 15

// CheckName returns an error that wraps ErrName unless name can be that of an
// interface. Stricter than the kernel: "%" would make it choose a number, and
// "all" and "default" mean something else to sysctl.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > maxName:
		return fmt.Errorf("%w %q: %d bytes, at most %d are allowed", ErrName, name, len(name), maxName)
	case name == "." || name == ".." || name == "all" || name == "default":
		return fmt.Errorf("%w %q: it is reserved", ErrName, name)
	}
	for _, r := range name {
		if r <= ' ' || r > '~' || strings.ContainsRune("/:%", r) {
			return fmt.Errorf("%w %q: only printable ASCII without space, '/', ':' and '%%'", ErrName, name)
		}
	}
	return nil
}

const (
	dumpTries = 10
	dumpPause = 2 * time.Millisecond
)

// dump repeats a netlink dump that was interrupted: something changed while
// the kernel listed it, and the list may be wrong (NLM_F_DUMP_INTR). A host
// that changes all the time ends it with the error after dumpTries.
func dump[T any](list func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		v, err := list()
		if err == nil || try == dumpTries || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return v, err
		}
		time.Sleep(dumpPause)
	}
}

// byName returns the device of that name; the error wraps ErrNoDevice if
// there is none.
func byName(name string) (netlink.Link, error) {
	d, err := dump(func() (netlink.Link, error) { return netlink.LinkByName(name) })
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil, fmt.Errorf("%w: %s", ErrNoDevice, name)
	}
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return d, nil
}
