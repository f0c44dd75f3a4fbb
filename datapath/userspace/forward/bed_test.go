package forward

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/flow"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

var (
	hereA = dt.Party{MAC: encap.MAC{2, 0, 0, 0, 0, 1}, Addr: netip.MustParseAddr("10.0.0.2")}
	hereB = dt.Party{MAC: encap.MAC{2, 0, 0, 0, 0, 2}, Addr: netip.MustParseAddr("10.0.0.3")}
	there = dt.Party{MAC: encap.MAC{2, 0, 0, 0, 0, 3}, Addr: netip.MustParseAddr("10.0.0.4")}
	vtep  = netip.MustParseAddr("192.0.2.2")

	// VIPs, by where their one backend is.
	vipThere = dt.Party{MAC: datapath.ServiceMAC, Addr: netip.MustParseAddr("10.0.0.200")}
	vipB     = dt.Party{MAC: datapath.ServiceMAC, Addr: netip.MustParseAddr("10.0.0.201")}
	vipA     = dt.Party{MAC: datapath.ServiceMAC, Addr: netip.MustParseAddr("10.0.0.202")}
	vipEmpty = dt.Party{MAC: datapath.ServiceMAC, Addr: netip.MustParseAddr("10.0.0.203")}
)

// bed is two endpoints here, one there, and no device at all.
type bed struct {
	state    datapath.State
	table    *Table
	a, b     *Port
	peer     *Peer
	counting Counting
	flows    *flow.Memory
	ways     *fakeWays
	out      *Out
	in       *In
}

// fakePath is a way of that MTU.
type fakePath struct {
	mtu int
	err error
}

func (p *fakePath) MTU() (int, error) { return p.mtu, p.err }

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{a: &Port{Device: "a"}, b: &Port{Device: "b"}, peer: &Peer{VTEP: vtep, Path: &fakePath{mtu: 1500}}, ways: &fakeWays{}}
	b.state = datapath.State{Networks: []datapath.Network{{
		VNI: 4096, MTU: 1450,
		Ports: []datapath.Port{
			{Device: "a", MAC: hereA.MAC, Addrs: []netip.Addr{hereA.Addr}},
			{Device: "b", MAC: hereB.MAC, Addrs: []netip.Addr{hereB.Addr}},
		},
		Remotes:  []datapath.Remote{{MAC: there.MAC, Addrs: []netip.Addr{there.Addr}, VTEP: vtep}},
		Services: []datapath.Service{service(vipThere, there), service(vipB, hereB), service(vipA, hereA), service(vipEmpty)},
	}}}
	b.flows = flow.New(flow.Options{})
	b.build(t)
	b.out, b.in = NewOut(b.ways, &b.counting, b.flows), NewIn(b.ways, &b.counting, b.flows)
	b.ways.keep = true
	return b
}

// service has one backend, any port, and no port translation.
func service(vip dt.Party, backends ...dt.Party) datapath.Service {
	s := datapath.Service{Name: vip.Addr.String(), VIPs: []netip.Addr{vip.Addr}, TableSize: balance.Sizes[0]}
	for _, p := range backends {
		s.Backends = append(s.Backends, datapath.Backend{ID: p.MAC.String(), MAC: p.MAC, Addrs: []netip.Addr{p.Addr}, Weight: 1})
	}
	return s
}

// build puts a new table in the place of the last.
func (b *bed) build(t testing.TB) {
	t.Helper()
	table, err := Build(dt.Clone(b.state), Objects{
		Port: func(device string) *Port { return map[string]*Port{"a": b.a, "b": b.b}[device] },
		Peer: func(netip.Addr) (*Peer, error) { return b.peer, nil },
		Last: b.table,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.table = table
}

// fakeWays keeps what leaves, or only counts it.
type fakeWays struct {
	keep      bool
	full      bool
	delivered []delivery
	sent      [][]byte
	bytes     int
}

type delivery struct {
	to     *Port
	header offload.Header
	frame  []byte
}

var errFull = errors.New("full")

func (w *fakeWays) Deliver(p *Port, h offload.Header, pieces [][]byte) error {
	if w.full {
		return errFull
	}
	for _, piece := range pieces {
		w.bytes += len(piece)
	}
	if w.keep {
		w.delivered = append(w.delivered, delivery{p, h, slices.Concat(pieces...)})
	}
	return nil
}

func (w *fakeWays) Send(_ *Peer, _ uint32, _ encap.ECN, head, payload []byte) {
	w.bytes += len(head) + len(payload)
	if w.keep {
		w.sent = append(w.sent, slices.Concat(head, payload))
	}
}

func (w *fakeWays) Flush() {}

// largeTCP is a frame of TCP with so much payload, as a TAP hands it over.
func largeTCP(from, to dt.Party, payload, mss int) offload.Frame {
	frame := dt.TCP(from, to, strings.Repeat("x", payload))
	f := offload.Frame{Data: frame}
	f.Flags, f.GSOType = offload.NeedsCsum, offload.GSOTCPv4
	f.HdrLen, f.GSOSize, f.CsumStart, f.CsumOffset = 14+20+20, uint16(mss), 14+20, 16
	return f
}

// withPorts is a frame, from so many bytes on, of TCP or UDP over IPv4 between other
// ports, whose sum is the same: as the checksum is.
func withPorts(frame []byte, at int, src, dst uint16) []byte {
	at += ethLen + 20
	return dt.Patch(frame, at, byte(src>>8), byte(src), byte(dst>>8), byte(dst))
}

// tunnelled is the payload of the tunnel packet with a frame from there.
func tunnelled(frame []byte) []byte {
	packet := make([]byte, encap.HeaderLen)
	encap.Header{VNI: 4096}.Put(packet)
	return append(packet, frame...)
}
