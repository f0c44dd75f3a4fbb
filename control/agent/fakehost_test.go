package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link"
)

// fakeHost is a machine in memory. It outlives the agents that run on it, as a
// kernel does.
type fakeHost struct {
	underlay link.Device

	mu         sync.Mutex
	held       bool
	routes     []netip.Prefix
	software   bool           // the underlay does not segment
	gso        map[string]int // by namespace and interface
	namespaces map[string]uint64
	inode      uint64
	devices    map[string]fakeDevice
	gateways   map[string]GatewayDevice // by namespace
	made       int                      // gateways, ever
	holder     *fakeHolder
	pinned     bool
	datapath   *datapathtest.Fake
	first      datapath.State // that it was opened with
	failing    map[string]error
	watchers   map[chan string]struct{}
}

// fakeDevice is the host's end of a veth pair, or a TAP.
type fakeDevice struct {
	namespace uint64
	ifname    string
	tap       bool
	spec      EndpointDevice
}

func newFakeHost(addr string) *fakeHost {
	return &fakeHost{
		underlay:   link.Device{Name: "eth0", Index: 2, MTU: 1500, Addr: netip.MustParseAddr(addr)},
		namespaces: make(map[string]uint64),
		inode:      4026531840,
		gso:        make(map[string]int),
		devices:    make(map[string]fakeDevice),
		gateways:   make(map[string]GatewayDevice),
		holder:     &fakeHolder{held: make(map[string]*os.File)},
		failing:    make(map[string]error),
		watchers:   make(map[chan string]struct{}),
	}
}

// fail makes every call of that name fail with err; nil heals it.
func (h *fakeHost) fail(call string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.failing, call)
		return
	}
	h.failing[call] = err
}

func (h *fakeHost) addNamespace(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inode++
	h.namespaces[name] = h.inode
}

// deleteNamespace takes the devices in it along.
func (h *fakeHost) deleteNamespace(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	inode := h.namespaces[name]
	delete(h.namespaces, name)
	if g, ok := h.gateways[name]; ok {
		h.removeLocked(g.Host)
	}
	for d, v := range h.devices {
		if v.namespace == inode && !v.tap {
			h.removeLocked(d)
		}
	}
}

func (h *fakeHost) addTAP(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.devices[name] = fakeDevice{tap: true}
}

func (h *fakeHost) removeLocked(device string) {
	_, there := h.devices[device]
	for netns, g := range h.gateways {
		if g.Host == device {
			delete(h.gateways, netns)
			there = true
		}
	}
	if !there {
		return
	}
	delete(h.devices, device)
	for w := range h.watchers {
		w <- device
	}
}

// dp is the datapath opened last.
func (h *fakeHost) dp() *datapathtest.Fake {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.datapath
}

// deviceNames are those that endpoints have.
func (h *fakeHost) deviceNames() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.devices))
}

func (h *fakeHost) Hold() (func() error, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held {
		return nil, ErrHeld
	}
	h.held = true
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.held = false
		return nil
	}, nil
}

func (h *fakeHost) Underlay(string) (link.Device, error) { return h.underlay, nil }

func (h *fakeHost) OverlappingRoute(p netip.Prefix) (string, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.routes {
		if r.Overlaps(p) {
			return r.String() + " dev eth1", true, nil
		}
	}
	return "", false, nil
}

func (h *fakeHost) RoutedWithin(p netip.Prefix) (out []netip.Prefix, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.routes {
		if r.Overlaps(p) {
			out = append(out, r)
		}
	}
	return out, nil
}

func (h *fakeHost) SegmentsTunnels(string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.software, nil
}

// setSoftware says who segments: the kernel, or the underlay's device.
func (h *fakeHost) setSoftware(software bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.software = software
}

// segmentSize is what was set last for an interface, 0 for none.
func (h *fakeHost) segmentSize(netns, ifname string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gso[netns+"/"+ifname]
}

// fakeHolder is one that holds in this process.
type fakeHolder struct {
	mu   sync.Mutex
	held map[string]*os.File
}

