package datapathtest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
)

// A case about services has one of its own (vip), with addresses and clients'
// ports that no other case of the lab has: datapaths remember flows. What goes
// where is computed from package balance, and a client's port is looked for that
// leads to the backend that the case is about.

// Ports of a service, and of its backends: what leads to one port leads to
// another, and to the same.
const (
	vipPort    = 80
	targetPort = 8080
	samePort   = 443
)

// vip is a service of a case, in Red.
type vip struct {
	datapath.Service
	site *Site
}

// service returns a service with these backends, with port translation.
func (s *Site) service(backends ...datapath.Backend) *vip {
	s.lastVIP++
	n := s.lastVIP
	return &vip{site: s, Service: datapath.Service{
		Name: fmt.Sprintf("service-%d", n),
		VIPs: []netip.Addr{
			netip.AddrFrom4([4]byte{10, 0, byte(0x80 | n>>8), byte(n)}),
			netip.AddrFrom16([16]byte{0xfd, 13: 0x80, 14: byte(n >> 8), 15: byte(n)}),
		},
		Ports: []datapath.ServicePort{
			{Protocol: protoTCP, Port: vipPort, Target: targetPort}, {Protocol: protoTCP, Port: samePort, Target: samePort},
			{Protocol: protoUDP, Port: vipPort, Target: targetPort}, {Protocol: protoUDP, Port: samePort, Target: samePort},
		},
		TableSize: balance.Sizes[0], Backends: backends,
	}}
}

const (
	protoTCP = uint8(layers.IPProtocolTCP)
	protoUDP = uint8(layers.IPProtocolUDP)
)

// backend is an endpoint as a backend.
func (s *Site) backend(e Endpoint) datapath.Backend {
	return datapath.Backend{ID: fmt.Sprintf("endpoint-%d", e.MAC[5]), MAC: e.MAC, Addrs: e.Addrs(), Weight: 1}
}

// backends are such of every kind: on this host, behind a TAP, on two others.
func (s *Site) backends() []datapath.Backend {
	return []datapath.Backend{s.backend(s.B), s.backend(s.TAP), s.backend(s.C), s.backend(s.E)}
}

// draining is a backend that gets nothing new.
func draining(b datapath.Backend) datapath.Backend {
	b.Draining = true
	return b
}

// state is a State with the service in it.
func (v *vip) state(st *datapath.State) {
	n := Network(st, Red)
	n.Services = append(n.Services, v.Service)
}

// with is the service with other backends.
func (v *vip) with(backends ...datapath.Backend) *vip {
	out := *v
	out.Backends = backends
	return &out
}

// without is the service without an endpoint.
func (v *vip) without(e Endpoint) *vip {
	return v.with(slices.DeleteFunc(slices.Clone(v.Backends), func(b datapath.Backend) bool { return b.MAC == e.MAC })...)
}

// drained is the service with an endpoint that is draining.
func (v *vip) drained(e Endpoint) *vip {
	out := v.with(slices.Clone(v.Backends)...)
	for i := range out.Backends {
		out.Backends[i].Draining = out.Backends[i].Draining || out.Backends[i].MAC == e.MAC
	}
	return out
}

// on is the VIP of a family as an end of frames.
func (v *vip) on(f Family) Party { return Party{datapath.ServiceMAC, v.addr(f)} }

func (v *vip) addr(f Family) netip.Addr { return ofFamily(v.VIPs, f) }

func ofFamily(addrs []netip.Addr, f Family) netip.Addr {
	for _, a := range addrs {
		if a.Is4() == (f == IPv4) {
			return a
		}
	}
	return netip.Addr{}
}

// on is the endpoint as a party of a family's frames.
func (e Endpoint) on(f Family) Party {
	if f == IPv4 {
		return e.On4()
	}
	return e.On6()
}

// chosen is the backend that a flow of a client with that port is led to, if
// nothing is remembered. It is none if there is none.
func (v *vip) chosen(f Family, protocol uint8, client Party, clientPort, port uint16) (datapath.Backend, bool) {
	var able []datapath.Backend
	var names []balance.Backend
	for _, b := range v.Backends {
		if !b.Draining && ofFamily(b.Addrs, f).IsValid() {
			able = append(able, b)
			names = append(names, balance.Backend{Name: b.ID, Weight: b.Weight})
		}
	}
	table := balance.Table(names, v.TableSize)
	if table == nil {
		return datapath.Backend{}, false
	}
	flow := balance.Flow{
		Protocol: protocol,
		Client:   netip.AddrPortFrom(client.Addr, clientPort), VIP: netip.AddrPortFrom(v.addr(f), port),
	}
	if v.Affinity > 0 {
		flow = flow.Affine()
	}
	return able[table[balance.Entry(flow.Hash(), len(table))]], true
}

