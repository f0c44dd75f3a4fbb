package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// listen opens a port inside the namespace.
func listen(t *testing.T, ns *linktest.Namespace, at string) net.Listener {
	t.Helper()
	var l net.Listener
	if err := ns.Do(func() (err error) { l, err = net.Listen("tcp", at); return err }); err != nil {
		t.Fatal(err)
	}
	return l
}

// next returns the next change, which comes sooner or later.
func next(t *testing.T, changes <-chan Change) Change {
	t.Helper()
	select {
	case c := <-changes:
		return c
	case <-time.After(time.Minute):
		t.Fatal("no change within a minute")
		panic("not reached")
	}
}

// TestCheckerInNamespaces: two endpoints with the same address, of which one
// listens: each is asked where it lives.
func TestCheckerInNamespaces(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	at := netip.MustParseAddrPort("10.9.0.2:8080")
	for _, h := range lab.Hosts {
		err := h.Do(func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: at.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	served := make(chan struct{})
	l := listen(t, lab.Hosts[0].Namespace, at.String())
	go func() { defer close(served); server.Serve(l) }() //nolint:errcheck // ends with Close

	changes := make(chan Change, 16)
	c := New(Options{Report: func(c Change) { changes <- c }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	check := func(host int, kind Kind) Check {
		return Check{
			Key: fmt.Sprint(host, kind), Namespace: lab.Hosts[host].Namespace, Kind: kind, Target: at,
			Interval: MinInterval, Timeout: 30 * time.Second,
		}
	}
	c.Set([]Check{check(0, HTTP), check(0, TCP), check(1, HTTP), check(1, TCP)})
	for range 4 {
		got := next(t, changes)
		if want := got.Key[0] == '0'; got.Healthy != want {
			t.Errorf("%s: healthy %t (%v), want %t", got.Key, got.Healthy, got.Err, want)
		}
	}

	// The server ends.
	c.Set([]Check{check(0, TCP)})
	server.Close()
	<-served
	if got := next(t, changes); got.Key != "0tcp" || got.Healthy {
		t.Errorf("%+v", got)
	}
	// It is back, and then its namespace is gone.
	l = listen(t, lab.Hosts[0].Namespace, at.String())
	if got := next(t, changes); got.Key != "0tcp" || !got.Healthy {
		t.Errorf("%+v", got)
	}
	l.Close()
	if err := lab.Hosts[0].Delete(); err != nil {
		t.Fatal(err)
	}
	if got := next(t, changes); got.Healthy || got.Err == nil {
		t.Errorf("%+v", got)
	}
	c.Set([]Check{{Key: "late", Namespace: lab.Hosts[0].Namespace, Target: at}})
	if got := next(t, changes); got.Healthy || !errors.Is(got.Err, link.ErrNoNamespace) {
		t.Errorf("a namespace that was never there: %+v", got)
	}
}