func (h *fakeHost) OpenHolder(context.Context, string, *slog.Logger) (Holder, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing["OpenHolder"]; err != nil {
		return nil, err
	}
	return h.holder, nil
}

func (h *fakeHolder) Put(name string, f *os.File) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		return err
	}
	if old := h.held[name]; old != nil {
		old.Close()
	}
	h.held[name] = os.NewFile(uintptr(fd), name)
	return nil
}

func (h *fakeHolder) Drop(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.held[name]; f != nil {
		f.Close()
		delete(h.held, name)
	}
	return nil
}

func (h *fakeHolder) All() (map[string]*os.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[string]*os.File)
	for name, f := range h.held {
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			return nil, err
		}
		all[name] = os.NewFile(uintptr(fd), name)
	}
	return all, nil
}

func (h *fakeHolder) Close() error { return nil }

// names are those of what is held.
func (h *fakeHolder) names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.held))
}

func (h *fakeHost) OpenDatapath(_ context.Context, o DatapathOptions) (OpenedDatapath, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing["OpenDatapath"]; err != nil {
		return OpenedDatapath{}, err
	}
	h.pinned = true
	h.datapath = datapathtest.NewFake()
	h.datapath.Break(h.failing["Apply"])
	h.first = o.First
	kind := datapath.Kernel
	if o.Mode == config.DatapathUserspace {
		kind = datapath.Userspace
	}
	return OpenedDatapath{h.datapath, kind, "a test"}, nil
}

func (h *fakeHost) RemoveDatapath(DatapathPlaces) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing["RemoveDatapath"]; err != nil {
		return err
	}
	h.pinned = false
	return nil
}

// fakeNamespace is one that is held open.
type fakeNamespace struct {
	host  *fakeHost
	name  string
	inode uint64
}

func (n fakeNamespace) Inode() uint64 { return n.inode }
func (n fakeNamespace) Close() error  { return nil }

// Do runs fn where it is, if the namespace answers: what listens there listens
// on loopback.
func (n fakeNamespace) Do(fn func() error) error {
	n.host.mu.Lock()
	err := n.host.failing["Do "+n.name]
	n.host.mu.Unlock()
	if err != nil {
		return err
	}
	return fn()
}

// Listen opens sockets on loopback, at any port.
func (n fakeNamespace) Listen(uint16) (udp, tcp *os.File, err error) {
	n.host.mu.Lock()
	err = n.host.failing["Listen"]
	n.host.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	packets, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	defer packets.Close()
	connections, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	defer connections.Close()
	udp, err = packets.File()
	if err == nil {
		tcp, err = connections.File()
	}
	return udp, tcp, err
}

func (n fakeNamespace) Present() error {
	n.host.mu.Lock()
	defer n.host.mu.Unlock()
	if n.host.namespaces[n.name] != n.inode {
		return fmt.Errorf("%w: %s is gone", link.ErrNoNamespace, n.name)
	}
	return nil
}

func (n fakeNamespace) SetGSOIPv4MaxSize(ifname string, size int) error {
	n.host.mu.Lock()
	defer n.host.mu.Unlock()
	n.host.gso[n.name+"/"+ifname] = size
	return n.host.failing["SetGSOIPv4MaxSize"]
}

func (n fakeNamespace) HasInterface(name string) (bool, error) {
	n.host.mu.Lock()
	defer n.host.mu.Unlock()
	if err := n.host.failing["HasInterface"]; err != nil {
		return false, err
	}
	return n.host.takenLocked(n.inode, name), nil
}

func (n fakeNamespace) ConfigureInner(_ context.Context, d EndpointDevice) error {
	n.host.mu.Lock()
	defer n.host.mu.Unlock()
	return n.host.failing["ConfigureInner"]
}

// takenLocked reports whether the namespace has an interface of that name.
func (h *fakeHost) takenLocked(inode uint64, ifname string) bool {
	for _, v := range h.devices {
		if v.namespace == inode && v.ifname == ifname {
			return true
		}
	}
	return false
}

