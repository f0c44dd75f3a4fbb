package contender

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// fill gives both hosts two entries for each remote, as Docker Swarm does: the
// MAC's VTEP in the device's forwarding table, and the address's MAC among the
// device's neighbours. There is no control plane that would have to bring them
// there first.
func (k *kernelVXLAN) fill(lab *linktest.Lab) error {
	if k.remotes == 0 {
		return nil
	}
	start := time.Now()
	vtep := lab.Hosts[2].Addr.As4()
	for i, end := range k.ends {
		b := &neighBatch{}
		addr := grownSubnet.Addr().As4()
		for n := range k.remotes {
			// The second half of the subnet.
			binary.BigEndian.PutUint32(addr[:], binary.BigEndian.Uint32(grownSubnet.Addr().AsSlice())|1<<17|uint32(n))
			mac := net.HardwareAddr{2, 1, addr[0], addr[1], addr[2], addr[3]}
			b.add(&netlink.Ndmsg{
				Family: unix.AF_BRIDGE, Index: uint32(end.vxlan.Attrs().Index),
				State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, Flags: netlink.NTF_SELF,
			}, vtep[:], mac)
			b.add(&netlink.Ndmsg{
				Family: unix.AF_INET, Index: uint32(end.vxlan.Attrs().Index), State: netlink.NUD_PERMANENT,
			}, addr[:], mac)
		}
		if err := end.host.Do(b.send); err != nil {
			return fmt.Errorf("host %d: %w", i+1, err)
		}
	}
	k.filled = time.Since(start)
	return nil
}

// Filled implements Grown.
func (k *kernelVXLAN) Filled() time.Duration { return k.filled }

// Rest implements Grown: nothing runs.
func (*kernelVXLAN) Rest(context.Context) error { return nil }

// neighBatch adds neighbour entries, many with one call: one call each, which
// is what package netlink does, would take minutes.
type neighBatch struct {
	messages [][]byte
}

// add appends an entry.
func (b *neighBatch) add(m *netlink.Ndmsg, dst, mac []byte) {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	req.AddData(m)
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, dst))
	req.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, mac))
	b.messages = append(b.messages, req.Serialize())
}

// neighsPerCall keeps a call below a socket's send buffer.
const neighsPerCall = 500

// send hands the messages to the namespace that the calling thread is in. The
// last of each call asks for an answer; an entry that is refused gives one
// unasked, before that.
func (b *neighBatch) send() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer unix.Close(fd)
	wait := unix.Timeval{Sec: 10}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	for rest := b.messages; len(rest) > 0; {
		n := min(len(rest), neighsPerCall)
		var call []byte
		for i, m := range rest[:n] {
			if i == n-1 {
				flags := binary.NativeEndian.Uint16(m[6:])
				binary.NativeEndian.PutUint16(m[6:], flags|unix.NLM_F_ACK)
			}
			call = append(call, m...)
		}
		if err := unix.Sendto(fd, call, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("netlink: send: %w", err)
		}
		if err := netlinkAnswer(fd); err != nil {
			return fmt.Errorf("add neighbour entries: %w", err)
		}
		rest = rest[n:]
	}
	return nil
}

// netlinkAnswer reads the first answer: 0 from the last message, or the error
// of one before it.
func netlinkAnswer(fd int) error {
	buf := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink: unexpected answer")
	}
	if errno := int32(binary.NativeEndian.Uint32(buf[unix.NLMSG_HDRLEN:])); errno != 0 {
		return unix.Errno(-errno)
	}
	return nil
}
