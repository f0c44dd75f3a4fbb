package flow

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
)

const tcp, udp = 6, 17

// clock is a time that stands still.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func newMemory(young, established int) (*Memory, *clock) {
	c := &clock{time.Unix(1000, 0)}
	return New(Options{Young: young, Established: established, Clock: func() time.Time { return c.now }}), c
}

var (
	clientAddr = [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 2}
	vipAddr    = [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 200}
	otherVIP   = [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 201}
	backend1   = [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 4}
)

func key(proto uint32, port uint16) Key {
	return Key{Client: clientAddr, Server: vipAddr, ClientPort: port, ServerPort: 80, VNI: 4096, Protocol: proto}
}

func (m *Memory) packet() *Packet { return &Packet{Now: m.Now(), Packets: 1, Bytes: 100} }

// out, back: a packet of a flow, and whether it is one.
func (m *Memory) out(k Key) bool  { _, ok := m.Out(&k, m.packet()); return ok }
func (m *Memory) back(h Hit) bool { _, ok := m.Back(&h.Key, h.Self, m.packet()); return ok }

func (m *Memory) add(k Key) Hit { return m.Add(&k, "one", backend1, 8080, m.packet()) }

// TestDirections: what one side sends finds what the other knows.
func TestDirections(t *testing.T) {
	m, _ := newMemory(0, 0)
	k := key(tcp, 40000)
	if m.out(k) {
		t.Fatal("a flow that nobody began")
	}
	h := m.add(k)
	want := Key{Client: clientAddr, Server: backend1, ClientPort: 40000, ServerPort: 8080, VNI: 4096, Protocol: tcp}
	if h.Key != want || h.Self || h.Backend != "one" {
		t.Fatalf("begun as %+v, want the key %+v", h, want)
	}
	if got, ok := m.Out(&k, m.packet()); !ok || got.Key != want || got.Backend != "one" {
		t.Errorf("out: %+v, %v", got, ok)
	}
	if got, ok := m.Back(&want, false, m.packet()); !ok || got.Key != k {
		t.Errorf("back: %+v, %v", got, ok)
	}
	f := m.Flows()
	if len(f) != 1 || f[0].Sent != (datapath.Counter{Packets: 2, Bytes: 200}) || f[0].Received.Packets != 1 || f[0].State != datapath.FlowEstablished {
		t.Errorf("flows %+v", f)
	}
	m.Forget(&k)
	if m.out(k) || m.back(h) || len(m.Flows()) != 0 {
		t.Error("a flow that was forgotten")
	}
}

// TestSelf: a client that is its own backend sees the VIP as its client.
func TestSelf(t *testing.T) {
	m, _ := newMemory(0, 0)
	k := key(tcp, 40000)
	h := m.Add(&k, "me", clientAddr, 80, m.packet())
	if !h.Self || h.Key.Client != vipAddr || h.Key.Server != clientAddr {
		t.Fatalf("begun as %+v", h)
	}
	if got, ok := m.Back(&h.Key, true, m.packet()); !ok || got.Key != k || !got.Self {
		t.Errorf("back: %+v, %v", got, ok)
	}
}

// TestCollision: what two VIPs lead to one port of one backend gets another source
// port, and both come back as they went.
func TestCollision(t *testing.T) {
	m, _ := newMemory(0, 0)
	for _, port := range []uint16{40000, 65535, 7} {
		one, two := key(udp, port), key(udp, port)
		two.Server = otherVIP
		h1, h2 := m.add(one), m.add(two)
		if h1.Key.ClientPort != port || h2.Key.ClientPort == port || h2.Key.ClientPort < 1024 {
			t.Fatalf("ports %d and %d for %d", h1.Key.ClientPort, h2.Key.ClientPort, port)
		}
		for _, c := range []struct {
			h    Hit
			want Key
		}{{h1, one}, {h2, two}} {
			if got, ok := m.Back(&c.h.Key, false, m.packet()); !ok || got.Key != c.want {
				t.Errorf("back: %+v, %v, want %+v", got, ok, c.want)
			}
		}
	}
}

