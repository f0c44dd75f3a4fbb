package link

import (
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What the kernel puts off is done within milliseconds, longer only where it is
// very busy with other devices.
const (
	readyLimit = time.Second
	readyPause = time.Millisecond
)

// awaitReady returns when the inner end takes packets to each of its addresses.
// The kernel does a part of what it was asked for later: it starts the device's
// queues after it has seen the carrier, and an IPv6 address is the host's own
// only after a look whether it is to be checked for duplicates, which it is not.
// What comes before that is lost, neighbour solicitations too, and so takes a
// second. An end that is not ready at last is no error: it will be.
func (s *InnerSpec) awaitReady() error {
	return s.Namespace.Do(func() error {
		for end := time.Now().Add(readyLimit); ; time.Sleep(readyPause) {
			ready, err := s.ready()
			if ready || err != nil || time.Now().After(end) {
				return err
			}
		}
	})
}

func (s *InnerSpec) ready() (bool, error) {
	d, err := byName(s.IfName)
	if err != nil {
		return false, err
	}
	if d.Attrs().OperState != netlink.OperUp {
		return false, nil
	}
	for _, p := range s.Addrs {
		if p.Addr().Is4() {
			continue // is there when it has been added
		}
		routes, err := netlink.RouteGet(net.IP(p.Addr().AsSlice()))
		if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_LOCAL {
			return false, nil
		}
	}
	return true, nil
}
