package tap

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// shown is what `ip -j` tells of a device.
type shown struct {
	Flags     []string
	MTU       int
	Qdisc     string
	TxQLen    int
	OperState string
	AddrInfo  []any `json:"addr_info"`
	LinkInfo  struct {
		Data struct {
			Persist bool
			VnetHdr bool `json:"vnet_hdr"`
		} `json:"info_data"`
	}
}

func (b *bed) show(t *testing.T, name string) shown {
	t.Helper()
	var s []shown
	if err := json.Unmarshal([]byte(run(t, b.host.Namespace, "ip", "-d", "-j", "addr", "show", "dev", name)), &s); err != nil {
		t.Fatal(err)
	}
	return s[0]
}

func TestOpen(t *testing.T) {
	b := newBed(t)
	d := b.open(t, "tap1")
	s := b.show(t, "tap1")
	if s.MTU != 65521 || s.Qdisc != "noqueue" || s.TxQLen != QueueLen || len(s.AddrInfo) != 0 ||
		!strings.Contains(strings.Join(s.Flags, " "), "LOWER_UP") || !s.LinkInfo.Data.Persist || !s.LinkInfo.Data.VnetHdr {
		t.Errorf("after Open: %+v", s)
	}
	if d.Name() != "tap1" || !d.USO() {
		t.Errorf("name %q, USO %v", d.Name(), d.USO())
	}
	features := run(t, b.host.Namespace, "ethtool", "-k", "tap1")
	for _, f := range []string{"tx-checksumming", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-udp-segmentation"} {
		if !strings.Contains(features, f+": on") {
			t.Errorf("%s is not on:\n%s", f, features)
		}
	}
	size, err := unix.IoctlGetInt(fdOf(t, d), unix.TUNGETVNETHDRSZ)
	if err != nil || size != offload.HeaderLen {
		t.Errorf("headers of %d bytes, %v", size, err)
	}

	b.on(t, func() error {
		if _, err := Open("tap1"); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "tap1") {
			t.Errorf("opened twice: %v", err)
		}
		return nil
	})
	_ = d.Close()
	if err := d.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	before := run(t, b.host.Namespace, "ip", "-o", "link", "show", "dev", "tap1")
	index, _, _ := strings.Cut(before, ":")
	b.open(t, "tap1")
	if after := run(t, b.host.Namespace, "ip", "-o", "link", "show", "dev", "tap1"); !strings.HasPrefix(after, index+":") {
		t.Errorf("the device did not persist: %s\nwas %s", after, before)
	}
	b.on(t, func() error {
		if err := errors.Join(Remove("tap1"), Remove("tap1")); err != nil {
			t.Error(err)
		}
		found, err := link.Exists("tap1")
		if found {
			t.Error("tap1 is still there")
		}
		return err
	})
}

// What somebody else has made of the device is put right.
func TestOpenSettles(t *testing.T) {
	b := newBed(t)
	run(t, b.host.Namespace, "ip", "tuntap", "add", "dev", "tap1", "mode", "tap", "vnet_hdr")
	run(t, b.host.Namespace, "ip", "link", "set", "tap1", "mtu", "1400", "txqueuelen", "10", "up")
	run(t, b.host.Namespace, "tc", "qdisc", "replace", "dev", "tap1", "root", "pfifo")
	b.open(t, "tap1")
	if s := b.show(t, "tap1"); s.MTU != 65521 || s.Qdisc != "noqueue" || s.TxQLen != QueueLen {
		t.Errorf("after Open: %+v", s)
	}
}

func TestOpenIsRefused(t *testing.T) {
	b := newBed(t)
	for _, line := range []string{
		"link add br1 type bridge", "tuntap add dev tun1 mode tun", "tuntap add dev many1 mode tap multi_queue",
	} {
		run(t, b.host.Namespace, "ip", strings.Fields(line)...)
	}
	for name, want := range map[string]error{
		"br1": link.ErrNotTAP, "tun1": link.ErrNotTAP, "many1": unix.EINVAL, "": link.ErrName, "a/b": link.ErrName,
	} {
		b.on(t, func() error {
			if _, err := Open(name); !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
				t.Errorf("Open(%q): %v, want %v", name, err, want)
			}
			return nil
		})
	}
	b.on(t, func() error {
		if err := Remove("br1"); !errors.Is(err, link.ErrNotTAP) {
			t.Errorf("Remove(br1): %v", err)
		}
		return nil
	})
	run(t, b.host.Namespace, "ip", "link", "show", "br1")
}