// TestTimes: a flow is remembered for as long as the contract says, and no longer.
func TestTimes(t *testing.T) {
	for _, c := range []struct {
		name    string
		proto   uint32
		replied bool
		ended   bool
		want    time.Duration
	}{
		{"new TCP", tcp, false, false, datapath.FlowTimeNewTCP},
		{"established TCP", tcp, true, false, datapath.FlowTimeEstablishedTCP},
		{"closing", tcp, true, true, datapath.FlowTimeClosing},
		{"new UDP", udp, false, false, datapath.FlowTimeNewUDP},
		{"established UDP", udp, true, false, datapath.FlowTimeEstablishedUDP},
	} {
		for _, late := range []bool{false, true} {
			m, clock := newMemory(0, 0)
			k := key(c.proto, 40000)
			h := m.add(k)
			if c.replied {
				m.back(h)
			}
			if c.ended {
				p := m.packet()
				p.End = true
				m.Out(&k, p)
			}
			clock.pass(c.want)
			if late {
				clock.pass(2 * time.Second)
			}
			if n := len(m.Flows()); (n == 0) != late {
				t.Errorf("%s, late %v: %d flows", c.name, late, n)
			}
			if m.out(k) == late {
				t.Errorf("%s: late %v, and found %v", c.name, late, !late)
			}
		}
	}
}

// TestReopen: a SYN on a flow that is closing begins another; on one that is not,
// it is a packet like others.
func TestReopen(t *testing.T) {
	m, _ := newMemory(0, 0)
	k := key(tcp, 40000)
	m.add(k)
	syn, fin := m.packet(), m.packet()
	syn.SYN, fin.End = true, true
	if _, ok := m.Out(&k, syn); !ok {
		t.Error("a SYN that is sent again begins another flow")
	}
	m.Out(&k, fin)
	if _, ok := m.Out(&k, m.packet()); !ok {
		t.Error("what follows FIN is no packet of the flow")
	}
	if _, ok := m.Out(&k, syn); ok {
		t.Error("a SYN belongs to a flow that is closing")
	}
}

// TestYield: a flow gives its backend's key away once it is over: both ends have
// finished, or one has reset it.
func TestYield(t *testing.T) {
	const nobody, client, backend = 0, 1, 2
	for name, c := range map[string]struct {
		finishes, resets int
		over             bool
	}{
		"established":           {nobody, nobody, false},
		"the client finishes":   {client, nobody, false},
		"the backend finishes":  {backend, nobody, false},
		"both finish":           {client | backend, nobody, true},
		"the client resets":     {nobody, client, true},
		"the backend resets":    {nobody, backend, true},
		"finished, then reset":  {client, client, true},
		"answered with a reset": {client, backend, true},
	} {
		m, _ := newMemory(0, 0)
		k := key(tcp, 40000)
		h := m.add(k)
		m.back(h)
		for i, by := range []int{c.finishes, c.resets} {
			p := m.packet()
			p.End, p.Reset = true, i == 1
			if by&client != 0 {
				m.Out(&k, p)
			}
			if by&backend != 0 {
				m.Back(&h.Key, false, p)
			}
		}
		other := h.Key
		other.ClientPort += shards
		m.Yield(&other)
		if len(m.Flows()) != 1 {
			t.Errorf("%s: another key's flow is forgotten", name)
		}
		m.Yield(&h.Key)
		if n := len(m.Flows()); (n == 0) != c.over {
			t.Errorf("%s: %d flows", name, n)
		}
		if m.out(k) == c.over || m.back(h) == c.over {
			t.Errorf("%s: one side is remembered, the other is not", name)
		}
	}

	// It may begin with its end.
	m, _ := newMemory(0, 0)
	k, p := key(tcp, 40000), m.packet()
	p.End, p.Reset = true, true
	h := m.Add(&k, "one", backend1, 8080, p)
	if m.Yield(&h.Key); len(m.Flows()) != 0 {
		t.Error("a flow that began with a reset is not over")
	}
}

