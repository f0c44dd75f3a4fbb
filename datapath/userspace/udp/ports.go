package udp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// sourcePorts is how many source ports the tunnel has: what underlay paths and
// receivers' queues can tell its flows apart by. More would spread no better
// over the few of these that there are, and make batches smaller.
const sourcePorts = 16

// sourcePort is one of them. What a flow sends must keep its order, so all of a
// flow goes through one.
type sourcePort struct {
	number uint16
	// alone sends single datagrams, without checksum; trains those with one,
	// for the kernel refuses to cut without.
	alone, trains *socket
}

// openPort binds the sockets of a random port that nobody has. The kernel hands
// out ports of the same range to others.
func openPort(vtep netip.Addr) (p sourcePort, err error) {
	const tries = 100
	var first int
	for i := range tries {
		p.number = encap.MinSourcePort + uint16(rand.IntN(encap.MaxSourcePort-encap.MinSourcePort+1))
		if first, err = bind(netip.AddrPortFrom(vtep, p.number), false, 0); err == nil {
			break
		}
		if !errors.Is(err, unix.EADDRINUSE) || i == tries-1 {
			return p, fmt.Errorf("source port: %w", err)
		}
	}
	if p.alone, err = sending(first, vtep, p.number, false); err != nil {
		return p, err
	}
	second, err := bind(netip.AddrPortFrom(vtep, p.number), true, 0)
	if err == nil {
		p.trains, err = sending(second, vtep, p.number, true)
	}
	if err != nil {
		return p, errors.Join(fmt.Errorf("source port: %w", err), p.close())
	}
	return p, nil
}

// sending makes a socket for sending out of a bound descriptor, which it closes
// where it fails. The descriptor is a blocking one on purpose, and each send says
// MSG_DONTWAIT: the runtime's poller would be woken up by every datagram that
// leaves a socket that it watches.
func sending(fd int, vtep netip.Addr, port uint16, checksum bool) (*socket, error) {
	err := setOptions(fd, sendOptions(vtep, checksum))
	if err == nil {
		err = deafen(fd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("source port %d: %w", port, err), unix.Close(fd))
	}
	return newSocket(fd, fmt.Sprintf("udp %s from port %d", vtep, port))
}

func (p *sourcePort) close() error {
	var errs []error
	for _, s := range []*socket{p.alone, p.trains} {
		if s != nil {
			errs = append(errs, s.file.Close())
		}
	}
	return errors.Join(errs...)
}
