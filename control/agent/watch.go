package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/ovlnet/ovl/control/store"
)

// burst is how long the first device that goes waits for others: namespaces
// are often deleted together, and then cost one change.
const burst = 10 * time.Millisecond

// watch withdraws endpoints whose device goes: its namespace was deleted, its
// virtual machine ended, or somebody removed it. What cannot be withdrawn, for want
// of room on the disk, is tried again. Gateways' devices are made again. It returns
// when removed is closed.
func (a *Agent) watch(ctx context.Context, removed <-chan string) {
	gone := make(map[string]bool)
	var again <-chan time.Time
	for {
		select {
		case device, open := <-removed:
			if !open {
				return
			}
			gone[device] = true
			gather(removed, gone)
		case <-again:
		}
		again = nil
		if err := a.withdraw(ctx, gone); err != nil {
			a.log.Error("endpoints without an interface not withdrawn", "err", err)
			again = time.After(upkeepInterval)
			continue
		}
		for device := range gone {
			if device == "" || isGatewayDevice(device) {
				a.reviewGateways(ctx)
				break
			}
		}
		clear(gone)
	}
}

// gather adds the devices that go within a burst.
func gather(removed <-chan string, gone map[string]bool) {
	over := time.After(burst)
	for {
		select {
		case device, open := <-removed:
			if !open {
				return
			}
			gone[device] = true
		case <-over:
			return
		}
	}
}

// withdraw takes the endpoints whose devices are gone off their networks
// everywhere; with "" among the devices, all that have none.
func (a *Agent) withdraw(ctx context.Context, gone map[string]bool) error {
	var without []store.Endpoint
	for _, e := range a.ownEndpoints() {
		there := !gone[e.Device]
		if there && gone[""] {
			var err error
			if there, err = a.host.DeviceExists(e.Device); err != nil {
				return fmt.Errorf("device of endpoint %s: %w", e.Name, err)
			}
		}
		if !there {
			without = append(without, e)
		}
	}
	if len(without) == 0 {
		return nil // a device that is nobody's, or a detach was faster
	}
	dropped, err := a.dropEndpoints(ctx, without...)
	if err != nil {
		return err
	}
	for _, e := range dropped {
		a.log.Warn("endpoint withdrawn, its interface is gone", "endpoint", e.Name, "network", networkName(a.tables(), e.Network), "device", e.Device)
	}
	a.reviewGateways(ctx)
	// Authorities that do not answer must not hold up what goes next.
	a.goDo(func() {
		for _, e := range dropped {
			a.freeAddresses(ctx, e)
		}
	})
	return nil
}

// reviewDevices compares the endpoints on disk with the host's devices, both
// ways. Only the start calls it, before there is a datapath, a peer or an
// attach under way: rows without a device are deleted, and devices without a
// row, from an attach or detach that a crash cut off, are removed.
func (a *Agent) reviewDevices() error {
	known := make(map[string]bool)
	var gone []store.Endpoint
	for _, e := range a.ownEndpoints() {
		there, err := a.host.DeviceExists(e.Device)
		if err != nil {
			return fmt.Errorf("device of endpoint %s: %w", e.Name, err)
		}
		if there {
			known[e.Device] = true
			continue
		}
		gone = append(gone, e)
	}
	if _, _, err := a.deleteEndpoints(gone); err != nil {
		return fmt.Errorf("withdraw endpoints: %w", err)
	}
	for _, e := range gone {
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
func (a *Agent) ownEndpoints() []store.Endpoint { return a.tables().EndpointsOf(a.self.ID) }
