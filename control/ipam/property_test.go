package ipam_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/control/ipam"
)

// disk is storage in memory whose writes can fail, with or without having
// taken place: what a crash during a write leaves.
type disk struct {
	buckets map[string]map[string][]byte
	fail    failure
}

type failure int

const (
	works failure = iota
	failsBefore
	failsAfter
)

var errDisk = errors.New("no space left on device")

func (d *disk) Buckets(prefix string) ([]string, error) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(d.buckets)) {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, nil
}

func (d *disk) ReadBucket(bucket string) (map[string][]byte, error) {
	return maps.Clone(d.buckets[bucket]), nil
}

func (d *disk) UpdateBucket(bucket string, changes map[string][]byte) error {
	if d.fail == failsBefore {
		return errDisk
	}
	b := d.buckets[bucket]
	if b == nil {
		b = map[string][]byte{}
		d.buckets[bucket] = b
	}
	for k, v := range changes {
		if v == nil {
			delete(b, k)
		} else {
			b[k] = slices.Clone(v)
		}
	}
	if len(b) == 0 {
		delete(d.buckets, bucket)
	}
	if d.fail == failsAfter {
		return errDisk
	}
	return nil
}

// TestNoAddressTwice: through failures of the disk, crashes, hand-overs and
// clocks that jump, no address ever has two owners among those that were told
// that it is theirs, and none is picked while it rests.
func TestNoAddressTwice(t *testing.T) {
	const rest = time.Minute
	subnets := []ipam.Subnet{subnet("10.0.0.0/28"), subnet("fd00::/64")}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		d := &disk{buckets: map[string]map[string][]byte{}}
		open := func() *ipam.Allocator {
			a, err := ipam.Open(d, ipam.Options{Rest: rest, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		a := open()
		owner := map[netip.Addr]string{} // as endpoints were told
		releaser := map[netip.Addr]string{}
		released := map[netip.Addr]time.Time{}
		told := map[string][]netip.Prefix{}
		lost := map[string][]netip.Addr{} // asked for, with an answer that did not come
		endpoint := func() string { return fmt.Sprint("e", rapid.IntRange(0, 20).Draw(t, "endpoint")) }
		drawFailure := func() failure {
			if rapid.IntRange(0, 5).Draw(t, "trouble") > 0 {
				return works
			}
			return failure(rapid.IntRange(1, 2).Draw(t, "failure"))
		}
		forget := func(e string) {
			for _, p := range told[e] {
				delete(owner, p.Addr())
				releaser[p.Addr()], released[p.Addr()] = e, now
			}
			delete(told, e)
		}
		// crash is what the agent does when the disk fails: it starts again.
		crash := func() {
			d.fail = works
			a = open()
		}
		t.Repeat(map[string]func(*rapid.T){
			"allocate": func(t *rapid.T) {
				e := endpoint()
				var req ipam.Request
				if rapid.Bool().Draw(t, "ask") {
					req.Wanted = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 16).Draw(t, "addr"))})}
				}
				req.Endpoint = e
				d.fail = drawFailure()
				got, err := a.Allocate("n", subnets, req)
				switch {
				case errors.Is(err, errDisk):
					lost[e] = append(lost[e], req.Wanted...)
					crash()
					return
				case err != nil:
					for _, known := range []error{ipam.ErrTaken, ipam.ErrOutside, ipam.ErrGateway, ipam.ErrReserved, ipam.ErrExhausted, ipam.ErrLeased} {
						if errors.Is(err, known) {
							d.fail = works
							return
						}
					}
					t.Fatal(err)
				}
				d.fail = works
				if before, ok := told[e]; ok && !slices.Equal(before, got) {
					t.Fatalf("%s was told %v, now %v", e, before, got)
				}
				for _, p := range got {
					if o, taken := owner[p.Addr()]; taken && o != e {
						t.Fatalf("%s belongs to %s and is given to %s", p.Addr(), o, e)
					}
					at, was := released[p.Addr()]
					picked := !slices.Contains(req.Wanted, p.Addr()) && !slices.Contains(lost[e], p.Addr())
					// A release that failed on the way leaves the lease.
					if was && picked && releaser[p.Addr()] != e && now.Sub(at) >= 0 && now.Sub(at) < rest {
						t.Fatalf("%s is picked %s after its release", p.Addr(), now.Sub(at))
					}
					owner[p.Addr()] = e
					delete(released, p.Addr())
				}
				delete(lost, e)
				told[e] = got
			},
			"release": func(t *rapid.T) {
				e := endpoint()
				d.fail = drawFailure()
				forget(e) // whoever releases has stopped using it
				if err := a.Release("n", e); errors.Is(err, errDisk) {
					crash()
				} else if err != nil {
					t.Fatal(err)
				}
				d.fail = works
			},
			"reconcile": func(t *rapid.T) {
				gone, err := a.Reconcile("n", func(e string) bool { _, ok := told[e]; return ok }, 10*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range gone {
					if _, ok := told[e]; ok {
						t.Fatalf("%s is live and was released", e)
					}
				}
			},
			"hand over": func(t *rapid.T) {
				data, err := a.Export("n")
				if err != nil {
					t.Fatal(err)
				}
				d = &disk{buckets: map[string]map[string][]byte{}}
				a = open()
				if err := a.Import("n", data); err != nil {
					t.Fatal(err)
				}
			},
			"crash": func(*rapid.T) { crash() },
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				seen := map[netip.Addr]string{}
				for _, l := range a.Leases("n") {
					for _, p := range l.Addrs {
						if o, twice := seen[p.Addr()]; twice {
							t.Fatalf("%s has leases of %s and %s", p.Addr(), o, l.Endpoint)
						}
						seen[p.Addr()] = l.Endpoint
					}
				}
				for addr, e := range owner {
					if seen[addr] != e {
						t.Fatalf("%s was told that it has %s, whose lease is %q's", e, addr, seen[addr])
					}
				}
			},
		})
	})
}

// TestFailedWriteChangesNothing: the allocator's memory is what the disk has.
func TestFailedWriteChangesNothing(t *testing.T) {
	d := &disk{buckets: map[string]map[string][]byte{}}
	a := openAllocator(t, d, ipam.Options{})
	nets := []ipam.Subnet{subnet("10.0.0.0/24")}
	d.fail = failsBefore
	if _, err := a.Allocate("n", nets, ipam.Request{Endpoint: "a"}); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if len(a.Leases("n")) != 0 || len(a.Networks()) != 0 {
		t.Error("a lease that is not on disk")
	}
	d.fail = works
	if got, err := a.Allocate("n", nets, ipam.Request{Endpoint: "b"}); err != nil || text(got) != "10.0.0.2/24" {
		t.Error(text(got), err)
	}
	d.fail = failsBefore
	if err := a.Release("n", "b"); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	if len(a.Leases("n")) != 1 {
		t.Error("a lease went that is still on disk")
	}
}