// TestFlood: whoever is established stays, whatever comes new; also one that has
// been silent since its first second.
func TestFlood(t *testing.T) {
	m, clock := newMemory(shards*10, shards*10)
	busy, quiet, half := key(tcp, 40000), key(tcp, 40001), key(tcp, 40002)
	m.back(m.add(busy))
	m.back(m.add(quiet))
	m.add(half)
	clock.pass(time.Second)
	m.out(busy)
	for i := range 100_000 {
		k := key(tcp, uint16(i))
		k.Client[13], k.Client[14] = 1, byte(i>>16)
		m.add(k)
	}
	if n := len(m.Flows()); n > shards*20 {
		t.Errorf("%d flows are remembered", n)
	}
	if !m.out(busy) || !m.out(quiet) {
		t.Error("an established flow was pushed out by new ones")
	}
	if m.out(half) {
		t.Error("a new flow outlived a flood of its own kind")
	}
	last := key(tcp, uint16(99_999%65536))
	last.Client[13], last.Client[14] = 1, 99_999>>16
	if !m.out(last) {
		t.Error("the newest flow is not remembered")
	}
}

// TestEstablishedBounded: so many and no more, and the quietest goes.
func TestEstablishedBounded(t *testing.T) {
	m, clock := newMemory(shards*1000, shards)
	first, second := key(tcp, 1024), key(tcp, 1024+shards) // in one shard
	for _, k := range []Key{first, second} {
		m.back(m.add(k))
	}
	clock.pass(2 * time.Second)
	m.out(first)
	clock.pass(2 * time.Second)
	m.out(second)
	if m.out(first) || !m.out(second) {
		t.Error("not the quietest flow was pushed out")
	}
}

// TestQuotes find a flow and leave it as it is.
func TestQuotes(t *testing.T) {
	m, _ := newMemory(0, 0)
	k := key(tcp, 40000)
	h := m.add(k)
	if got, ok := m.QuotedOut(&k, m.Now()); !ok || got.Key != h.Key {
		t.Errorf("out: %+v, %v", got, ok)
	}
	if got, ok := m.QuotedBack(&h.Key, false, m.Now()); !ok || got.Key != k {
		t.Errorf("back: %+v, %v", got, ok)
	}
	if f := m.Flows()[0]; f.State != datapath.FlowNew || f.Sent.Packets != 1 || f.Received.Packets != 0 {
		t.Errorf("flow %+v", f)
	}
}

// TestClients: who was where, for as long as it was asked for.
func TestClients(t *testing.T) {
	m, clock := newMemory(0, 0)
	k := key(tcp, 40000)
	if _, ok := m.Client(&k, m.Now(), time.Minute); ok {
		t.Error("a client that never came is known")
	}
	m.SetClient(&k, "one", m.Now())
	clock.pass(time.Minute)
	other := key(udp, 1) // whatever it does
	if b, ok := m.Client(&other, m.Now(), time.Minute); !ok || b != "one" {
		t.Errorf("went to %q, %v", b, ok)
	}
	clock.pass(2 * time.Second)
	if _, ok := m.Client(&k, m.Now(), time.Minute); ok {
		t.Error("a client is known for too long")
	}
}

// TestFragments: ports of a packet by its ID, for half a minute.
func TestFragments(t *testing.T) {
	m, clock := newMemory(0, 0)
	f := Fragment{VNI: 4096, Src: clientAddr, Dst: vipAddr, Protocol: udp, ID: 7}
	m.SetPorts(f, 1, 2, m.Now())
	clock.pass(30 * time.Second)
	if src, dst, ok := m.Ports(f, m.Now()); !ok || src != 1 || dst != 2 {
		t.Errorf("ports %d and %d, %v", src, dst, ok)
	}
	other := f
	other.ID++
	if _, _, ok := m.Ports(other, m.Now()); ok {
		t.Error("another packet's ports")
	}
	clock.pass(time.Second)
	if _, _, ok := m.Ports(f, m.Now()); ok {
		t.Error("ports are known for too long")
	}
	for i := range uint32(maxFragments) {
		other.ID = 100 + i
		m.SetPorts(other, 1, 2, m.Now())
	}
	if len(m.fragments.items) != maxFragments {
		t.Errorf("%d packets are remembered", len(m.fragments.items))
	}
}

