package tap

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// large is a TCP packet of that many bytes as a TAP has it: checksum and
// segmentation still to be done. No stack receives it.
func large(n int) (offload.Header, []byte) {
	f := frame(n, 0)
	copy(f[12:], "\x08\x00\x45\x00")
	f[16], f[17] = byte((n-14)>>8), byte(n-14)
	copy(f[20:], "\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	f[46] = 5 << 4
	return offload.Header{
		Flags: offload.NeedsCsum, GSOType: offload.GSOTCPv4,
		HdrLen: 54, GSOSize: 1400, CsumStart: 34, CsumOffset: 16,
	}, f
}

// BenchmarkDevice writes frames into one TAP, has them redirected to another,
// and reads them there, a batch at a time: what is left of the time is the
// kernel's.
func BenchmarkDevice(b *testing.B) {
	bed := newBed(b)
	d1, d2 := bed.open(b, "tap1"), bed.open(b, "tap2")
	bed.join(b, "tap1", "tap2")
	for _, c := range []struct{ size, batch int }{{60, 1}, {60, 32}, {1514, 32}, {65000, 1}, {65000, 3}} {
		h, f := offload.Header{}, frame(c.size, 0)
		if c.size > 1514 {
			h, f = large(c.size)
		}
		b.Run(fmt.Sprintf("%dx%d", c.batch, c.size), func(b *testing.B) {
			batch, w := NewBatch(), NewWriter()
			b.ReportAllocs()
			b.ResetTimer()
			b.SetBytes(int64(c.size))
			for n := 0; n < b.N; n += c.batch {
				for range c.batch {
					if err := w.Write(d1, h, f); err != nil {
						b.Fatal(err)
					}
				}
				if err := d2.Read(batch); err != nil || len(batch.Frames()) != c.batch {
					b.Fatal(len(batch.Frames()), err)
				}
			}
		})
	}
}

// BenchmarkRead reads what has been queued before, outside of the time that
// counts.
func BenchmarkRead(b *testing.B) {
	bed := newBed(b)
	d1, d2 := bed.open(b, "tap1"), bed.open(b, "tap2")
	bed.join(b, "tap1", "tap2")
	for _, size := range []int{60, 1514, 65000} {
		h, f := offload.Header{}, frame(size, 0)
		if size > 1514 {
			h, f = large(size)
		}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			batch, w := NewBatch(), NewWriter()
			b.ReportAllocs()
			b.ResetTimer()
			b.SetBytes(int64(size))
			for n, queued := 0, 0; n < b.N; {
				if queued == 0 {
					// Not to the last place: the kernel frees those it has read
					// from by the dozen.
					b.StopTimer()
					for queued = 0; queued < min(QueueLen/2, b.N-n); queued++ {
						if err := w.Write(d1, h, f); err != nil {
							b.Fatal(err)
						}
					}
					b.StartTimer()
				}
				if err := d2.Read(batch); err != nil {
					b.Fatal(err)
				}
				n += len(batch.Frames())
				queued -= len(batch.Frames())
			}
		})
	}
}

// BenchmarkRoundTrip is a frame there and back between two goroutines, each of
// which waits for it: through the runtime's poller, as Read does, and on a
// thread of its own that waits in the kernel.
func BenchmarkRoundTrip(b *testing.B) {
	bed := newBed(b)
	for name, own := range map[string]bool{"poller": false, "thread": true} {
		b.Run(name, func(b *testing.B) {
			d1, d2 := bed.open(b, "tap1-"+name), bed.open(b, "tap2-"+name)
			bed.join(b, d1.Name(), d2.Name())
			done := make(chan struct{})
			go func() {
				defer close(done)
				echo(d2, own, -1)
			}()
			b.ReportAllocs()
			b.ResetTimer()

			if err := NewWriter().Write(d1, offload.Header{}, frame(60, 1)); err != nil {
				b.Fatal(err)
			}
			echo(d1, own, b.N)
			b.StopTimer()
			_ = NewWriter().Write(d1, offload.Header{}, frame(15, 1)) // the end
			<-done
		})
	}
}

// echo sends back what it reads, that many times or until a short frame comes.
func echo(d *Device, own bool, times int) {
	if own {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	batch, w := NewBatch(), NewWriter()
	var fds []unix.PollFd
	_ = d.conn.Control(func(fd uintptr) { fds = []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} })
	for n := 0; times < 0 || n < times; n++ {
		if own {
			batch.Reset()
			for !batch.fill(uintptr(fds[0].Fd)) {
				_, _ = unix.Ppoll(fds, nil, nil)
			}
		} else if d.Read(batch) != nil {
			return
		}
		f := batch.Frames()[0]
		if len(f.Data) == 15 {
			return
		}
		if n == times-1 {
			return
		}
		_ = w.Write(d, f.Header, f.Data)
	}
}
