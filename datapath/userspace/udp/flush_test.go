package udp

import (
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// script answers sendmmsg, call after call; when it is at its end, everything is
// taken. taken says what was, as cars by length.
type script struct {
	answers []answer
	taken   []string
	waits   []bool // what waiting for room comes to; then true
}

type answer struct {
	n     int // messages taken, if there is no error
	errno unix.Errno
}

func (c *script) install(s *Sender) {
	s.sendmmsg = func(_ int, messages []unix.Mmsghdr) (int, unix.Errno) {
		a := answer{n: len(messages)}
		if len(c.answers) > 0 {
			a, c.answers = c.answers[0], c.answers[1:]
		}
		if a.errno != 0 {
			return -1, a.errno
		}
		for i := range messages[:a.n] {
			c.taken = append(c.taken, describe(&messages[i].Hdr))
		}
		return a.n, 0
	}
	s.wait = func(int, time.Duration) bool {
		ok := true
		if len(c.waits) > 0 {
			ok, c.waits = c.waits[0], c.waits[1:]
		}
		return ok
	}
}

// describe tells the length of a message, and what it is to be cut to.
func describe(h *unix.Msghdr) string {
	n := 0
	for _, v := range slicesOf(h) {
		n += int(v.Len)
	}
	out := fmt.Sprint(n)
	if h.Control != nil {
		out += fmt.Sprintf("+%d", h.Controllen)
	}
	return out
}

func TestFlushFailures(t *testing.T) {
	// Four messages: 10 bytes, a train of 3 of 100 bytes and one of 50, 20 bytes,
	// and 30 bytes with ECN. The first, third and fourth go alone, but in two runs.
	const train, mark = "350+24", "30+24"
	three := []string{"100", "100", "100", "50"}
	for _, c := range []struct {
		name    string
		answers []answer
		waits   []bool
		taken   []string
		failed  []string
		trains  bool
	}{
		{"all", nil, nil, []string{"10", train, "20", mark}, nil, true},
		{"interrupted", []answer{{0, unix.EINTR}, {0, unix.EINTR}}, nil, []string{"10", train, "20", mark}, nil, true},
		{"partly", []answer{{1, 0}, {1, 0}, {1, 0}}, nil, []string{"10", train, "20", mark}, nil, true},
		{"too long", []answer{{0, unix.EMSGSIZE}}, nil, []string{train, "20", mark}, []string{"1 EMSGSIZE"}, true},
		{"train too long", []answer{{1, 0}, {0, unix.EMSGSIZE}}, nil, []string{"10", "20", mark}, []string{"4 EMSGSIZE"}, true},
		{"no route", []answer{{1, 0}, {1, 0}, {1, 0}, {0, unix.ENETUNREACH}}, nil, []string{"10", train, "20"}, []string{"1 ENETUNREACH"}, true},
		{"refused once", []answer{{0, unix.ECONNREFUSED}}, nil, []string{"10", train, "20", mark}, nil, true},
		{"refused twice", []answer{{0, unix.ECONNREFUSED}, {0, unix.ECONNREFUSED}}, nil, []string{train, "20", mark}, []string{"1 ECONNREFUSED"}, true},
		{"full, then not", []answer{{0, unix.EAGAIN}, {0, unix.EAGAIN}}, nil, []string{"10", train, "20", mark}, nil, true},
		{
			"full", []answer{{0, unix.EAGAIN}, {0, unix.EAGAIN}, {0, unix.EAGAIN}},
			[]bool{false}, []string{"20", mark},
			[]string{"1 EAGAIN", "4 EAGAIN"}, true,
		},
		{"no trains", []answer{{1, 0}, {0, unix.EIO}}, nil, slices.Concat([]string{"10"}, three, []string{"20", mark}), nil, false},
		{"no trains, EINVAL", []answer{{1, 0}, {0, unix.EINVAL}}, nil, slices.Concat([]string{"10"}, three, []string{"20", mark}), nil, false},
		{
			"no trains, and too long",
			[]answer{{1, 0}, {0, unix.EINVAL}, {0, unix.EMSGSIZE}, {0, unix.EMSGSIZE}, {0, unix.EMSGSIZE}, {0, unix.EMSGSIZE}},
			nil, []string{"10", "20", mark},
			[]string{"1 EMSGSIZE", "1 EMSGSIZE", "1 EMSGSIZE", "1 EMSGSIZE"}, true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tun := openLoopback(t, loopbacks[0], 1)
			self := pathTo(t, tun, loopbacks[0])
			s := tun.NewSender()
			sc := &script{answers: c.answers, waits: c.waits}
			sc.install(s)
			s.Add(self, 0, 0, fill(0, 10), nil)
			for i := range 3 {
				s.Add(self, 1, 0, fill(i, 30), fill(i, 70))
			}
			s.Add(self, 1, 0, fill(4, 50), nil)
			s.Add(self, 2, 0, fill(0, 20), nil)
			s.Add(self, 2, encap.CE, fill(0, 30), nil)
			var failed []string
			s.Flush(func(p *Path, n, _ int, err error) {
				errno, ok := err.(unix.Errno) //nolint:errorlint // comes as it is
				if p != self || !ok {
					t.Errorf("%v: %v", p.Addr(), err)
				}
				failed = append(failed, fmt.Sprintf("%d %s", n, unix.ErrnoName(errno)))
			})
			if !slices.Equal(sc.taken, c.taken) {
				t.Errorf("sent %v, want %v", sc.taken, c.taken)
			}
			if !slices.Equal(failed, c.failed) {
				t.Errorf("failed %v, want %v", failed, c.failed)
			}
			if self.noTrains.Load() == c.trains {
				t.Errorf("trains on this path: %v", !c.trains)
			}
			if len(sc.answers) > 0 {
				t.Errorf("not asked for: %v", sc.answers)
			}
		})
	}
}