// Where the device cannot be made, it is said why, and no descriptor is lost.
func TestOpenWithoutPermission(t *testing.T) {
	b := newBed(t)
	b.on(t, func() error {
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&h, &caps[0]); err != nil {
			return err
		}
		caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&h, &caps[0]); err != nil { // this thread's alone, which ends with on
			return err
		}
		if _, err := Open("tap1"); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("without CAP_NET_ADMIN: %v", err)
		}
		return nil
	})
}

func TestAdoptRefuses(t *testing.T) {
	b := newBed(t)
	d := b.open(t, "tap1")
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	bare := b.vm(t, "tap2")
	b.on(t, func() error {
		for _, c := range []struct {
			name string
			file *os.File
			want string
		}{
			{"tap9", d.File(), "tap1"}, {"tap1", null, "no TAP"}, {"tap2", bare, "opened otherwise"},
		} {
			if _, err := Adopt(c.name, c.file); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Adopt(%s): %v, want %q", c.name, err, c.want)
			}
		}
		return nil
	})
	elsewhere := b.lab.Endpoint("x")
	err = elsewhere.Do(func() error { _, err := Adopt("tap1", d.File()); return err })
	if err == nil || !strings.Contains(err.Error(), "another network namespace") {
		t.Errorf("from elsewhere: %v", err)
	}
	b.on(t, func() error {
		if err := Remove("tap1"); err != nil {
			return err
		}
		if _, err := Adopt("tap1", d.File()); !errors.Is(err, link.ErrNoDevice) {
			t.Errorf("of a removed device: %v", err)
		}
		return nil
	})
}

// Nothing of the queue is lost when another takes the descriptor over, and no
// place of it.
func TestAdoptKeepsFrames(t *testing.T) {
	b := newBed(t)
	vm := b.vm(t, "vm1")
	old := b.open(t, "tap1")
	b.join(t, "vm1", "tap1")
	for i := range 100 {
		if _, err := vm.Write(frame(60, byte(i))); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.FcntlInt(uintptr(fdOf(t, old)), unix.F_DUPFD_CLOEXEC, 0) // as a new process gets it
	if err != nil {
		t.Fatal(err)
	}
	_ = old.Close()
	var d *Device
	handed := os.NewFile(uintptr(fd), "handed over")
	b.on(t, func() (err error) { d, err = Adopt("tap1", handed); return err })
	defer d.Close()
	if _, err := handed.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the descriptor that was handed over is open: %v", err)
	}
	for i, f := range read(t, d, 100) {
		if string(f.Data) != string(frame(60, byte(i))) {
			t.Errorf("frame %d: % x", i, f.Data)
		}
	}
	if _, err := vm.Write(frame(60, 1)); err != nil {
		t.Fatal(err)
	}
	read(t, d, 1)
}

// A device that was closed for a while takes frames as soon as it is open again.
func TestOpenTakesFrames(t *testing.T) {
	b := newBed(t)
	vm := b.vm(t, "vm1")
	_ = b.open(t, "tap1").Close()
	b.join(t, "vm1", "tap1")
	for range 10 {
		var d *Device
		b.on(t, func() (err error) {
			if d, err = Open("tap1"); err == nil {
				_, err = vm.Write(frame(60, 1))
			}
			return err
		})
		read(t, d, 1)
		_ = d.Close()
		for end := time.Now().Add(wait); b.show(t, "tap1").OperState != "DOWN" && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func TestDropsAreCounted(t *testing.T) {
	b := newBed(t)
	vm := b.vm(t, "vm1")
	d := b.open(t, "tap1")
	b.join(t, "vm1", "tap1")
	var drops *link.DropCounter
	b.on(t, func() (err error) { drops, err = link.OpenDropCounter(); return err })
	defer drops.Close()
	const more = 10
	for range QueueLen + more {
		if _, err := vm.Write(frame(60, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := drops.TXDropped(); err != nil || n["tap1"] != more {
		t.Errorf("dropped %v, %v, want %d", n, err, more)
	}
	read(t, d, QueueLen)
	if err := errors.Join(drops.Close(), drops.Close()); err != nil {
		t.Error(err)
	}
	if _, err := drops.TXDropped(); err == nil {
		t.Error("counts when it is closed")
	}
}

func fdOf(t *testing.T, d *Device) (fd int) {
	t.Helper()
	if err := d.conn.Control(func(n uintptr) { fd = int(n) }); err != nil {
		t.Fatal(err)
	}
	return fd
}
