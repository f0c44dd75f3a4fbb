package ipam

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Reconcile releases the leases of endpoints that have not been live for a
// grace, and returns the endpoints. An address is leased before its
// endpoint's row is written and spread; the grace is for that. It counts from
// the first call that has not found the endpoint.
func (a *Allocator) Reconcile(network string, live func(endpoint string) bool, grace time.Duration) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.networks[network]
	if t == nil {
		return nil, nil
	}
	now := a.opt.Now()
	var gone []string
	for _, endpoint := range slices.Sorted(maps.Keys(t.leases)) {
		if live(endpoint) {
			delete(t.missing, endpoint)
			continue
		}
		since, known := t.missing[endpoint]
		if !known || since.After(now) {
			t.missing[endpoint], since = now, now
		}
		if now.Sub(since) >= grace {
			gone = append(gone, endpoint)
		}
	}
	return a.releaseLocked(network, gone)
}

// Leases returns what a network has handed out, by endpoint.
func (a *Allocator) Leases(network string) []Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.networks[network]
	if t == nil {
		return nil
	}
	out := make([]Lease, 0, len(t.leases))
	for _, endpoint := range slices.Sorted(maps.Keys(t.leases)) {
		l := t.leases[endpoint]
		l.Addrs = slices.Clone(l.Addrs)
		out = append(out, l)
	}
	return out
}

// Networks returns the IDs of the networks that anything is kept of.
func (a *Allocator) Networks() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.networks))
}

// DropNetwork forgets a network that was removed, or whose authority is now
// another node.
func (a *Allocator) DropNetwork(network string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.replaceLocked(network, nil); err != nil {
		return err
	}
	delete(a.networks, network)
	return nil
}

// replaceLocked makes records all that is on disk of a network.
func (a *Allocator) replaceLocked(network string, records map[string][]byte) error {
	before, err := a.disk.ReadBucket(bucketPrefix + network)
	if err != nil {
		return fmt.Errorf("leases of network %s: %w", network, err)
	}
	e := edit(maps.Clone(records))
	if e == nil {
		e = edit{}
	}
	for key := range before {
		if _, stays := records[key]; !stays {
			e[key] = nil
		}
	}
	if err := a.disk.UpdateBucket(bucketPrefix+network, e); err != nil {
		return fmt.Errorf("leases of network %s: %w", network, err)
	}
	return nil
}