// TestUncoupled: a train that the kernel would not cut arrives as it should, and
// no more are made.
func TestUncoupled(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, tun *Tunnel, self *Path) {
		s := tun.NewSender()
		real := s.sendmmsg
		s.sendmmsg = func(fd int, messages []unix.Mmsghdr) (int, unix.Errno) {
			if messages[0].Hdr.Control != nil && messages[0].Hdr.Controllen > uint64(unix.CmsgSpace(4)) {
				return -1, unix.EIO
			}
			return real(fd, messages)
		}
		whole := fill(0, 450) // without gaps, so that cuts fall inside an iovec
		for i := 0; i < len(whole); i += 100 {
			s.Add(self, 3, encap.ECT0, nil, whole[i:min(i+100, len(whole))])
		}
		if s.Pending() != 1 || len(s.iovecs) != 1 {
			t.Errorf("%d messages of %d pieces, want 1 and 1", s.Pending(), len(s.iovecs))
		}
		flush(t, s)
		for range 2 {
			s.Add(self, 3, encap.ECT0, nil, whole[:100])
		}
		if s.Pending() != 2 {
			t.Errorf("%d messages, want 2: no trains any more", s.Pending())
		}
		flush(t, s)
		got, messages := receive(t, tun.Receivers()[0], 7)
		if messages != 7 {
			t.Errorf("%d messages, want 7", messages)
		}
		for i, d := range got[:5] {
			if want := string(whole[i*100 : min(i*100+100, 450)]); d.data != want || d.ecn != uint8(encap.ECT0) {
				t.Errorf("datagram %d: %.20s of %d bytes, ECN %d", i, d.data, len(d.data), d.ecn)
			}
		}
	})
}

// TestJoin: which datagrams become one train.
func TestJoin(t *testing.T) {
	tun := openLoopback(t, loopbacks[0], 1)
	a, b := pathTo(t, tun, loopbacks[0]), pathTo(t, tun, loopbacks[0])
	type in struct {
		path *Path
		hash uint32
		ecn  encap.ECN
		len  int
	}
	for name, c := range map[string]struct {
		first, second in
		messages      int
	}{
		"same":           {in{a, 1, 0, 100}, in{a, 1, 0, 100}, 1},
		"shorter":        {in{a, 1, 0, 100}, in{a, 1, 0, 1}, 1},
		"longer":         {in{a, 1, 0, 100}, in{a, 1, 0, 101}, 2},
		"nothing":        {in{a, 1, 0, 100}, in{a, 1, 0, 0}, 2},
		"other path":     {in{a, 1, 0, 100}, in{b, 1, 0, 100}, 2},
		"other port":     {in{a, 1, 0, 100}, in{a, 2, 0, 100}, 2},
		"same port":      {in{a, 1, 0, 100}, in{a, 1 + sourcePorts, 0, 100}, 1},
		"other ECN":      {in{a, 1, 0, 100}, in{a, 1, 1, 100}, 2},
		"more than 64 K": {in{a, 1, 0, 40000}, in{a, 1, 0, 40000}, 2},
	} {
		s := tun.NewSender()
		for _, i := range []in{c.first, c.second} {
			s.Add(i.path, i.hash, i.ecn, make([]byte, i.len), nil)
		}
		if s.Pending() != c.messages {
			t.Errorf("%s: %d messages, want %d", name, s.Pending(), c.messages)
		}
	}
}

func slicesOf(h *unix.Msghdr) []unix.Iovec {
	if h.Iov == nil {
		return nil
	}
	return unsafe.Slice(h.Iov, int(h.Iovlen))
}
