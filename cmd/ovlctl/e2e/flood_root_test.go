package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// flood is somebody who sends as fast as one CPU can, until it is stopped.
type flood struct {
	quit chan struct{}
	wg   sync.WaitGroup
	// frames is how many the device has been given, trains as one.
	frames uint64
	err    error
}

// startFlood lets one frame come in at a device again and again. The kernel makes
// these frames, by BPF_PROG_RUN of an XDP program that passes them on (Linux 5.18):
// that costs it less than what a program sends through a socket.
func startFlood(t *testing.T, ns *linktest.Namespace, device string, frame []byte) *flood {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return begin(t, ns, func(f *flood) error {
		defer program.Close() //nolint:errcheck // it was only run
		return f.run(program, device, frame)
	})
}

// train is how many datagrams startTrains sends at once.
const train = 64

// startTrains lets an endpoint send 64 bytes of Ethernet at a time to another as a
// program would that does its best: by UDP GSO, many datagrams for each call. Its
// frames are these trains.
func startTrains(t *testing.T, from, to *endpoint) *flood {
	t.Helper()
	const size = 64 - 14 - 20 - 8
	return begin(t, from.Namespace, func(f *flood) error {
		c, err := net.Dial("udp", net.JoinHostPort(to.addr(), "9"))
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // nothing is kept for later
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) })
		if err := errors.Join(err, cerr); err != nil {
			return err
		}
		data := make([]byte, train*size)
		for !f.over() {
			// ICMP says that nobody listens, now and then.
			if _, err := c.Write(data); err == nil {
				f.frames++
			} else if !errors.Is(err, unix.ECONNREFUSED) {
				return err
			}
		}
		return nil
	})
}

// begin runs it in a namespace until the flood is ended.
func begin(t *testing.T, ns *linktest.Namespace, run func(*flood) error) *flood {
	f := &flood{quit: make(chan struct{})}
	f.wg.Go(func() { f.err = ns.Do(func() error { return run(f) }) })
	t.Cleanup(f.end)
	return f
}

func (f *flood) over() bool {
	select {
	case <-f.quit:
		return true
	default:
		return false
	}
}

// run goes on until the flood is ended.
func (f *flood) run(program *ebpf.Program, device string, frame []byte) error {
	d, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	// struct xdp_md of linux/bpf.h: data_end is the frame's length.
	ctx := make([]byte, 24)
	binary.NativeEndian.PutUint32(ctx[4:], uint32(len(frame)))
	binary.NativeEndian.PutUint32(ctx[12:], uint32(d.Index))
	const atOnce = 1 << 14
	for !f.over() {
		if _, err := program.Run(&ebpf.RunOptions{Data: frame, Context: ctx, Repeat: atOnce, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}); err != nil {
			return err
		}
		f.frames += atOnce
	}
	return nil
}

func (f *flood) end() {
	if !f.over() {
		close(f.quit)
	}
	f.wg.Wait()
}

// stop ends it, and returns how many frames have come in at least: the kernel
// begins anew where a signal interrupts it.
func (f *flood) stop(t *testing.T) uint64 {
	t.Helper()
	f.end()
	if f.err != nil {
		t.Fatalf("flood: %v", f.err)
	}
	return f.frames
}
