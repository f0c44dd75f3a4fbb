package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// tapEndpoint is a TAP port and the open file behind it, where a virtual
// machine would be.
type tapEndpoint struct {
	host *bedHost
	port datapath.Port
	file *os.File
}

func (e *tapEndpoint) addr() netip.Addr { return e.port.Addrs[0] }

// attachTAP makes a TAP on a host and a port of it. Call connect when all
// are there.
func (b *bed) attachTAP(t *testing.T, host int, vni encap.VNI, addr string) *tapEndpoint {
	t.Helper()
	return b.attachTAPFlags(t, host, vni, addr, 0)
}

// attachTAPFlags opens the TAP with more flags of TUNSETIFF.
func (b *bed) attachTAPFlags(t *testing.T, host int, vni encap.VNI, addr string, flags uint16) *tapEndpoint {
	t.Helper()
	h := b.hosts[host]
	n := h.network(vni, b.mtu)
	name := "tap" + strconv.Itoa(len(n.Ports)+1)
	e := &tapEndpoint{host: h, port: datapath.Port{
		Device: name, Kind: datapath.TAP,
		MAC:   encap.MAC{2, byte(vni >> 8), byte(vni), 1, byte(host + 1), byte(len(n.Ports) + 1)},
		Addrs: []netip.Addr{netip.MustParseAddr(addr)},
	}}
	e.file = newTAP(t, h.Namespace, name, b.mtu, flags)
	n.Ports = append(n.Ports, e.port)
	return e
}

// newTAP makes a TAP of a namespace, up, and opens it.
func newTAP(t *testing.T, ns *linktest.Namespace, name string, mtu int, flags uint16) (f *os.File) {
	t.Helper()
	run(t, ns, "ip", "tuntap", "add", "dev", name, "mode", "tap")
	err := ns.Do(func() (err error) {
		f, err = openTAP(name, flags)
		return err
	})
	if err != nil {
		t.Fatalf("open TAP %s: %v", name, err)
	}
	t.Cleanup(func() { _ = f.Close() })
	run(t, ns, "sysctl", "-q", "net.ipv6.conf."+name+".disable_ipv6=1")
	run(t, ns, "ip", "link", "set", name, "mtu", strconv.Itoa(mtu), "up")
	return f
}

func openTAP(name string, flags uint16) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = func() error {
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return err
		}
		if flags&unix.IFF_VNET_HDR == 0 {
			return nil
		}
		if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, takesTCP|takesUDP) == nil {
			return nil
		}
		return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, takesTCP)
	}()
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// send writes one frame, as the virtual machine would.
func (e *tapEndpoint) send(t *testing.T, frame []byte) {
	t.Helper()
	if _, err := e.file.Write(frame); err != nil {
		t.Fatalf("write %d bytes to %s: %v", len(frame), e.port.Device, err)
	}
}

// heard returns what the TAP was given since the last call, and waits a little
// for the first frame and for more.
func (e *tapEndpoint) heard(t *testing.T) [][]byte {
	t.Helper()
	var frames [][]byte
	buf := make([]byte, 1<<17)
	for wait := listenFor; ; wait = listenForMore {
		if err := e.file.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		n, err := e.file.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return frames
		}
		if err != nil {
			t.Fatalf("read %s: %v", e.port.Device, err)
		}
		frames = append(frames, append([]byte(nil), buf[:n]...))
	}
}

// inhabit gives the TAP a network stack behind it: an eth0 in a namespace,
// itself a TAP, whose frames go to and fro between the two.
func (e *tapEndpoint) inhabit(t *testing.T, b *bed, subnet int, flags uint16) *linktest.Namespace {
	t.Helper()
	ns := b.lab.Endpoint(fmt.Sprintf("vm-%d-%s", slices.Index(b.hosts, e.host)+1, e.port.Device))
	inner := newTAP(t, ns, "eth0", b.mtu, flags)
	run(t, ns, "ip", "link", "set", "eth0", "address", e.port.MAC.String())
	run(t, ns, "ip", "addr", "add", e.addr().String()+"/"+strconv.Itoa(subnet), "dev", "eth0")

	connectTAPs(t, inner, e.file)
	return ns
}

// connectTAPs carries frames between two open TAPs, until they are closed.
func connectTAPs(t *testing.T, a, b *os.File) {
	var wg sync.WaitGroup
	pump := func(to, from *os.File) {
		defer wg.Done()
		buf := make([]byte, 1<<17)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return // closed
			}
			_, _ = to.Write(buf[:n]) // a frame that is refused is lost
		}
	}
	wg.Add(2)
	go pump(a, b)
	go pump(b, a)
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
		wg.Wait()
	})
}
