package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// BenchmarkApply brings maps of many endpoints to a State: the same one, as the
// repair every few seconds does, one with an endpoint more or less, and all of
// it into empty maps.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := newBed(b, linktest.Options{Hosts: 1}, HookAuto).hosts[0]
			apply := func(s datapath.State) {
				if err := h.Do(func() error { return h.dp.Apply(context.Background(), s) }); err != nil {
					b.Fatal(err)
				}
			}
			full := dt.Crowd(testVNI, n)
			b.Run("all", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					apply(dt.Crowd(testVNI, 0))
					b.StartTimer()
					apply(full)
				}
			})
			b.Run("one", func(b *testing.B) {
				states := []datapath.State{dt.Crowd(testVNI, n-1), full}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					apply(states[i%2])
				}
			})
			b.Run("again", func(b *testing.B) {
				apply(full)
				b.ReportAllocs()
				for b.Loop() {
					apply(full)
				}
			})
		})
	}
}

// BenchmarkApplyServices brings maps of 10 000 services, and three endpoints for
// each, to a State: all of it at first, then one with a backend that is drained or
// is not, one with an endpoint more or less, and the same one again.
func BenchmarkApplyServices(b *testing.B) {
	const services = 10_000
	h := newBed(b, linktest.Options{Hosts: 1}, HookAuto).hosts[0]
	for i := range 10 {
		run(b, h.Namespace, "ip", "link", "add", fmt.Sprint("port", i), "type", "veth", "peer", "name", fmt.Sprint("peer", i))
	}
	apply := func(b *testing.B, s datapath.State) {
		b.Helper()
		if err := h.Do(func() error { return h.dp.Apply(context.Background(), s) }); err != nil {
			b.Fatal(err)
		}
	}
	full := dt.CrowdServices(testVNI, services)
	for i := range 10 {
		full.Networks[0].Ports = append(full.Networks[0].Ports, datapath.Port{Device: fmt.Sprint("port", i), MAC: encap.MAC{2, 0xd, 5: byte(i)}})
	}
	full.Sort()
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			apply(b, datapath.State{})
			b.StartTimer()
			apply(b, full)
		}
	})
	b.Run("drain", func(b *testing.B) {
		apply(b, full)
		for i := 0; b.Loop(); i++ {
			apply(b, dt.WithDrained(full, i/2%services, i%2 == 0))
		}
	})
	b.Run("join", func(b *testing.B) {
		apply(b, full)
		more := dt.CrowdMember(3 * services)
		for i := 0; b.Loop(); i++ {
			s := datapath.State{Networks: slices.Clone(full.Networks)}
			if i%2 == 0 {
				s.Networks[0].Remotes = append(slices.Clone(s.Networks[0].Remotes), more)
			}
			apply(b, s)
		}
	})
	b.Run("again", func(b *testing.B) {
		apply(b, full)
		for b.Loop() {
			apply(b, full)
		}
	})
}

// BenchmarkStats reads the counters of a host with so many peers and ports.
func BenchmarkStats(b *testing.B) {
	for _, n := range []int{10, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := newBed(b, linktest.Options{Hosts: 1}, HookAuto).hosts[0].dp
			for i := range n {
				if _, err := d.peers.index(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})); err != nil {
					b.Fatal(err)
				}
				d.slots.index(slotOwner{vni: testVNI, ifindex: uint32(1000 + i)})
			}
			if err := errors.Join(d.peers.write(d.objs.OvlPeers), d.slots.write(d.objs.OvlTraffic)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if s, err := d.Stats(context.Background()); err != nil || len(s.Peers) != n {
					b.Fatalf("%d peers, %v", len(s.Peers), err)
				}
			}
		})
	}
}

// The programs run by BPF_PROG_TEST_RUN, which has a clock of its own around
// them: "ns/packet" is the median of what it says. Redirects are not followed,
// so this is what a packet costs in the program and no more.
//
// The kernel can run a program many times on one packet, and says what one run
// took. That serves for those that leave the packet as it came. What is put into
// a tunnel cannot be put into it again, nor, by adjust_room, once it was taken
// out; and what was taken out is no tunnel packet any more. So these run once on
// a packet that is new, other ones in turn, out of the whole table: caches are as
// cold as the system call leaves them, and the clock's own time is in the
// figure. "not-ours" is run both ways, for the difference.
type runs struct {
	name    string
	program *ebpf.Program
	frames  [][]byte
	verdict uint32
	repeat  int // 1 where the program changes the packet
}

const (
	inARow = 1000
	// frameBatch is how many packets go through between two looks at the
	// benchmark's time, to as many endpoints as there are.
	frameBatch = 1000
)

func (r runs) run(b *testing.B, h *bedHost) {
	b.Run(r.name, func(b *testing.B) {
		var took []time.Duration
		runAll := func() error {
			for _, frame := range r.frames {
				verdict, one, err := r.program.Benchmark(frame, r.repeat, nil)
				if err != nil {
					return err
				}
				if verdict != r.verdict {
					return fmt.Errorf("verdict %d, want %d, for frame %x", int32(verdict), int32(r.verdict), frame)
				}
				took = append(took, one)
			}
			return nil
		}
		all := func() {
			if err := h.Do(runAll); err != nil {
				b.Fatal(err)
			}
		}
		r.checkRepeatable(b, h)
		all() // routes are known after it
		took = took[:0]
		for b.Loop() {
			all()
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "ns/packet")
		b.ReportMetric(0, "ns/op") // of many packets, and with the system calls
	})
}

