package agent

import (
	"context"
	"fmt"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/store"
)

// watch withdraws endpoints whose device goes: its namespace was deleted, its
// virtual machine ended, or somebody removed it. It returns when removed is
// closed.
func (a *Agent) watch(ctx context.Context, removed <-chan string) {
	for device := range removed {
		var err error
		if device == "" {
			err = a.withdrawGone(ctx)
		} else {
			for _, e := range a.ownEndpoints() {
				if e.Device == device {
					a.withdraw(ctx, e)
				}
			}
		}
		if err != nil {
			a.log.Warn("devices not looked at", "err", err)
		}
	}
}

// withdraw takes an endpoint whose device is gone off its network everywhere.
func (a *Agent) withdraw(ctx context.Context, e store.Endpoint) {
	network := networkName(a.tables(), e.Network)
	switch err := a.dropEndpoint(ctx, e); {
	case api.CodeOf(err) == api.CodeNotFound:
		return // a detach was faster
	case err != nil:
		a.log.Error("endpoint not withdrawn", "endpoint", e.Name, "network", network, "err", err)
		return
	}
	a.log.Warn("endpoint withdrawn, its interface is gone", "endpoint", e.Name, "network", network, "device", e.Device)
	a.freeAddresses(ctx, e)
}

// withdrawGone withdraws all endpoints of this host that have no device.
func (a *Agent) withdrawGone(ctx context.Context) error {
	for _, e := range a.ownEndpoints() {
		there, err := a.host.DeviceExists(e.Device)
		if err != nil {
			return fmt.Errorf("device of endpoint %s: %w", e.Name, err)
		}
		if !there {
			a.withdraw(ctx, e)
		}
	}
	return nil
}

// reviewDevices compares the endpoints on disk with the host's devices, both
// ways. Only the start calls it, before there is a datapath, a peer or an
// attach under way: rows without a device are deleted, and devices without a
// row, from an attach or detach that a crash cut off, are removed.
func (a *Agent) reviewDevices() error {
	known := make(map[string]bool)
	for _, e := range a.ownEndpoints() {
		there, err := a.host.DeviceExists(e.Device)
		if err != nil {
			return fmt.Errorf("device of endpoint %s: %w", e.Name, err)
		}
		if there {
			known[e.Device] = true
			continue
		}
		if _, err := a.store.Delete(store.TableEndpoint, e.ID); err != nil {
			return fmt.Errorf("endpoint %s: %w", e.Name, err)
		}
		a.log.Warn("endpoint withdrawn, its interface is gone", "endpoint", e.Name, "device", e.Device)
	}
	devices, err := a.host.Devices(devicePrefix)
	if err != nil {
		return fmt.Errorf("devices of this host: %w", err)
	}
	for _, d := range devices {
		if !isDeviceName(d) || known[d] {
			continue
		}
		if err := a.host.RemoveDevice(d); err != nil {
			return fmt.Errorf("device %s, which belongs to no endpoint: %w", d, err)
		}
		a.log.Warn("device removed, it belongs to no endpoint", "device", d)
	}
	return nil
}

// ownEndpoints are those of this host.
func (a *Agent) ownEndpoints() []store.Endpoint {
	var out []store.Endpoint
	for _, e := range a.tables().EndpointsByAge("") {
		if e.Node == a.self.ID {
			out = append(out, e)
		}
	}
	return out
}
