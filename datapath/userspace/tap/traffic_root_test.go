package tap

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// Frames come out of either end as they went into the other.
func TestFramesAreUntouched(t *testing.T) {
	b := newBed(t)
	vm := b.vm(t, "vm1")
	d := b.open(t, "tap1")
	b.join(t, "vm1", "tap1")
	group := frame(80, 4)
	copy(group, "\x01\x80\xc2\x00\x00\x00") // which a bridge would eat
	tagged := frame(90, 5)
	copy(tagged[12:], "\x81\x00\x60\x05\x08\x06")
	twice := frame(94, 6)
	copy(twice[12:], "\x88\xa8\x20\x07\x81\x00\x0f\xff\x86\xdd")
	untaggedVLAN0 := frame(64, 7)
	copy(untaggedVLAN0[12:], "\x81\x00\xe0\x00\x08\x00")
	frames := [][]byte{frame(14, 1), frame(15, 1), frame(60, 2), frame(1514, 3), group, tagged, twice, untaggedVLAN0, frame(9014, 8)}
	w := NewWriter()
	buf := make([]byte, 1<<16)
	for i, f := range frames {
		if _, err := vm.Write(f); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		got := read(t, d, 1)[0]
		if !bytes.Equal(got.Data, f) || got.Header != (offload.Header{}) {
			t.Errorf("frame %d is read with %+v:\n% x\nwant\n% x", i, got.Header, head(got.Data), head(f))
		}
		if err := w.Write(d, offload.Header{}, f[:14], nil, f[14:]); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		_ = vm.SetReadDeadline(time.Now().Add(wait))
		n, err := vm.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], f) {
			t.Errorf("frame %d is written, %v:\n% x\nwant\n% x", i, err, head(buf[:n]), head(f))
		}
	}
}

func head(b []byte) []byte { return b[:min(len(b), 100)] }