// TestNoAllocation: a packet of a flow that is known leaves nothing to the garbage
// collector, with a file or without.
func TestNoAllocation(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	without, _ := newMemory(0, 0)
	for name, m := range map[string]*Memory{"without": without, "with": openMemory(t, filepath.Join(t.TempDir(), "flows"), c, 4096)} {
		m.clock = func() time.Time { return c.now }
		k := key(tcp, 40000)
		h := m.add(k)
		m.SetClient(&k, "one", m.Now())
		var p Packet
		if n := testing.AllocsPerRun(1000, func() {
			c.pass(100 * time.Millisecond)
			p = Packet{Now: m.Now(), Packets: 1, Bytes: 1}
			if hit, _ := m.Out(&k, &p); hit.Refreshed {
				m.SetClient(&k, hit.Backend, p.Now)
			}
			m.Back(&h.Key, false, &p)
		}); n != 0 {
			t.Errorf("%s a file: %v allocations", name, n)
		}
	}
}

func BenchmarkOut(b *testing.B) {
	m := New(Options{})
	k := key(tcp, 40000)
	m.add(k)
	p := m.packet()
	b.ReportAllocs()
	for b.Loop() {
		m.Out(&k, p)
	}
}

func BenchmarkAdd(b *testing.B) {
	m := New(Options{})
	k := key(tcp, 0)
	p := m.packet()
	b.ReportAllocs()
	for b.Loop() {
		k.ClientPort++
		if k.ClientPort == 0 {
			k.Client[14]++
		}
		m.Add(&k, "one", backend1, 8080, p)
	}
}

// BenchmarkConnection is a flow that is begun, answered, refreshed and forgotten.
func BenchmarkConnection(b *testing.B) {
	for _, c := range []struct {
		name string
		open func() (*Memory, error)
	}{
		{"without a file", func() (*Memory, error) { return New(Options{}), nil }},
		{"with a file", func() (*Memory, error) { return Open(filepath.Join(b.TempDir(), "flows"), Options{}) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			m, err := c.open()
			if err != nil {
				b.Fatal(err)
			}
			k := key(tcp, 0)
			var now time.Duration
			p := Packet{Packets: 1, Bytes: 100}
			b.ReportAllocs()
			for b.Loop() {
				k.ClientPort++
				now += 2 * time.Second
				p.Now = now
				h := m.Add(&k, "one", backend1, 8080, &p)
				m.Back(&h.Key, false, &p)
				p.Now += time.Second
				m.Out(&k, &p)
				m.Forget(&k)
			}
			if err := m.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// TestNoPortLeft: with every port taken, the flow that has the client's own gives
// way, and nothing else.
func TestNoPortLeft(t *testing.T) {
	m, _ := newMemory(shards*2000, 0)
	most := 2 + (1<<16-leastSpare)/shards
	k := key(udp, 40000)
	first := m.add(k)
	ports := map[uint16]bool{first.Key.ClientPort: true}
	for i := range most {
		k.Server[14], k.Server[15] = byte(i>>8)+1, byte(i)
		h := m.add(k)
		if m.at(4096, &clientAddr, h.Key.ClientPort) != m.at(4096, &clientAddr, 40000) {
			t.Fatalf("port %d is another shard's", h.Key.ClientPort)
		}
		ports[h.Key.ClientPort] = true
	}
	if len(ports) < (1<<16-leastSpare)/shards || m.out(key(udp, 40000)) || !m.out(k) {
		t.Errorf("%d ports, first flow %v, last %v", len(ports), m.out(key(udp, 40000)), m.out(k))
	}
}

// TestForgetOthers: who has left has no flows, nor has who has its address
// elsewhere.
func TestForgetOthers(t *testing.T) {
	m, _ := newMemory(0, 0)
	stays, leaves, elsewhere := key(tcp, 40000), key(tcp, 40000), key(tcp, 40000)
	leaves.Client = backend1
	elsewhere.VNI = 4097
	for _, k := range []Key{stays, leaves, elsewhere} {
		m.back(m.add(k))
	}
	itself := key(udp, 1)
	itself.Client = backend1
	h := m.Add(&itself, "itself", backend1, 80, m.packet())
	m.ForgetOthers(map[datapath.Client]bool{{VNI: 4096, Addr: netip.MustParseAddr("10.0.0.2")}: true})
	if !m.out(stays) || m.out(leaves) || m.out(elsewhere) || m.out(itself) || m.back(h) || len(m.All()) != 1 {
		t.Errorf("flows %+v", m.Flows())
	}
}
