package forward

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/datapath"
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
)

// bed is two endpoints here, one there, and no device at all.
type bed struct {
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
	state := datapath.State{Networks: []datapath.Network{{
		VNI: 4096, MTU: 1450,
		Ports: []datapath.Port{
			{Device: "a", MAC: hereA.MAC, Addrs: []netip.Addr{hereA.Addr}},
			{Device: "b", MAC: hereB.MAC, Addrs: []netip.Addr{hereB.Addr}},
		},
		Remotes: []datapath.Remote{{MAC: there.MAC, Addrs: []netip.Addr{there.Addr}, VTEP: vtep}},
	}}}
	table, err := Build(state, Objects{
		Port: func(device string) *Port { return map[string]*Port{"a": b.a, "b": b.b}[device] },
		Peer: func(netip.Addr) (*Peer, error) { return b.peer, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.table, b.flows = table, flow.New(flow.Options{})
	b.out, b.in = NewOut(b.ways, &b.counting, b.flows), NewIn(b.ways, &b.counting, b.flows)
	b.ways.keep = true
	return b
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

// tunnelled is the payload of the tunnel packet with a frame from there.
func tunnelled(frame []byte) []byte {
	packet := make([]byte, encap.HeaderLen)
	encap.Header{VNI: 4096}.Put(packet)
	return append(packet, frame...)
}