// checkRepeatable makes sure that frames which run in a row stay as they are.
func (r runs) checkRepeatable(b *testing.B, h *bedHost) {
	if r.repeat == 1 {
		return
	}
	for _, frame := range r.frames {
		var out []byte
		err := h.Do(func() (err error) {
			_, out, err = r.program.Test(frame)
			return err
		})
		if err != nil || !bytes.Equal(out, frame) {
			b.Fatalf("a run changes the frame, the next one is not the same: %v\n%x, was\n%x", err, out, frame)
		}
	}
}

// progBed is a host with endpoints here and many elsewhere.
type progBed struct {
	*bedHost
	vtep, router dt.Party          // on the underlay
	here, beside dt.Party          // endpoints of this host
	remotes      []datapath.Remote // frameBatch of those elsewhere, out of all
}

// newProgBed fills the maps for so many endpoints. A test run's packet comes in
// by lo, the first device of a namespace: that is made the port of an endpoint.
func newProgBed(b *testing.B, endpoints int) *progBed {
	const lo, other = 1, 2
	lab := newBed(b, linktest.Options{Hosts: 2}, HookAuto)
	p := &progBed{bedHost: lab.hosts[0]}
	p.vtep = dt.Party{MAC: macOf(b, p.Namespace, linktest.UnderlayDevice), Addr: p.Addr}
	p.router = dt.Party{MAC: macOf(b, lab.hosts[1].Namespace, linktest.UnderlayDevice), Addr: lab.hosts[1].Addr}
	knowNeighbour(b, p.bedHost, p.router)
	run(b, p.Namespace, "ip", "route", "add", "198.18.0.0/15", "via", p.router.Addr.String())

	s := dt.Crowd(testVNI, endpoints)
	if err := p.Do(func() error { return p.dp.Apply(context.Background(), s) }); err != nil {
		b.Fatal(err)
	}
	stride := max(endpoints/frameBatch, 1)
	for i := range frameBatch {
		p.remotes = append(p.remotes, dt.CrowdMember(i*stride%endpoints))
	}
	add := func(n byte, entry bpf.OvlFdbEntry) dt.Party {
		e := dt.Party{MAC: encap.MAC{2, 1, 5: n}, Addr: netip.AddrFrom4([4]byte{10, 0, 0, n})}
		entry.Addr4 = e.Addr.As4()
		if err := p.dp.objs.OvlFdb.Put(fdbKey(testVNI, e.MAC), entry); err != nil {
			b.Fatal(err)
		}
		return e
	}
	p.here = add(1, bpf.OvlFdbEntry{Ifindex: lo})
	p.beside = add(2, bpf.OvlFdbEntry{Ifindex: other})
	err := p.dp.objs.OvlPorts.Put(uint32(lo), bpf.OvlPort{Vni: testVNI, Mac: p.here.MAC, Mtu: 1450, Addr4: p.here.Addr.As4()})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// each builds a frame for every remote endpoint.
func (p *progBed) each(build func(remote, host dt.Party) []byte) [][]byte {
	var frames [][]byte
	for _, r := range p.remotes {
		frames = append(frames, build(dt.Party{MAC: r.MAC, Addr: r.Addrs[0]}, dt.Party{MAC: p.router.MAC, Addr: r.VTEP}))
	}
	return frames
}

func BenchmarkFromEndpoint(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newProgBed(b, n)
			program := p.dp.objs.FromEndpoint
			stranger := dt.Party{MAC: encap.MAC{2, 9}, Addr: p.here.Addr}
			for _, r := range []runs{
				{"encapsulate", program, p.each(func(remote, _ dt.Party) []byte { return dt.UDP4(p.here, remote, "hello") }), verdictRedirect, 1},
				{"arp", program, p.each(func(remote, _ dt.Party) []byte { return dt.ARPRequest(p.here, remote.Addr) }), verdictRedirect, 1},
				{"deliver", program, [][]byte{dt.UDP4(p.here, p.beside, "hello")}, verdictRedirect, inARow},
				{"forged", program, [][]byte{dt.UDP4(stranger, p.beside, "hello")}, verdictShot, inARow},
			} {
				r.run(b, p.bedHost)
			}
		})
	}
}

func BenchmarkFromUnderlay(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newProgBed(b, n)
			program := p.dp.objs.FromUnderlay
			// The packets come in by lo, which has no MAC.
			p.vtep.MAC = encap.MAC{}
			to := func(local dt.Party) [][]byte {
				return p.each(func(remote, host dt.Party) []byte {
					return dt.VXLAN(host, p.vtep, testVNI, dt.UDP4(remote, local, "hello"))
				})
			}
			notOurs := dt.UDP4(p.router, p.vtep, "hello")
			var summed [][]byte // the outer checksum is the stack's to verify
			for _, frame := range to(p.beside) {
				summed = append(summed, dt.Patch(frame, dt.UDPChecksumField, 1, 2))
			}
			for _, r := range []runs{
				{"decapsulate", program, to(p.beside), verdictRedirect, 1},
				{"with-checksum", program, summed, verdictPass, inARow}, // whose it is, and then it is left to the stack
				{"not-ours", program, [][]byte{notOurs}, verdictPass, inARow},
				{"not-ours-once", program, slices.Repeat([][]byte{notOurs}, frameBatch), verdictPass, 1},
			} {
				r.run(b, p.bedHost)
			}
		})
	}
}
