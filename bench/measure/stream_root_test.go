package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// hosts returns two hosts of a new lab as a pair.
func hosts(t *testing.T) Pair {
	t.Helper()
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	p := Pair{
		Client: Endpoint{Namespace: lab.Hosts[0].Namespace, Addr: lab.Hosts[0].Addr},
		Server: Endpoint{Namespace: lab.Hosts[1].Namespace, Addr: lab.Hosts[1].Addr},
	}
	if err := WaitReachable(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

// delivered returns how many datagrams programs at e have read.
func delivered(t *testing.T, e Endpoint) uint64 {
	t.Helper()
	var snmp []byte
	if err := e.Namespace.Do(func() (err error) {
		snmp, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var column int
	for line := range strings.Lines(string(snmp)) {
		f := strings.Fields(line)
		if f[0] != "Udp:" {
			continue
		}
		if column == 0 {
			for i, name := range f {
				if name == "InDatagrams" {
					column = i
				}
			}
			continue
		}
		n, err := strconv.ParseUint(f[column], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatal("no counter of datagrams")
	return 0
}

// What is counted is what the kernel says that arrived, and every datagram
// has the size that it should.
func TestStreamCountsWhatArrives(t *testing.T) {
	linktest.NeedRoot(t)
	p := hosts(t)
	for _, s := range []stream{
		{size: 64, batch: flood, poll: floodPoll},
		{size: 1372, batch: costBatch, interval: costInterval, poll: costInterval},
	} {
		before := delivered(t, p.Server)
		var got *arrived
		if err := s.run(t.Context(), p, func(ctx context.Context, a *arrived) error {
			got = a
			return Sleep(ctx, 200*time.Millisecond)
		}); err != nil {
			t.Fatal(err)
		}
		n, kernel := got.messages.Load(), delivered(t, p.Server)-before
		if n == 0 || n != kernel {
			t.Errorf("%d bytes: %d counted, the kernel says %d", s.size, n, kernel)
		}
		if got.bytes.Load() != n*uint64(s.size) {
			t.Errorf("%d bytes in %d messages of %d", got.bytes.Load(), n, s.size)
		}
	}
}

// A stream with an interval keeps to it.
func TestStreamIsPaced(t *testing.T) {
	linktest.NeedRoot(t)
	const interval, batch = 10 * time.Millisecond, 10
	s := stream{size: 64, batch: batch, interval: interval, poll: interval}
	start := time.Now()
	var n uint64
	if err := s.run(t.Context(), hosts(t), func(ctx context.Context, got *arrived) error {
		err := Sleep(ctx, 300*time.Millisecond)
		n = got.messages.Load()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if most := uint64(time.Since(start)/interval+1) * batch; n > most || n == 0 {
		t.Errorf("%d datagrams, at most %d were due", n, most)
	}
}

// A segmented stream is datagrams of the segment's size for a receiver that
// takes them one by one, and uncut for the one that asks for that.
func TestSegments(t *testing.T) {
	linktest.NeedRoot(t)
	p := hosts(t)
	s := segmented(1372)
	if per := s.size / s.segment; s.size%s.segment != 0 || per < 40 || per > 64 {
		t.Errorf("%d bytes are %d segments of %d: 64 is the most in old kernels", s.size, per, s.segment)
	}
	for _, gro := range []int{0, 1} {
		t.Run(fmt.Sprintf("gro %d", gro), func(t *testing.T) { testSegments(t, p, s, gro) })
	}
}

func testSegments(t *testing.T, p Pair, s stream, gro int) {
	rx, tx, err := s.sockets(p)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(rx)
	defer unix.Close(tx)
	if err := unix.SetsockoptInt(rx, unix.IPPROTO_UDP, unix.UDP_GRO, gro); err != nil {
		t.Fatal(err)
	}
	if _, err := newMessages(1, s.size).send(tx); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 1<<16), make([]byte, 64)
	total, reads := 0, 0
	for ; total < s.size; reads++ {
		n, oobn, err := recvmsg(rx, buf, oob)
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", total, s.size, err)
		}
		total += n
		if gro == 0 && n != s.segment {
			t.Errorf("a datagram of %d bytes, want %d", n, s.segment)
		}
		if gro == 1 {
			if size, err := groSize(oob[:oobn]); err != nil || size != s.segment {
				t.Errorf("segments of %d bytes, want %d: %v", size, s.segment, err)
			}
		}
	}
	if want := s.size / s.segment; total != s.size || gro == 0 && reads != want || gro == 1 && reads >= want {
		t.Errorf("%d bytes in %d reads; it is %d segments", total, reads, want)
	}
}

// recvmsg waits for at most a second.
func recvmsg(fd int, buf, oob []byte) (n, oobn int, err error) {
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return 0, 0, err
	}
	for {
		n, oobn, _, _, err = unix.Recvmsg(fd, buf, oob, 0)
		if !errors.Is(err, unix.EINTR) {
			return n, oobn, err
		}
	}
}

// groSize returns the size of the segments that a message consists of.
func groSize(oob []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_UDP && m.Header.Type == unix.UDP_GRO && len(m.Data) >= 4 {
			return int(uint32(m.Data[0]) | uint32(m.Data[1])<<8), nil
		}
	}
	return 0, fmt.Errorf("no UDP_GRO in %x", oob)
}

// The kernel counts idle time when it ends, not by its tick: half a CPU that
// is kept busy in short turns is seen.
func TestWatchCPU(t *testing.T) {
	linktest.NeedRoot(t)
	var stop atomic.Bool
	ended := make(chan error, 1)
	go func() {
		ended <- onCPU(clientCPU, func() error {
			for !stop.Load() {
				for end := time.Now().Add(time.Millisecond); time.Now().Before(end); {
					continue
				}
				pause(time.Millisecond)
			}
			return nil
		})
	}()
	busy, err := watchCPU(t.Context(), 300*time.Millisecond)
	stop.Store(true)
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	// Others may work here too, but nobody can take away from it.
	if busy < 0.35 {
		t.Errorf("%.2f CPUs are busy, half of one is in use", busy)
	}
}
