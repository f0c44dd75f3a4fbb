package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options of Open. The zero value is usable.
type Options struct {
	// Rest is how long a released address is not picked again. It can still
	// be asked for. Default 60 seconds; negative means none.
	Rest time.Duration
	// Now is the wall clock. Default time.Now.
	Now func() time.Time
}

// Allocator hands out the addresses of the networks that this node is the
// authority of. Its methods may be called from any goroutine.
type Allocator struct {
	disk Storage
	opt  Options

	mu       sync.Mutex
	networks map[string]*table
}

// Open reads all leases from storage.
func Open(storage Storage, opt Options) (*Allocator, error) {
	if opt.Rest == 0 {
		opt.Rest = time.Minute
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	a := &Allocator{disk: storage, opt: opt, networks: map[string]*table{}}
	buckets, err := storage.Buckets(bucketPrefix)
	if err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	for _, bucket := range buckets {
		network := strings.TrimPrefix(bucket, bucketPrefix)
		records, err := storage.ReadBucket(bucket)
		if err != nil {
			return nil, fmt.Errorf("leases of network %s: %w", network, err)
		}
		if a.networks[network], err = readTable(records); err != nil {
			return nil, fmt.Errorf("leases of network %s: %w", network, err)
		}
	}
	return a, nil
}

// Request is what an endpoint needs.
type Request struct {
	// Endpoint is the endpoint's ID.
	Endpoint string
	// Name and Node are the endpoint's name and its node's ID, for the errors
	// that others get. Both may be empty.
	Name, Node string
	// Wanted are addresses that are asked for, at most one from a subnet.
	Wanted []netip.Addr
	// IPv4 and IPv6 say of which families an address is picked if none is
	// wanted. Default: of all that the network has.
	IPv4, IPv6 bool
	// InUse are addresses that endpoints are known to have, whatever the
	// leases say: what was handed out since the copy was made that the leases
	// come from is not in them.
	InUse map[netip.Addr]Holder
}

// Allocate gives an endpoint its addresses: those that it wants, and one of
// each family that it wants none of. The lease is on disk when Allocate
// returns. Asked again for an endpoint that has a lease, it returns the same
// addresses, so a request whose answer was lost can be repeated.
func (a *Allocator) Allocate(network string, subnets []Subnet, req Request) ([]netip.Prefix, error) {
	if network == "" || req.Endpoint == "" {
		return nil, fmt.Errorf("%w: network and endpoint need IDs", ErrLeased)
	}
	for _, s := range subnets {
		if err := s.validate(); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.networks[network]
	if t == nil {
		t = newTable()
	}
	if l, ok := t.leases[req.Endpoint]; ok {
		for _, w := range req.Wanted {
			if !slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == w.Unmap() }) {
				return nil, fmt.Errorf("%w: %s has %v, not %s", ErrLeased, l.holder(), l.Addrs, w)
			}
		}
		return slices.Clone(l.Addrs), nil
	}
	e := edit{}
	now := a.opt.Now()
	addrs, err := t.want(subnets, req)
	if err != nil {
		return nil, err
	}
	resting := a.restingLocked(t, e, now)
	rests := func(x netip.Addr) bool {
		at, ok := t.rests[x]
		return ok && now.Sub(at) < a.opt.Rest
	}
	for _, is4 := range []bool{true, false} {
		if !req.needs(subnets, is4) {
			continue
		}
		p, err := t.pick(subnets, is4, func(x netip.Addr) bool {
			_, leased := t.byAddr[x]
			_, inUse := req.InUse[x]
			return !leased && !inUse && !rests(x)
		}, e)
		if errors.Is(err, ErrExhausted) {
			err = fmt.Errorf("%w has %d leases, and %d addresses were released too lately", err, len(t.leases), resting)
		}
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, p)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%w: the network has no subnets", ErrFamily)
	}
	slices.SortFunc(addrs, netip.Prefix.Compare)
	if err := e.lease(Lease{Endpoint: req.Endpoint, Name: req.Name, Node: req.Node, Addrs: addrs}); err != nil {
		return nil, fmt.Errorf("lease of endpoint %s: %w", req.Endpoint, err)
	}
	if err := a.commitLocked(network, t, e); err != nil {
		return nil, err
	}
	return slices.Clone(addrs), nil
}