// target is where a port of the service leads to.
func (v *vip) target(protocol uint8, port uint16) uint16 {
	for _, p := range v.Ports {
		if p.Protocol == protocol && p.Port == port {
			return p.Target
		}
	}
	return port
}

// flow is a flow of a client through a VIP, as frames.
type flow struct {
	site     *Site
	family   Family
	protocol uint8
	// from is who the client is, at which port; to the VIP.
	client   Endpoint
	from, to End
	// backend is where it goes, and seen the client's end as that sees it.
	backend   Endpoint
	target    End
	seen      End
	backendID string
}

// nextPort is a client's port that no other flow of the lab has.
func (s *Site) nextPort() uint16 {
	s.lastPort++
	return firstClientPort + s.lastPort
}

const firstClientPort = 10000

// flow returns a new one from a client to a backend, by a port of the service. It
// takes a client's port that leads there.
func (v *vip) flow(f Family, protocol uint8, client, backend Endpoint, port uint16) flow {
	for range 1000 {
		if out := v.anyFlow(f, protocol, client, port); out.backend == backend {
			return out
		}
	}
	panic(fmt.Sprintf("datapathtest: no client port leads to %s", backend.MAC))
}

// anyFlow returns a new one to whichever backend is its own.
func (v *vip) anyFlow(f Family, protocol uint8, client Endpoint, port uint16) flow {
	return v.flowFrom(f, protocol, client, v.site.nextPort(), port)
}

// flowFrom returns one from that port of the client. Where the service has no
// backend, it has none.
func (v *vip) flowFrom(f Family, protocol uint8, client Endpoint, clientPort, port uint16) flow {
	out := flow{
		site: v.site, family: f, protocol: protocol, client: client,
		from: End{client.on(f), clientPort}, to: End{v.on(f), port},
	}
	out.seen = out.from
	if b, ok := v.chosen(f, protocol, out.from.Party, clientPort, port); ok {
		out = out.at(b, v.target(protocol, port))
	}
	if out.backend == client {
		// Which would not take a packet from itself.
		out.seen.Party = out.to.Party
	}
	return out
}

// at is the flow where it goes to that backend.
func (f flow) at(b datapath.Backend, target uint16) flow {
	f.backendID = b.ID
	f.backend = crowdEndpoint(b)
	for _, e := range f.site.endpoints() {
		if e.MAC == b.MAC {
			f.backend = e
			break
		}
	}
	f.target = End{Party{b.MAC, ofFamily(b.Addrs, f.family)}, target}
	return f
}

// again is what a flow with the same client, port and VIP is where the service
// is as it is now and nothing is remembered.
func (f flow) again(v *vip) flow {
	return v.flowFrom(f.family, f.protocol, f.client, f.from.Port, f.to.Port)
}

// into is a frame that an endpoint sends, at the place where it comes in.
func (s *Site) into(e Endpoint, frame []byte) Frame {
	switch {
	case e == s.C, e == s.D:
		return s.From(s.Host2, Red, frame)
	case e == s.E, inCrowd(e):
		return s.From(s.Host3, Red, frame)
	}
	return Frame{s.port(e), frame}
}

// outTo is a frame that an endpoint receives, at the place where it comes out.
func (s *Site) outTo(e Endpoint, frame []byte) Frame {
	switch {
	case e == s.C, e == s.D:
		return s.To(s.Host2, Red, frame)
	case e == s.E, inCrowd(e):
		return s.To(s.Host3, Red, frame)
	}
	return Frame{s.port(e), frame}
}

// build makes a packet between two ends.
type build func(from, to End) []byte

// segment builds TCP segments.
func segment(s Segment) build { return s.Frame }

// datagram builds UDP datagrams.
func datagram(payload string) build {
	return func(from, to End) []byte { return Datagram(from, to, payload) }
}

// The segments of a short connection.
var (
	syn = segment(Segment{Flags: TCPSYN, Seq: 1000, Window: 64000, Options: synOptions})
	// synAck and what follows is as if sequence numbers were checked, which no
	// datapath does.
	synAck    = segment(synAckSegment)
	ack       = segment(Segment{Flags: TCPACK, Seq: 1001, Ack: 5001, Window: 500})
	request   = segment(requestSegment)
	response  = segment(Segment{Flags: TCPPSH | TCPACK, Seq: 5001, Ack: 1005, Window: 500, Payload: "an odd answer"})
	fin       = segment(Segment{Flags: TCPFIN | TCPACK, Seq: 1005, Ack: 5014, Window: 500})
	finBack   = segment(Segment{Flags: TCPFIN | TCPACK, Seq: 5014, Ack: 1006, Window: 500})
	lastAck   = segment(Segment{Flags: TCPACK, Seq: 1006, Ack: 5015, Window: 500})
	reset     = segment(Segment{Flags: TCPRST, Seq: 1005})
	resetBack = segment(Segment{Flags: TCPRST | TCPACK, Seq: 5014, Ack: 1005})
)

