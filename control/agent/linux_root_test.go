package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// inside runs f in the namespace of a lab's host.
func inside(t *testing.T, ns *linktest.Namespace, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

// One agent to a network namespace, whatever its instance is called.
func TestLinuxHold(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	var letGo func() error
	inside(t, lab.Hosts[0].Namespace, func() (err error) {
		letGo, err = Linux{}.Hold()
		return err
	})
	inside(t, lab.Hosts[0].Namespace, func() error {
		if _, err := (Linux{}).Hold(); !errors.Is(err, ErrHeld) {
			return fmt.Errorf("a second agent: %w", err)
		}
		return nil
	})
	inside(t, lab.Hosts[1].Namespace, func() error {
		other, err := Linux{}.Hold()
		if err != nil {
			return err
		}
		return other()
	})
	if err := letGo(); err != nil {
		t.Fatal(err)
	}
	inside(t, lab.Hosts[0].Namespace, func() error {
		again, err := Linux{}.Hold()
		if err != nil {
			return err
		}
		return again()
	})
}

// The real host as attach and detach use it.
func TestLinuxEndpoint(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 1})
	guest := lab.Endpoint("a")
	device := deviceName(newID())
	inside(t, lab.Hosts[0].Namespace, func() error {
		h := Linux{}
		u, err := h.Underlay("")
		if err != nil {
			return err
		}
		if u.Name != linktest.UnderlayDevice || u.Addr.String() != "192.0.2.1" {
			t.Errorf("underlay is %+v", u)
		}
		if _, err := h.OpenNamespace("ovl-is-not-there", 0); api.CodeOf(hostError(err)) != api.CodeNotFound {
			t.Errorf("a namespace that is not there: %v", err)
		}
		if err := h.CheckTAP(u.Name); api.CodeOf(hostError(err)) != api.CodeInvalid {
			t.Errorf("a device that is not a TAP: %v", err)
		}
		ns, err := h.OpenNamespace(guest.Name, 0)
		if err != nil {
			return err
		}
		defer ns.Close()
		if there, err := ns.HasInterface("eth0"); there || err != nil {
			t.Errorf("eth0 before it is made: %v, %v", there, err)
		}
		spec := EndpointDevice{
			Host: device, IfName: "eth0", Namespace: ns, MAC: derivedMAC("x"), MTU: 1450,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")},
		}
		if err := h.CreateEndpoint(t.Context(), spec); err != nil {
			return err
		}
		if there, err := ns.HasInterface("eth0"); !there || err != nil {
			t.Errorf("eth0 once it is made: %v, %v", there, err)
		}
		spec.Host = deviceName(newID())
		if err := h.CreateEndpoint(t.Context(), spec); !errors.Is(err, link.ErrExists) {
			t.Errorf("an interface name that is taken: %v", err)
		}
		if ds, err := h.Devices(devicePrefix); err != nil || len(ds) != 1 || ds[0] != device {
			t.Errorf("devices are %v, %v; want %s", ds, err, device)
		}
		if err := h.RemoveDevice(device); err != nil {
			return err
		}
		there, err := h.DeviceExists(device)
		if there {
			t.Error("the device is still there")
		}
		return err
	})
}

// The datapath comes up, says why it is that one, and goes without a trace.
func TestLinuxDatapath(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 1})
	dir := fmt.Sprintf("/sys/fs/bpf/ovl-agent%d", os.Getpid())
	inside(t, lab.Hosts[0].Namespace, func() error {
		h := Linux{}
		u, err := h.Underlay("")
		if err != nil {
			return err
		}
		places := DatapathPlaces{BPF: dir, Holder: t.TempDir() + "/hold", Flows: t.TempDir() + "/flows", Counters: t.TempDir()}
		d, err := h.OpenDatapath(t.Context(), DatapathOptions{Mode: config.DatapathAuto, Underlay: u, Port: 4789, Places: places})
		if err != nil {
			return err
		}
		if d.Kind != datapath.Kernel || d.Reason == "" {
			t.Errorf("the datapath is %s, and the reason for it %q", d.Kind, d.Reason)
		}
		if err := d.Apply(t.Context(), datapath.State{}); err != nil {
			t.Errorf("apply nothing: %v", err)
		}
		return errors.Join(d.Close(), h.RemoveDatapath(places))
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}
