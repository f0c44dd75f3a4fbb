package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"

	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/encap"
)

// ErrHeld is wrapped where another agent works in this network namespace.
var ErrHeld = errors.New("another agent, of another instance, works in this network namespace: each needs one of its own")

// ErrEnter is wrapped where a network namespace is there, and the process may not
// go into it.
var ErrEnter = errors.New("entering a network namespace takes CAP_SYS_ADMIN")

// ErrLook is wrapped where the process may not even see which namespace another
// one is in.
var ErrLook = errors.New("looking into a process with more privileges takes CAP_SYS_PTRACE")

// Host is all that the agent touches on its machine besides its own folders.
// Linux is the real one; tests have one that only remembers.
//
// What removes is idempotent: missing is success.
type Host interface {
	// Hold makes this the only agent in its network namespace until it lets
	// go, or its process ends: devices are told apart by their names alone.
	// Errors wrap ErrHeld where there is another.
	Hold() (letGo func() error, err error)

	// Underlay returns the device and address that peers reach this host at.
	// advertise is an address, a device, or "" for those of the default
	// route.
	Underlay(advertise string) (link.Device, error)
	// OverlappingRoute returns a route of this host, as text, whose
	// destination shares an address with p; the default route does not count.
	OverlappingRoute(p netip.Prefix) (route string, found bool, err error)
	// RoutedWithin returns the destinations of all such routes.
	RoutedWithin(p netip.Prefix) ([]netip.Prefix, error)

	// SegmentsTunnels reports whether a device cuts large TCP packets inside a
	// tunnel into segments by itself.
	SegmentsTunnels(device string) (bool, error)

	// OpenHolder starts what keeps descriptors open while no agent runs, at that
	// socket, or finds the one that an earlier agent has started.
	OpenHolder(ctx context.Context, path string, log *slog.Logger) (Holder, error)

	// OpenDatapath brings up what moves the packets, carrying o.First. A
	// datapath of the other kind that an earlier agent has left gives way to
	// it. Errors wrap datapath.ErrNotSupported where this host cannot.
	OpenDatapath(ctx context.Context, o DatapathOptions) (OpenedDatapath, error)
	// RemoveDatapath removes all that OpenDatapath left on the host, of
	// either kind, in these places.
	RemoveDatapath(p DatapathPlaces) error

	// OpenNamespace opens a network namespace by name or path, or where netns
	// is "" that of a process. Errors wrap link.ErrNoNamespace where there
	// is none, ErrLook where it may not be seen.
	OpenNamespace(netns string, pid int) (Namespace, error)
	// UnseenNamespace is that of a process which may not be looked into, as
	// somebody says who may. It serves for CreateEndpoint with InnerLater.
	UnseenNamespace(pid int, inode uint64) Namespace
	// CreateEndpoint makes a veth pair, all or nothing. Errors wrap
	// link.ErrExists where the inner name is taken. It enters the namespace
	// unless d.InnerLater.
	CreateEndpoint(ctx context.Context, d EndpointDevice) error
	// CheckTAP returns an error unless name is a TAP device, and sets it up.
	// Errors wrap link.ErrNotTAP, or link.ErrNoDevice where there is none.
	CheckTAP(name string) error
	// RemoveDevice removes the host's end of an endpoint, and so both.
	RemoveDevice(name string) error
	// DeviceExists reports whether there is a device of that name.
	DeviceExists(name string) (bool, error)
	// Devices returns the devices whose names begin with prefix.
	Devices(prefix string) ([]string, error)
	// EnsureGateway makes the namespace and the veth pair of a gateway, or what is
	// missing or wrong of it, and returns the namespace. Errors wrap ErrEnter where
	// the process may not.
	EnsureGateway(ctx context.Context, d GatewayDevice) (Namespace, error)
	// RemoveGateway removes a gateway's namespace, by name, and the host's end of
	// its veth pair. Errors wrap ErrEnter where the process may not.
	RemoveGateway(netns, device string) error
	// Namespaces returns the names of all named network namespaces.
	Namespaces() ([]string, error)
	// WatchRemovals sends the name of each device that goes, and "" when
	// some may have been missed. The channel is closed when ctx ends or the
	// watch broke.
	WatchRemovals(ctx context.Context) (<-chan string, error)
}

// Namespace is an open network namespace.
type Namespace interface {
	// Inode tells namespaces apart, whatever they are called.
	Inode() uint64
	// Present returns an error that wraps link.ErrNoNamespace unless what it
	// was opened by still leads to it.
	Present() error
	// HasInterface reports whether there is an interface of that name in it.
	// Errors wrap ErrEnter where that cannot be seen, nor anything done.
	HasInterface(name string) (bool, error)
	// Do runs fn in it, on a thread of its own.
	Do(fn func() error) error
	// Listen opens a UDP and a TCP socket at a port of every address in it.
	Listen(port uint16) (udp, tcp *os.File, err error)
	// ConfigureInner does what CreateEndpoint with InnerLater has left.
	ConfigureInner(ctx context.Context, d EndpointDevice) error
	// SetGSOIPv4MaxSize sets how many bytes of an IPv4 packet the stack in it
	// hands an interface at most.
	SetGSOIPv4MaxSize(ifname string, size int) error
	Close() error
}

// DatapathOptions say what OpenDatapath brings up.
type DatapathOptions struct {
	Mode     config.DatapathMode
	Underlay link.Device
	// Port is the UDP port of VXLAN.
	Port uint16
	// First is what it has to carry from its first moment.
	First  datapath.State
	Places DatapathPlaces
	// Holder is the one at Places.Holder, nil if there is none.
	Holder Holder
	Logger *slog.Logger
}

// DatapathPlaces are where an instance's datapath keeps what outlives the
// agent.
type DatapathPlaces struct {
	// BPF is the bpffs folder of the kernel datapath.
	BPF string
	// Holder is the socket of the process that keeps descriptors, Flows the file of
	// the userspace datapath's flows, and Counters the folder of its counters.
	Holder, Flows, Counters string
}

// OpenedDatapath is one that runs.
type OpenedDatapath struct {
	datapath.Datapath
	Kind datapath.Kind
	// Reason is why it is that kind, for people.
	Reason string
}

// GatewayDevice is a namespace of the agent's own and a veth pair to be.
type GatewayDevice struct {
	// Netns is the name of the namespace, Host and IfName are those of the outer and
	// inner end.
	Netns, Host, IfName string
	MAC                 encap.MAC
	Addrs               []netip.Prefix
	MTU                 int
}

// EndpointDevice is a veth pair to be.
type EndpointDevice struct {
	// Host and IfName are the names of the outer and inner end.
	Host, IfName string
	Namespace    Namespace
	MAC          encap.MAC
	Addrs        []netip.Prefix
	MTU          int
	// InnerLater: the inner end is not configured.
	InnerLater bool
}
