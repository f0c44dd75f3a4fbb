package tap

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// wait is how long something may take that happens at once.
const wait = 5 * time.Second

// bed is a host with endpoints, each a veth pair whose host end is joined with a
// TAP by redirects.
type bed struct {
	lab  *linktest.Lab
	host *linktest.Host
}

func newBed(t testing.TB) *bed {
	t.Helper()
	linktest.NeedRoot(t.(interface {
		Helper()
		Fatal(...any)
		Skip(...any)
	}))
	lab := linktest.New(t, linktest.Options{Hosts: 1})
	return &bed{lab, lab.Hosts[0]}
}

// on runs fn in the host's namespace.
func (b *bed) on(t testing.TB, fn func() error) {
	t.Helper()
	if err := b.host.Do(fn); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) open(t testing.TB, name string) (d *Device) {
	t.Helper()
	b.on(t, func() (err error) { d, err = Open(name); return err })
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func run(t testing.TB, ns *linktest.Namespace, name string, args ...string) string {
	t.Helper()
	out, err := ns.Command(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// endpoint makes a veth into a namespace, as eth0 with that address, and the
// TAP that stands for it.
func (b *bed) endpoint(t testing.TB, letter, addr string) (*linktest.Namespace, *Device) {
	t.Helper()
	ns := b.lab.Endpoint(letter)
	veth := "veth-" + letter
	run(t, b.host.Namespace, "ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", ns.Name)
	for _, n := range []struct {
		ns  *linktest.Namespace
		dev string
	}{{b.host.Namespace, veth}, {ns, "eth0"}} {
		run(t, n.ns, "ip", "link", "set", n.dev, "addrgenmode", "none", "up")
	}
	add := []string{"addr", "add", addr, "dev", "eth0"}
	if strings.Contains(addr, ":") {
		add = append(add, "nodad")
	}
	run(t, ns, "ip", add...)
	d := b.open(t, "tap-"+letter)
	b.join(t, veth, d.Name())
	return ns, d
}

func (b *bed) join(t testing.TB, x, y string) {
	t.Helper()
	b.on(t, func() error {
		_, err1 := link.EnsureRedirect(x, y)
		_, err2 := link.EnsureRedirect(y, x)
		return errors.Join(err1, err2)
	})
}

// read takes batches until n frames are there.
func read(t testing.TB, d *Device, n int) []offload.Frame {
	t.Helper()
	stop := time.AfterFunc(wait, func() { _ = d.file.SetReadDeadline(time.Now()) })
	defer stop.Stop()
	b := NewBatch()
	var frames []offload.Frame
	for len(frames) < n {
		if err := d.Read(b); err != nil {
			t.Fatalf("after %d of %d frames: %v", len(frames), n, err)
		}
		for _, f := range b.Frames() {
			frames = append(frames, offload.Frame{Header: f.Header, Data: slices.Clone(f.Data)})
		}
	}
	return frames
}

// splice carries frames between two devices both ways, until they are closed,
// and calls see for each.
func splice(t testing.TB, a, b *Device, see func(offload.Frame)) {
	var wg sync.WaitGroup
	pump := func(to, from *Device) {
		defer wg.Done()
		batch, w := NewBatch(), NewWriter()
		for from.Read(batch) == nil {
			for _, f := range batch.Frames() {
				see(f)
				_ = w.Write(to, f.Header, f.Data) // one that is refused is lost
			}
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

// vm is the other end of a TAP that has no vnet_hdr: bytes in, bytes out.
func (b *bed) vm(t testing.TB, name string) *os.File {
	t.Helper()
	run(t, b.host.Namespace, "ip", "tuntap", "add", "dev", name, "mode", "tap")
	run(t, b.host.Namespace, "sysctl", "-qw", "net.ipv6.conf."+name+".disable_ipv6=1")
	run(t, b.host.Namespace, "ip", "link", "set", name, "up")
	var f *os.File
	b.on(t, func() (err error) { f, err = attachRaw(name, unix.IFF_TAP|unix.IFF_NO_PI); return err })
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func attachRaw(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), cloneDevice), nil
}

// frame is an Ethernet frame of a type that no stack answers, n bytes long.
func frame(n int, tag byte) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = byte(i)*7 ^ tag
	}
	copy(f, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x88\xb5")
	return f
}