// What was queued together comes in one batch, with room before each frame.
func TestBatchesAndPieces(t *testing.T) {
	b := newBed(t)
	vm := b.vm(t, "vm1")
	d := b.open(t, "tap1")
	b.join(t, "vm1", "tap1")
	for i := range maxFrames + 1 {
		if _, err := vm.Write(frame(60+i, byte(i))); err != nil {
			t.Fatal(err)
		}
	}
	batch := NewBatch()
	for _, want := range []int{maxFrames, 1} {
		if err := d.Read(batch); err != nil {
			t.Fatal(err)
		}
		if len(batch.Frames()) != want {
			t.Errorf("%d frames in a batch, want %d", len(batch.Frames()), want)
		}
	}
	w := NewWriter()
	const maxPieces = 1023
	f := frame(maxPieces, 1)
	var pieces [][]byte
	for i := range f {
		pieces = append(pieces, f[i:i+1])
	}
	if err := w.Write(d, offload.Header{}, pieces...); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	_ = vm.SetReadDeadline(time.Now().Add(wait))
	if n, err := vm.Read(buf); err != nil || !bytes.Equal(buf[:n], f) {
		t.Errorf("%d pieces: %v, %d bytes", len(pieces), err, n)
	}
	for name, c := range map[string]struct {
		h      offload.Header
		pieces [][]byte
	}{
		"too many pieces":     {offload.Header{}, append(pieces, f[:1])},
		"short":               {offload.Header{}, [][]byte{f[:13]}},
		"checksum outside":    {offload.Header{Flags: offload.NeedsCsum, CsumStart: 2000}, [][]byte{f}},
		"unknown kind of GSO": {offload.Header{GSOType: 77, GSOSize: 1}, [][]byte{f}},
	} {
		if err := w.Write(d, c.h, c.pieces...); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.Write(d, offload.Header{}, f); err != nil {
		t.Errorf("after one that was refused: %v", err)
	}
}

// A real TCP connection over two endpoints: large packets without checksums are
// read, and written again reach the receiver. Nothing is said by the devices
// themselves.
func TestLargeSegments(t *testing.T) {
	b := newBed(t)
	for name, c := range map[string]struct {
		letter, from, to string
		gso              uint8
	}{
		"IPv4": {"4", "10.0.0.1/24", "10.0.0.2/24", offload.GSOTCPv4},
		"IPv6": {"6", "fd00::1/64", "fd00::2/64", offload.GSOTCPv6},
	} {
		t.Run(name, func(t *testing.T) {
			ns1, d1 := b.endpoint(t, "a"+c.letter, c.from)
			ns2, d2 := b.endpoint(t, "b"+c.letter, c.to)
			var large atomic.Int64
			var longest atomic.Int64
			splice(t, d1, d2, func(f offload.Frame) {
				if f.GSOType&^offload.GSOECN == c.gso && f.Flags&offload.NeedsCsum != 0 {
					large.Add(1)
					longest.Store(max(longest.Load(), int64(len(f.Data))))
				}
			})
			addr, _, _ := strings.Cut(c.to, "/")
			transfer(t, ns1, ns2, addr)
			if large.Load() == 0 || longest.Load() < 32<<10 {
				t.Errorf("%d large packets were seen, of up to %d bytes", large.Load(), longest.Load())
			}
		})
	}
}

// transfer sends random bytes over TCP from one namespace to another.
func transfer(t *testing.T, from, to *linktest.Namespace, addr string) {
	t.Helper()
	sent := make([]byte, 16<<20)
	_, _ = rand.Read(sent)
	var listener net.Listener
	err := to.Do(func() (err error) { listener, err = net.Listen("tcp", net.JoinHostPort(addr, "5001")); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		err := from.Do(func() error {
			c, err := net.DialTimeout("tcp", listener.Addr().String(), wait)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write(sent)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(2 * wait))
	c, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(4 * wait))
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came, %v", len(got), len(sent), err)
	}
}

// A read that waits ends when the device is closed, and when it is removed.
func TestReadEnds(t *testing.T) {
	b := newBed(t)
	for name, c := range map[string]struct {
		end  func(d *Device) error
		want error
	}{
		"closed":  {(*Device).Close, os.ErrClosed},
		"removed": {func(d *Device) error { return b.host.Do(func() error { return Remove(d.Name()) }) }, link.ErrNoDevice},
	} {
		d := b.open(t, "tap-"+name)
		errs := make(chan error)
		go func() { errs <- d.Read(NewBatch()) }()
		time.Sleep(20 * time.Millisecond) // let it wait; sooner is good as well
		if err := c.end(d); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-errs:
			if !errors.Is(err, c.want) {
				t.Errorf("%s while it waits: %v", name, err)
			}
		case <-time.After(wait):
			t.Fatalf("%s, and Read waits", name)
		}
		if err := d.Read(NewBatch()); !errors.Is(err, c.want) {
			t.Errorf("read when %s: %v", name, err)
		}
		if err := NewWriter().Write(d, offload.Header{}, frame(60, 1)); !errors.Is(err, c.want) {
			t.Errorf("write when %s: %v", name, err)
		}
	}
}

// Several writers, each frame whole.
func TestWritersAtOnce(t *testing.T) {
	b := newBed(t)
	vm := b.vm(t, "vm1")
	d := b.open(t, "tap1")
	b.join(t, "vm1", "tap1")
	const writers, each = 4, 100
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			w := NewWriter()
			f := frame(60+i, byte(i))
			for range each {
				if err := w.Write(d, offload.Header{}, f[:20], f[20:]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[string]int{}
	buf := make([]byte, 1<<12)
	for n := 0; n < writers*each; n++ {
		_ = vm.SetReadDeadline(time.Now().Add(wait))
		size, err := vm.Read(buf)
		if err != nil {
			t.Fatalf("after %d frames: %v", n, err)
		}
		seen[string(buf[:size])]++
	}
	wg.Wait()
	for i := range writers {
		if n := seen[string(frame(60+i, byte(i)))]; n != each {
			t.Errorf("writer %d: %d frames, want %d", i, n, each)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	b := newBed(t)
	d1, d2 := b.open(t, "tap1"), b.open(t, "tap2")
	b.join(t, "tap1", "tap2")
	batch, w := NewBatch(), NewWriter()
	f := frame(60, 1)
	n := testing.AllocsPerRun(200, func() {
		for range 5 {
			if err := w.Write(d1, offload.Header{}, f[:14], f[14:]); err != nil {
				t.Fatal(err)
			}
		}
		if err := d2.Read(batch); err != nil || len(batch.Frames()) != 5 {
			t.Fatal(len(batch.Frames()), err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
