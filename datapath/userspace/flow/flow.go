// Package flow remembers which backend a client's packets to a VIP go to. It
// knows nothing of packets and of State, and is what of the userspace datapath
// outlives its tables, and, in a file, its processes (saved.go).
//
// A Memory has an entry for each flow, found by what its client sends (Out) and by
// what its backend sends (Back): both in one shard, so that one lock is enough.
// Flows are young or established (generation.go); each generation is bounded and
// pushes out the flow that was quiet the longest, so that no flood of young ones
// pushes out an established one. Beside flows it remembers which backend a client
// goes to (affinity.go), and the ports of first fragments (fragment.go).
package flow

import (
	"sync"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Key is one direction of a flow: of packets from the client as it sends them, to
// the VIP, or of packets from the backend as it sends them, to the client's address
// as the backend sees it. IPv4 addresses are ::ffff:a.b.c.d.
type Key struct {
	Client, Server         [16]byte
	ClientPort, ServerPort uint16
	VNI                    encap.VNI
	Protocol               uint32 // of 32 bits, so that a Key has no holes
}

// Flow is what is remembered of one.
type Flow struct {
	// Forward is the client's packets' key, Reverse the backend's.
	Forward, Reverse Key
	// Backend is the endpoint's ID.
	Backend string
	// Self says that the client is its own backend: there the client's address
	// in Reverse is the VIP.
	Self           bool
	State          datapath.FlowState
	Sent, Received datapath.Counter
	// Seen is when there was a packet last, to a second.
	Seen time.Duration
}

// Packet is what a packet tells about its flow.
type Packet struct {
	// Now is when it came: what Memory.Now said.
	Now time.Duration
	// SYN is a TCP packet that begins a connection: without ACK. End is one with
	// FIN or reset, Reset one with reset.
	SYN, End, Reset bool
	Packets, Bytes  uint64
}

// Hit is what is to be known of the flow of a packet.
type Hit struct {
	// Key is how the other side knows the flow.
	Key     Key
	Backend string
	Self    bool
	// Refreshed says that this was the first packet in a second.
	Refreshed bool
}

// Options say how much is remembered.
type Options struct {
	// Young and Established are how many flows there are at most of each
	// generation; the defaults are DefaultYoung and DefaultEstablished.
	Young, Established int
	// Clock tells the time; the default is time.Now.
	Clock func() time.Time
}

// Defaults of Options. A flow takes about half a KiB.
const (
	DefaultYoung       = 1 << 16
	DefaultEstablished = 1 << 17
)

// shards is a power of two. Ports of one client are spread evenly over them.
const shards = 64

// refresh is how often a flow's time is set anew, and how old one has to be that
// is put with the established.
const refresh = time.Second

// Memory is for all goroutines of a datapath.
type Memory struct {
	clock     func() time.Time
	start     time.Time
	file      *file // nil: flows end with the process
	shards    [shards]shard
	affinity  recent[client, string]
	fragments recent[Fragment, ports]
}

// New returns a Memory of nothing.
func New(o Options) *Memory {
	if o.Young == 0 {
		o.Young = DefaultYoung
	}
	if o.Established == 0 {
		o.Established = DefaultEstablished
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	m := &Memory{clock: o.Clock, start: o.Clock()}
	for i := range m.shards {
		m.shards[i].init(max(1, o.Young/shards), max(1, o.Established/shards))
	}
	m.affinity.init(maxClients)
	m.fragments.init(maxFragments)
	return m
}

// Now is the time since the Memory was made, for Packet.
func (m *Memory) Now() time.Duration { return m.clock().Sub(m.start) }

// shard is a part of the flows.
type shard struct {
	mu      sync.Mutex
	file    *file
	forward map[Key]*entry
	reverse map[Key]*entry
	young   generation
	old     generation
}

// entry is a Flow in the lists of its shard.
type entry struct {
	Flow
	began      time.Duration
	ended      side // of those that this process has seen
	record     int  // of the file; 0: none
	in         *generation
	prev, next *entry
}

// side is an end of a flow, or both.
type side uint8

const (
	clientSide side = 1 << iota
	backendSide
)

// end notes who ends a connection with a packet: a reset ends it for both.
func (e *entry) end(p *Packet, from side) {
	switch {
	case p.Reset:
		e.ended = clientSide | backendSide
	case p.End:
		e.ended |= from
	}
}

// over says whether it has ended for both.
func (e *entry) over() bool { return e.ended == clientSide|backendSide }

func (s *shard) init(young, established int) {
	s.forward, s.reverse = map[Key]*entry{}, map[Key]*entry{}
	s.young.init(young)
	s.old.init(established)
}

// at is the shard of a client's port, as the client or the backend has it: Add
// chooses ports so that they agree.
func (m *Memory) at(vni encap.VNI, client *[16]byte, port uint16) *shard {
	const prime = 0x01000193 // FNV-1a
	h := uint32(vni)
	for _, b := range client[8:] {
		h = (h ^ uint32(b)) * prime
	}
	return &m.shards[(h^h>>16+uint32(port))%shards]
}

// Out finds the flow of a packet from its client. A SYN on a flow that is closing
// begins a new one: then the flow is forgotten, and not found.
func (m *Memory) Out(k *Key, p *Packet) (Hit, bool) {
	s := m.at(k.VNI, &k.Client, k.ClientPort)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.live(s.forward[*k], p.Now)
	if e == nil {
		return Hit{}, false
	}
	if p.SYN && e.State == datapath.FlowClosing {
		s.forget(e)
		return Hit{}, false
	}
	e.Sent.Packets += p.Packets
	e.Sent.Bytes += p.Bytes
	e.end(p, clientSide)
	return s.touch(e, p, &e.Reverse, false), true
}

// Back finds the flow of a packet from its backend. self says that the packet is
// for a VIP, as that of a client is which is its own backend.
func (m *Memory) Back(k *Key, self bool, p *Packet) (Hit, bool) {
	s := m.behind(k, self)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.live(s.reverse[*k], p.Now)
	if e == nil {
		return Hit{}, false
	}
	first := e.State == datapath.FlowNew
	if first {
		e.State = datapath.FlowEstablished
	}
	e.Received.Packets += p.Packets
	e.Received.Bytes += p.Bytes
	e.end(p, backendSide)
	return s.touch(e, p, &e.Forward, first), true
}

// behind is the shard of a packet from a backend.
func (m *Memory) behind(k *Key, self bool) *shard {
	if self {
		return m.at(k.VNI, &k.Server, k.ClientPort)
	}
	return m.at(k.VNI, &k.Client, k.ClientPort)
}

// touch is for each packet of a flow; changed: its state is another with it.
func (s *shard) touch(e *entry, p *Packet, other *Key, changed bool) Hit {
	if p.End {
		changed = changed || e.State != datapath.FlowClosing
		e.State = datapath.FlowClosing
	}
	h := Hit{Key: *other, Backend: e.Backend, Self: e.Self, Refreshed: p.Now-e.Seen >= refresh}
	if h.Refreshed {
		e.Seen = p.Now
		to := e.in
		if e.settled(p.Now) {
			to = &s.old
		}
		s.move(e, to, p.Now)
	}
	if changed || h.Refreshed {
		s.note(e)
	}
	return h
}

// QuotedOut and QuotedBack find a flow by a packet of it that an ICMP error
// quotes, which tells nothing about the flow: one that its client has sent, or its
// backend.
func (m *Memory) QuotedOut(k *Key, now time.Duration) (Hit, bool) {
	s := m.at(k.VNI, &k.Client, k.ClientPort)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.live(s.forward[*k], now)
	if e == nil {
		return Hit{}, false
	}
	return Hit{Key: e.Reverse, Backend: e.Backend, Self: e.Self}, true
}

// QuotedBack is Back without a trace, as QuotedOut is Out.
func (m *Memory) QuotedBack(k *Key, self bool, now time.Duration) (Hit, bool) {
	s := m.behind(k, self)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.live(s.reverse[*k], now)
	if e == nil {
		return Hit{}, false
	}
	return Hit{Key: e.Forward, Backend: e.Backend, Self: e.Self}, true
}

// Add begins a flow to a backend, whose ID, address and port these are, in place of
// any that the client's key had.
func (m *Memory) Add(k *Key, id string, addr [16]byte, port uint16, p *Packet) Hit {
	s := m.at(k.VNI, &k.Client, k.ClientPort)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.forward[*k]; e != nil {
		s.forget(e)
	}
	f := Flow{Forward: *k, Reverse: *k, Backend: id, Self: addr == k.Client, Seen: p.Now}
	f.Reverse.Server, f.Reverse.ServerPort = addr, port
	if f.Self {
		f.Reverse.Client = k.Server
	}
	s.freePort(&f.Reverse, p.Now)
	if p.End {
		f.State = datapath.FlowClosing
	}
	f.Sent = datapath.Counter{Packets: p.Packets, Bytes: p.Bytes}
	s.insert(f, p.Now, &s.young, p.Now).end(p, clientSide)
	return Hit{Key: f.Reverse, Backend: id, Self: f.Self}
}

// Ports that stacks do not choose for their connections by default (RFC 6335; Linux:
// 32768 to 60999) are the first to be tried where a flow needs another than its
// client's.
const firstSpare, leastSpare = 61440, 1024 // multiples of shards

// freePort gives a reverse key another port of the client's if it is another
// flow's: one of the same shard. If none is free, the flow that has the key loses
// it.
func (s *shard) freePort(k *Key, now time.Duration) {
	if s.live(s.reverse[*k], now) == nil {
		return
	}
	wanted := k.ClientPort
	k.ClientPort = firstSpare + wanted%shards
	for range (1<<16 - leastSpare) / shards {
		if s.live(s.reverse[*k], now) == nil {
			return
		}
		if k.ClientPort += shards; k.ClientPort < leastSpare {
			k.ClientPort += leastSpare
		}
	}
	k.ClientPort = wanted
	s.forget(s.reverse[*k])
}

// insert makes room for a flow in a generation.
func (s *shard) insert(f Flow, began time.Duration, g *generation, now time.Duration) *entry {
	e := &entry{Flow: f, began: began}
	s.forward[f.Forward], s.reverse[f.Reverse] = e, e
	s.put(e, g, now)
	return e
}

// Forget is for a flow whose backend is gone.
func (m *Memory) Forget(k *Key) {
	s := m.at(k.VNI, &k.Client, k.ClientPort)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.forward[*k]; e != nil {
		s.forget(e)
	}
}

// Yield forgets the flow that a backend's packets with that key are of, if it is
// over: they are to be another's.
func (m *Memory) Yield(k *Key) {
	s := m.behind(k, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.reverse[*k]; e != nil && e.over() {
		s.forget(e)
	}
}

// live is e, unless it is nil or has been quiet for too long: then it is nil, and
// what was there is forgotten.
func (s *shard) live(e *entry, now time.Duration) *entry {
	if e != nil && now-e.Seen > e.lifetime() {
		s.forget(e)
		return nil
	}
	return e
}

// lifetime is how long the flow may be quiet. It is seen to a second only, and so
// has one more.
func (f *Flow) lifetime() time.Duration {
	const tcp = 6
	quiet := datapath.FlowTimeNewUDP
	switch {
	case f.State == datapath.FlowClosing:
		quiet = datapath.FlowTimeClosing
	case f.Protocol() == tcp && f.State == datapath.FlowNew:
		quiet = datapath.FlowTimeNewTCP
	case f.Protocol() == tcp:
		quiet = datapath.FlowTimeEstablishedTCP
	case f.State == datapath.FlowEstablished:
		quiet = datapath.FlowTimeEstablishedUDP
	}
	return quiet + refresh
}

// Protocol is the IP protocol number.
func (f *Flow) Protocol() uint8 { return uint8(f.Forward.Protocol) }

// forget takes a flow out of its shard.
func (s *shard) forget(e *entry) {
	s.drop(e)
	e.in.remove(e)
	delete(s.forward, e.Forward)
	delete(s.reverse, e.Reverse)
}
