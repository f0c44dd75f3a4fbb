package ipam

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Storage keeps local buckets of records on disk. The store implements it.
type Storage interface {
	// Buckets returns the names of the buckets that begin with prefix.
	Buckets(prefix string) ([]string, error)
	// ReadBucket returns all that a bucket holds.
	ReadBucket(bucket string) (map[string][]byte, error)
	// UpdateBucket changes keys, all or none, and is durable when it returns;
	// nil removes a key.
	UpdateBucket(bucket string, changes map[string][]byte) error
}

// A network's bucket is bucketPrefix and its ID, and holds these keys.
const (
	bucketPrefix = "ipam/"
	keyLease     = "lease/" // and an endpoint's ID: JSON of Lease
	keyRest      = "rest/"  // and an address: JSON of the time of its release
	keyLast      = "last/"  // and a prefix: the address picked last from it
)

// Lease is what one endpoint has.
type Lease struct {
	// Endpoint and Node are IDs.
	Endpoint string `json:"endpoint"`
	Name     string `json:"name,omitempty"`
	Node     string `json:"node,omitempty"`
	// Addrs have the length of the subnet that each address is from.
	Addrs []netip.Prefix `json:"addrs"`
}

// holder returns how an error names who has the lease.
func (l Lease) holder() string {
	if l.Name != "" {
		return fmt.Sprintf("endpoint %s (%s)", l.Name, l.Endpoint)
	}
	return "endpoint " + l.Endpoint
}

// table is what one network has handed out, as it is on disk.
type table struct {
	leases map[string]Lease            // by endpoint
	byAddr map[netip.Addr]string       // endpoint
	rests  map[netip.Addr]time.Time    // of the release
	last   map[netip.Prefix]netip.Addr // picked, by what it was picked from
	// missing is since when Reconcile has not found a lease's endpoint. It is
	// not on disk: after a restart the grace begins again.
	missing map[string]time.Time
}

func newTable() *table {
	return &table{
		leases:  map[string]Lease{},
		byAddr:  map[netip.Addr]string{},
		rests:   map[netip.Addr]time.Time{},
		last:    map[netip.Prefix]netip.Addr{},
		missing: map[string]time.Time{},
	}
}

// readTable reads the records of a bucket. It refuses what breaks the rule
// that an address has one owner.
func readTable(records map[string][]byte) (*table, error) {
	t := newTable()
	for key, value := range records {
		if err := t.read(key, value); err != nil {
			return nil, fmt.Errorf("record %q: %w", key, err)
		}
	}
	return t, nil
}

func (t *table) read(key string, value []byte) error {
	kind, name, _ := strings.Cut(key, "/")
	switch kind + "/" {
	case keyLease:
		var l Lease
		if err := json.Unmarshal(value, &l); err != nil {
			return err
		}
		if name == "" || l.Endpoint != name || len(l.Addrs) == 0 {
			return fmt.Errorf("is not a lease of endpoint %q", name)
		}
		for _, p := range l.Addrs {
			if !p.IsValid() || p.Addr().Is4In6() {
				return fmt.Errorf("address %q is not valid", p)
			}
			if other, taken := t.byAddr[p.Addr()]; taken {
				return fmt.Errorf("address %s has two owners, endpoints %s and %s", p.Addr(), other, name)
			}
			t.byAddr[p.Addr()] = name
		}
		t.leases[name] = l
	case keyRest:
		a, err := netip.ParseAddr(name)
		if err != nil {
			return err
		}
		var at time.Time
		if err := json.Unmarshal(value, &at); err != nil {
			return err
		}
		t.rests[a] = at
	case keyLast:
		p, err := netip.ParsePrefix(name)
		if err != nil {
			return err
		}
		a, err := netip.ParseAddr(string(value))
		if err != nil {
			return err
		}
		t.last[p] = a
	default:
		return fmt.Errorf("kind is not known")
	}
	return nil
}

// edit is a change of a table's records while it is made.
type edit map[string][]byte

func (e edit) lease(l Lease) error {
	b, err := json.Marshal(l)
	e[keyLease+l.Endpoint] = b
	return err
}

// release removes a lease and lets its addresses rest.
func (e edit) release(l Lease, now time.Time) error {
	e[keyLease+l.Endpoint] = nil
	b, err := json.Marshal(now.UTC())
	for _, p := range l.Addrs {
		e[keyRest+p.Addr().String()] = b
	}
	return err
}

// apply makes the table what the edit has made of the records on disk.
func (t *table) apply(e edit) error {
	for key, value := range e {
		kind, name, _ := strings.Cut(key, "/")
		switch kind + "/" {
		case keyLease:
			for _, p := range t.leases[name].Addrs {
				delete(t.byAddr, p.Addr())
			}
			delete(t.leases, name)
			delete(t.missing, name)
		case keyRest:
			if a, err := netip.ParseAddr(name); err == nil {
				delete(t.rests, a)
			}
		}
		if value == nil {
			continue
		}
		if err := t.read(key, value); err != nil {
			return fmt.Errorf("record %q: %w", key, err)
		}
	}
	return nil
}
