package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/cilium/ebpf"
	ebpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/ovlnet/ovl/datapath/link"
)

// folders are those that an instance has, and the holder's socket, and the file of
// flows.
func (h *host) folders() []string {
	run := "/run/ovl-" + h.instance
	return []string{run, h.dataDir(), "/sys/fs/bpf/ovl-" + h.instance, h.holderSocket(), run + ".flows", "/etc/netns/.ovl-" + h.instance}
}

func (h *host) holderSocket() string { return "/run/ovl-" + h.instance + ".hold" }

func (h *host) dataDir() string   { return "/var/lib/ovl-" + h.instance }
func (h *host) stateFile() string { return h.dataDir() + "/state.db" }

// endpointDevice is what attach calls the host's end of an endpoint.
var endpointDevice = regexp.MustCompile(`^ovl[0-9a-f]{10}$`)

// gatewayDevice is the host's end of a gateway, and gateways are the names of the
// namespaces of this host's.
var gatewayDevice = regexp.MustCompile(`^ovlgw[0-9a-f]{4,6}$`)

func (h *host) gateways() (names []string, err error) {
	all, err := link.Named()
	for _, name := range all {
		if strings.HasPrefix(name, "ovl-") && strings.HasSuffix(name, "-"+h.instance) {
			names = append(names, name)
		}
	}
	return names, err
}

// userspaceTAP begins the names of the userspace datapath's devices.
const userspaceTAP = "ovt-"

// devices returns the host's ends of its endpoints that are there.
func (h *host) devices() (names []string, err error) {
	return names, h.eachDevice(func(d netlink.Link) error {
		if endpointDevice.MatchString(d.Attrs().Name) {
			names = append(names, d.Attrs().Name)
		}
		return nil
	})
}

// leftovers lists what `ovlctl down` should have removed: folders, devices, namespaces,
// and programs on devices that are not ours.
func (h *host) leftovers() (left []string) {
	for _, path := range h.folders() {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			left = append(left, fmt.Sprintf("%s (%v)", path, err))
		}
	}
	gateways, err := h.gateways()
	for _, name := range gateways {
		left = append(left, "network namespace "+name)
	}
	if err != nil {
		left = append(left, fmt.Sprintf("cannot tell: %v", err))
	}
	err = h.eachDevice(func(d netlink.Link) error {
		name := d.Attrs().Name
		if endpointDevice.MatchString(name) || gatewayDevice.MatchString(name) || name == "ovl-vxlan" || strings.HasPrefix(name, userspaceTAP) {
			left = append(left, "device "+name)
		}
		for _, hook := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			r, err := ebpflink.QueryPrograms(ebpflink.QueryOptions{Target: d.Attrs().Index, Attach: hook})
			if errors.Is(err, ebpf.ErrNotSupported) {
				continue
			}
			if err != nil {
				return fmt.Errorf("programs of %s: %w", name, err)
			}
			for _, p := range r.Programs {
				left = append(left, fmt.Sprintf("program %d on %s", p.ID, name))
			}
		}
		qdiscs, err := netlink.QdiscList(d)
		for _, q := range qdiscs {
			if q.Type() == "clsact" {
				left = append(left, "clsact on "+name)
			}
		}
		return err
	})
	if err != nil {
		left = append(left, fmt.Sprintf("cannot tell: %v", err))
	}
	return left
}

// eachDevice calls f in the host's namespace.
func (h *host) eachDevice(f func(netlink.Link) error) error {
	return h.Do(func() error {
		devices, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("devices: %w", err)
		}
		for _, d := range devices {
			if err := f(d); err != nil {
				return err
			}
		}
		return nil
	})
}