func (h *fakeHost) OpenNamespace(netns string, pid int) (Namespace, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if netns == "" {
		netns = fmt.Sprintf("pid:%d", pid)
	}
	if err := h.failing["OpenNamespace"]; err != nil {
		return nil, err
	}
	inode, ok := h.namespaces[netns]
	if !ok {
		return nil, fmt.Errorf("%w: %s", link.ErrNoNamespace, netns)
	}
	return fakeNamespace{h, netns, inode}, nil
}

func (h *fakeHost) UnseenNamespace(pid int, inode uint64) Namespace {
	return fakeNamespace{h, fmt.Sprintf("pid:%d", pid), inode}
}

func (h *fakeHost) CreateEndpoint(_ context.Context, d EndpointDevice) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing["CreateEndpoint"]; err != nil {
		return err
	}
	if h.takenLocked(d.Namespace.Inode(), d.IfName) {
		return fmt.Errorf("%w: %s", link.ErrExists, d.IfName)
	}
	h.devices[d.Host] = fakeDevice{namespace: d.Namespace.Inode(), ifname: d.IfName, spec: d}
	return nil
}

func (h *fakeHost) CheckTAP(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch d, there := h.devices[name]; {
	case !there:
		return fmt.Errorf("%w: %s", link.ErrNoDevice, name)
	case !d.tap:
		return fmt.Errorf("%w: %s", link.ErrNotTAP, name)
	}
	return nil
}

func (h *fakeHost) RemoveDevice(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing["RemoveDevice"]; err != nil {
		return err
	}
	h.removeLocked(name)
	return nil
}

func (h *fakeHost) DeviceExists(name string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.devices[name]
	return ok || slices.Contains(h.gatewayDevicesLocked(), name), h.failing["DeviceExists"]
}

func (h *fakeHost) Devices(prefix string) ([]string, error) {
	all := h.deviceNames()
	h.mu.Lock()
	defer h.mu.Unlock()
	all = append(all, h.gatewayDevicesLocked()...)
	return slices.DeleteFunc(all, func(d string) bool { return !strings.HasPrefix(d, prefix) }), nil
}

func (h *fakeHost) gatewayDevicesLocked() (names []string) {
	for _, g := range h.gateways {
		names = append(names, g.Host)
	}
	return names
}

func (h *fakeHost) EnsureGateway(_ context.Context, d GatewayDevice) (Namespace, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing["EnsureGateway"]; err != nil {
		return nil, err
	}
	if h.namespaces[d.Netns] == 0 {
		h.inode++
		h.namespaces[d.Netns] = h.inode
		h.removeLocked(d.Host)
	}
	if have, there := h.gateways[d.Netns]; !there || !have.equal(d) {
		h.made++
		h.gateways[d.Netns] = d
	}
	return fakeNamespace{h, d.Netns, h.namespaces[d.Netns]}, nil
}

func (h *fakeHost) RemoveGateway(netns, device string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.namespaces, netns)
	h.removeLocked(device)
	return h.failing["RemoveGateway"]
}

func (h *fakeHost) Namespaces() ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.namespaces)), nil
}

// gatewayNames are those of the gateways that are there, each with the number of
// its namespace.
func (h *fakeHost) gatewayNames() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for netns, g := range h.gateways {
		names = append(names, netns+" "+g.Host)
	}
	for netns := range h.namespaces {
		if _, ours := gatewayVNI("", netns); ours && h.gateways[netns].Host == "" {
			names = append(names, netns+" without a device")
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (h *fakeHost) WatchRemovals(ctx context.Context) (<-chan string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := make(chan string, 64)
	h.watchers[w] = struct{}{}
	out := make(chan string)
	go func() {
		defer close(out)
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.watchers, w)
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case name := <-w:
				select {
				case <-ctx.Done():
					return
				case out <- name:
				}
			}
		}
	}()
	return out, nil
}
