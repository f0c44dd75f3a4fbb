package udp

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// What the tunnel costs on the loopback, the kernel's way from socket to socket
// included. Where nothing reads, the receive queue is full after a moment, and
// what is measured is sending alone.

func BenchmarkSend(b *testing.B) {
	for _, c := range []struct {
		name   string
		length int
		batch  int
		hash   func(i int) uint32
	}{
		{"64bytes/alone", 64, 1, func(int) uint32 { return 0 }},
		{"64bytes/flows", 64, 64, func(i int) uint32 { return uint32(i) * 7 }},
		{"64bytes/train", 64, 64, func(int) uint32 { return 0 }},
		{"1450bytes/train", 1450, 45, func(int) uint32 { return 0 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, self := benchSender(b)
			head, payload := make([]byte, 8), make([]byte, c.length-8)
			b.SetBytes(int64(c.length))
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				s.Add(self, c.hash(i), 0, head, payload)
				if (i+1)%c.batch == 0 {
					s.Flush(nil)
				}
			}
			s.Flush(nil)
		})
	}
}

// BenchmarkPrepare is Add and Flush without the kernel.
func BenchmarkPrepare(b *testing.B) {
	for _, c := range []struct {
		name string
		hash func(i int) uint32
	}{
		{"flows", func(i int) uint32 { return uint32(i) * 7 }},
		{"train", func(int) uint32 { return 0 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, self := benchSender(b)
			(&script{}).install(s)
			s.sendmmsg = takeAll
			head, payload := make([]byte, 8), make([]byte, 56)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				s.Add(self, c.hash(i), 0, head, payload)
				if i%64 == 63 {
					s.Flush(nil)
				}
			}
		})
	}
}

func benchSender(b *testing.B) (*Sender, *Path) {
	tun := openLoopback(b, loopbacks[0], 1)
	return tun.NewSender(), pathTo(b, tun, loopbacks[0])
}

// BenchmarkReceive fills the queue and empties it, and counts the latter only.
func BenchmarkReceive(b *testing.B) {
	for _, c := range []struct {
		name          string
		length, train int
	}{{"64bytes/alone", 64, 1}, {"1450bytes/alone", 1450, 1}, {"1450bytes/train", 1450, 45}} {
		for _, room := range []int{1, 8, 16, 64} {
			b.Run(c.name+"/room"+string(rune('0'+room/10))+string(rune('0'+room%10)), func(b *testing.B) {
				tun := openLoopback(b, loopbacks[0], 1)
				self, s, r := pathTo(b, tun, loopbacks[0]), tun.NewSender(), tun.Receivers()[0]
				payload := make([]byte, c.length)
				into := NewArrivals(room)
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; {
					b.StopTimer()
					sent := 0
					for k := range uint32(64) {
						for range c.train {
							s.Add(self, k, 0, payload, nil)
							sent++
						}
					}
					flush(b, s)
					b.StartTimer()
					for got := 0; got < sent; {
						if err := r.Receive(into); err != nil {
							b.Fatal(err)
						}
						for _, a := range into.All() {
							got += max(1, len(a.Data)/max(a.Size, 1)*min(a.Size, 1))
						}
					}
					i += sent
				}
			})
		}
	}
}

func BenchmarkMTU(b *testing.B) {
	_, self := benchSender(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := self.MTU(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, tun *Tunnel, self *Path) {
		s, r, into := tun.NewSender(), tun.Receivers()[0], NewArrivals(0)
		payload := make([]byte, 1000)
		cycle := func() {
			for i := range uint32(64) {
				s.Add(self, i, encap.ECN(i), payload[:8], payload)
				s.Add(self, i, encap.ECN(i), payload[:8], payload)
				s.Add(self, i, encap.ECN(i), payload[:500], nil)
			}
			s.Flush(nil)
			for got := 0; got < 64; got += len(into.All()) {
				if err := r.Receive(into); err != nil {
					t.Fatal(err)
				}
			}
		}
		cycle() // the sender gets its memory
		if n := testing.AllocsPerRun(20, cycle); n != 0 {
			t.Errorf("%v allocations for 192 datagrams", n)
		}
		if _, err := self.MTU(); err != nil {
			t.Fatal(err)
		}
		self.now = func() time.Duration { return 0 }
		if n := testing.AllocsPerRun(20, func() { _, _ = self.MTU() }); n != 0 {
			t.Errorf("MTU: %v allocations", n)
		}
	})
}

func takeAll(_ int, messages []unix.Mmsghdr) (int, unix.Errno) { return len(messages), 0 }