var (
	synAckSegment  = Segment{Flags: TCPSYN | TCPACK, Seq: 5000, Ack: 1001, Window: 64000, Options: synOptions}
	requestSegment = Segment{Flags: TCPPSH | TCPACK, Seq: 1001, Ack: 5001, Window: 500, Payload: "GET "}
)

// synOptions are those of Linux: MSS, SACK, timestamps, window scale.
var synOptions = []layers.TCPOption{
	{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}},
	{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
	{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 0, 0, 0, 0}},
	{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
	{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
}

// first is a packet with which the flow may begin.
func (f flow) first() build {
	if f.protocol == protoTCP {
		return syn
	}
	return datagram("a request")
}

// reply is what the backend may answer to it.
func (f flow) reply() build {
	if f.protocol == protoTCP {
		return synAck
	}
	return datagram("the answer")
}

// more is a packet with which the flow may go on.
func (f flow) more() build {
	if f.protocol == protoTCP {
		return request
	}
	return datagram("another request")
}

// sends is a packet of the client as it goes in.
func (f flow) sends(p build) Frame { return f.site.into(f.client, p(f.from, f.to)) }

// forth is a step in which packets go from the client to the backend.
func (f flow) forth(packets ...build) Step {
	var s Step
	for _, p := range packets {
		s.In = append(s.In, f.sends(p))
		s.Out = append(s.Out, f.site.outTo(f.backend, p(f.seen, f.target)))
	}
	return s
}

// back is a step in which packets go from the backend to the client.
func (f flow) back(packets ...build) Step {
	var s Step
	for _, p := range packets {
		s.In = append(s.In, f.site.into(f.backend, p(f.target, f.seen)))
		s.Out = append(s.Out, f.site.outTo(f.client, p(f.to, f.from)))
	}
	return s
}

// begins are the steps with which a flow begins, and is established.
func (f flow) begins() []Step { return []Step{f.forth(f.first()), f.back(f.reply())} }

// refused is a step in which a packet is dropped and answered.
func (f flow) refused(p build, reason datapath.DropReason, answer []byte) Step {
	return Step{
		In: []Frame{f.sends(p)}, Out: []Frame{f.site.outTo(f.client, answer)},
		Drops: []datapath.DropReason{reason},
	}
}

// ignored is one in which it is dropped, and nobody is told.
func (f flow) ignored(p build, reason datapath.DropReason) Step {
	return Step{In: []Frame{f.sends(p)}, Drops: []datapath.DropReason{reason}}
}

// cut is a step in which a TCP segment is answered with a reset.
func (f flow) cut(s Segment, reason datapath.DropReason) Step {
	return f.refused(segment(s), reason, s.Reset(f.to, f.from))
}

// unreachable is a step in which a packet is answered with an ICMP error: over
// IPv4 of type 3 with the first code, over IPv6 of type 1 with the second.
func (f flow) unreachable(p build, reason datapath.DropReason, code4, code6 byte) Step {
	return f.refused(p, reason, f.told(p, code4, code6))
}

func (f flow) told(p build, code4, code6 byte) []byte {
	about := p(f.from, f.to)
	if f.family == IPv6 {
		return ICMPError(f.to.Party, f.from.Party, 1, code6, 0, about)
	}
	return ICMPError(f.to.Party, f.from.Party, 3, code4, 0, about)
}

// known is the flow as the datapath has to list it, when these packets have gone
// forth and back.
func (f flow) known(state datapath.FlowState, forth, back []build) datapath.Flow {
	out := datapath.Flow{
		VNI: Red, Protocol: f.protocol, Client: f.from.addrPort(), VIP: f.to.addrPort(), Backend: f.target.addrPort(),
		BackendID: f.backendID, SourcePort: f.seen.Port, State: state,
	}
	for _, p := range forth {
		out.Sent = out.Sent.Add(sizeOf(p(f.from, f.to)))
	}
	for _, p := range back {
		out.Received = out.Received.Add(sizeOf(p(f.target, f.seen)))
	}
	return out
}

// lists is a step in which the datapath is asked for the flows to the VIP.
func (v *vip) lists(flows ...datapath.Flow) Step {
	return Step{Flows: &FlowList{Of: v.VIPs, Want: flows}}
}

// becomes is a step in which the service changes.
func (v *vip) becomes() Step { return Step{State: v.state} }

// serviceCase is a case of one service.
func serviceCase(name string, v *vip, steps ...Step) Case {
	return Case{Name: name, State: v.state, Steps: steps}
}

// kinds are the protocols over both families, for cases that are alike.
type kind struct {
	family   Family
	protocol uint8
}

func kinds() []kind {
	return []kind{{IPv4, protoTCP}, {IPv4, protoUDP}, {IPv6, protoTCP}, {IPv6, protoUDP}}
}

func (k kind) String() string {
	return fmt.Sprintf("%s over %s", layers.IPProtocol(k.protocol), k.family)
}
