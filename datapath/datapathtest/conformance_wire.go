package datapathtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// wire is the suite's end of a place. Frames go by it one at a time, whole,
// with their 802.1Q tags where they are on the wire.
type wire struct {
	at  Place
	fd  int
	tap bool
	// uncut takes packets that are still to be cut, each behind a virtio header.
	// -1: there is no such way.
	uncut int
}

// maxFrame is more than any interface of a lab takes.
const maxFrame = 1 << 17

// openPacket opens a packet socket on a device of the calling thread's
// namespace. It hears what the device receives, whomever it is addressed to.
func openPacket(at Place, device string) (*wire, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("%s: interface %s: %w", at, device, err)
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: packet socket: %w", at, err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s: packet socket on %s: %w", at, device, err)
	}
	uncut, err := openUncut(i.Index)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s: packet socket on %s: %w", at, device, err)
	}
	return &wire{at: at, fd: fd, uncut: uncut}, nil
}

// openUncut opens a packet socket that only sends.
func openUncut(ifindex int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openTAP opens a TAP interface of the calling thread's namespace, as the
// virtual machine behind it would.
func openTAP(at Place, device string) (*wire, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: open TAP: %w", at, err)
	}
	ifr, err := unix.NewIfreq(device)
	if err == nil {
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s: TAP %s: %w", at, device, err)
	}
	return &wire{at: at, fd: fd, tap: true, uncut: -1}, nil
}

func (w *wire) close() {
	_ = unix.Close(w.fd)
	if w.uncut >= 0 {
		_ = unix.Close(w.uncut)
	}
}

// send puts a frame on the wire.
func (w *wire) send(frame []byte) error { return w.write(w.fd, frame) }

// errUncut is of kernels before Linux 6.2.
var errUncut = errors.New("the kernel takes no UDP that is to be cut from others than its own sockets")

// sendUncut puts a packet on the wire that is still to be cut into segments of that
// size.
func (w *wire) sendUncut(frame []byte, size int) error {
	err := w.write(w.uncut, virtio(frame, size))
	if _, _, protocol := upperHeader(frame); errors.Is(err, unix.EINVAL) && protocol == layers.IPProtocolUDP {
		return errUncut
	}
	return err
}

// write waits for room if need be.
func (w *wire) write(fd int, frame []byte) error {
	for {
		_, err := unix.Write(fd, frame)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
			if err != nil {
				return fmt.Errorf("%s: send %d bytes: %w", w.at, len(frame), err)
			}
			return nil
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if _, err := unix.Poll(fds, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("%s: wait to send: %w", w.at, err)
		}
	}
}

// receive returns the next frame, or nil if there is none now. It may be kept.
func (w *wire) receive(buf []byte) ([]byte, error) {
	var n int
	var tag []byte
	var err error
	if w.tap {
		n, err = unix.Read(w.fd, buf)
	} else {
		var oob [128]byte
		var oobn int
		n, oobn, _, _, err = unix.Recvmsg(w.fd, buf, oob[:], 0)
		if err == nil {
			tag, err = tagOf(oob[:oobn])
		}
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: receive: %w", w.at, err)
	}
	const addresses = 12
	if n < addresses {
		return nil, fmt.Errorf("%s: received %d bytes, which is no frame", w.at, n)
	}
	out := make([]byte, 0, n+len(tag))
	out = append(append(out, buf[:addresses]...), tag...)
	return append(out, buf[addresses:n]...), nil
}

// tagOf returns the tag that the kernel has taken off a frame.
func tagOf(oob []byte) ([]byte, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA {
			continue
		}
		aux := *(*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0]))
		if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
			tag := binary.BigEndian.AppendUint16(nil, aux.Vlan_tpid)
			return binary.BigEndian.AppendUint16(tag, aux.Vlan_tci), nil
		}
	}
	return nil, nil
}

// onOneCPU keeps the calling goroutine on one CPU until the function that it
// returns is called, so that the frames it sends keep their order: each CPU has
// queues of its own.
func onOneCPU(t *testing.T) func() {
	t.Helper()
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatalf("CPUs to run on: %v", err)
	}
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatalf("run on one CPU: %v", err)
	}
	return func() {
		if err := unix.SchedSetaffinity(0, &all); err != nil {
			t.Errorf("run on all CPUs again: %v", err)
		}
		runtime.UnlockOSThread()
	}
}

// wait returns when one of the wires has a frame, or after a while.
func wait(wires []*wire, d time.Duration) error {
	fds := make([]unix.PollFd, len(wires))
	for i, w := range wires {
		fds[i] = unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN}
	}
	if _, err := unix.Poll(fds, int(d.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for frames: %w", err)
	}
	return nil
}