// needs reports whether an address of a family is to be picked.
func (r Request) needs(subnets []Subnet, is4 bool) bool {
	if slices.ContainsFunc(r.Wanted, func(w netip.Addr) bool { return w.Unmap().Is4() == is4 }) {
		return false
	}
	if r.IPv4 || r.IPv6 {
		return is4 && r.IPv4 || !is4 && r.IPv6
	}
	return slices.ContainsFunc(subnets, func(s Subnet) bool { return s.Prefix.Addr().Is4() == is4 })
}

// want checks the addresses that were asked for.
func (t *table) want(subnets []Subnet, req Request) ([]netip.Prefix, error) {
	var addrs []netip.Prefix
	for _, w := range req.Wanted {
		w = w.Unmap()
		i := slices.IndexFunc(subnets, func(s Subnet) bool { return s.Prefix.Contains(w) })
		if i < 0 {
			return nil, fmt.Errorf("%w: %s is not in %s", ErrOutside, w, prefixes(subnets))
		}
		s := subnets[i]
		if slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Masked() == s.Prefix }) {
			return nil, fmt.Errorf("%w: more than one of %s is asked for", ErrMany, s.Prefix)
		}
		if err := s.reserved(w); err != nil {
			return nil, err
		}
		if endpoint, taken := t.byAddr[w]; taken {
			l := t.leases[endpoint]
			return nil, &TakenError{w, Holder{Endpoint: l.Endpoint, Name: l.Name, Node: l.Node}}
		}
		if h, taken := req.InUse[w]; taken {
			return nil, &TakenError{w, h}
		}
		addrs = append(addrs, netip.PrefixFrom(w, s.Prefix.Bits()))
	}
	return addrs, nil
}

// pick takes an address of a family from the first subnet that has one free.
func (t *table) pick(subnets []Subnet, is4 bool, free func(netip.Addr) bool, e edit) (netip.Prefix, error) {
	var tried []Subnet
	for _, s := range subnets {
		if s.Prefix.Addr().Is4() != is4 {
			continue
		}
		tried = append(tried, s)
		from := s.pickFrom()
		if addr, ok := s.pick(t.last[from], free); ok {
			e[keyLast+from.String()] = []byte(addr.String())
			return netip.PrefixFrom(addr, s.Prefix.Bits()), nil
		}
	}
	family := "IPv6"
	if is4 {
		family = "IPv4"
	}
	if len(tried) == 0 {
		return netip.Prefix{}, fmt.Errorf("%w: the network has no %s subnet", ErrFamily, family)
	}
	return netip.Prefix{}, fmt.Errorf("%w: %s", ErrExhausted, prefixes(tried))
}

func prefixes(subnets []Subnet) string {
	var names []string
	for _, s := range subnets {
		if r := s.pickFrom(); r != s.Prefix {
			names = append(names, fmt.Sprintf("%s (range %s)", s.Prefix, r))
			continue
		}
		names = append(names, s.Prefix.String())
	}
	return strings.Join(names, ", ")
}

// restingLocked returns how many addresses were released too lately to be
// picked, and forgets the others. A release in the future, which a clock that
// was set back leaves, counts as one just now.
func (a *Allocator) restingLocked(t *table, e edit, now time.Time) (resting int) {
	for addr, at := range t.rests {
		if at.After(now) {
			t.rests[addr], at = now, now
		}
		if now.Sub(at) < a.opt.Rest {
			resting++
		} else {
			e[keyRest+addr.String()] = nil
		}
	}
	return resting
}

// commitLocked brings an edit to disk, and only then into memory.
func (a *Allocator) commitLocked(network string, t *table, e edit) error {
	if err := a.disk.UpdateBucket(bucketPrefix+network, e); err != nil {
		return fmt.Errorf("leases of network %s: %w", network, err)
	}
	a.networks[network] = t
	return t.apply(e)
}

// Release ends an endpoint's lease and lets its addresses rest. That there is
// none is no error: the request may be a repeated one.
func (a *Allocator) Release(network, endpoint string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.releaseLocked(network, []string{endpoint})
	return err
}

func (a *Allocator) releaseLocked(network string, endpoints []string) (released []string, err error) {
	t := a.networks[network]
	if t == nil {
		return nil, nil
	}
	e := edit{}
	for _, endpoint := range endpoints {
		l, ok := t.leases[endpoint]
		if !ok {
			continue
		}
		if err := e.release(l, a.opt.Now()); err != nil {
			return nil, fmt.Errorf("lease of endpoint %s: %w", endpoint, err)
		}
		released = append(released, endpoint)
	}
	if len(released) == 0 {
		return nil, nil
	}
	return released, a.commitLocked(network, t, e)
}
