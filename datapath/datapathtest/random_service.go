package datapathtest

import (
	"bytes"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Services among random frames: some of every kind, and what may come of what
// endpoints say to them.

// randomServices are services of Red: of every port, of some, and without backends.
func (s *Site) randomServices() []datapath.Service {
	all := s.service(append(s.backends(), s.backend(s.A))...)
	all.Ports = nil
	some := s.service(s.backends()...)
	some.Ports = []datapath.ServicePort{
		{Protocol: protoTCP, Port: 2222, Target: 2222}, {Protocol: protoUDP, Port: 2222, Target: targetPort},
	}
	own := s.service(s.backend(s.A), s.backend(s.TAP))
	return []datapath.Service{all.Service, some.Service, own.Service, s.service().Service}
}

// vipsOf are the VIPs of services, as endpoints.
func vipsOf(services []datapath.Service) []Endpoint {
	var out []Endpoint
	for _, v := range services {
		out = append(out, Endpoint{datapath.ServiceMAC, v.VIPs[0], v.VIPs[1]})
	}
	return out
}

// answers are what a backend may send to a client that has sent it what talk says:
// replies, and errors.
func answers(backend, client Endpoint) [][]byte {
	var out [][]byte
	for _, family := range []Family{IPv4, IPv6} {
		for _, port := range []uint16{2222, targetPort} {
			from, to := End{backend.on(family), port}, End{client.on(family), 1111}
			out = append(out, Datagram(from, to, longer), segment(Segment{Flags: TCPACK, Payload: longer})(from, to),
				segment(Segment{Flags: TCPACK | TCPSYN, Payload: longer})(from, to),
				foreignError(from.Party, to.Party, Datagram(to, from, longer)))
			out = append(out, Fragments(Datagram(from, to, longer), OuterIPOffset, 24, 2)...)
		}
	}
	return out
}

// openReset is a reset that is told from the datapath's own by its window.
var openReset = segment(Segment{Flags: TCPRST, Seq: 1005, Window: 500})

// foreignError is an ICMP error that no datapath sends.
func foreignError(from, to Party, about []byte) []byte {
	if from.Addr.Is6() {
		return ICMPError(from, to, 1, 7, 0, about)
	}
	return ICMPError(from, to, 3, 13, 0, about)
}

// addServices makes frames to VIPs, replies, and errors about them.
func (r *randomFrames) addServices(services []datapath.Service) {
	s := r.site
	vips := vipsOf(services)
	for _, from := range []Endpoint{s.A, s.TAP} {
		at := s.port(from)
		for _, v := range vips {
			frames := talk(from, v)
			for _, f := range []Family{IPv4, IPv6} {
				a, b := End{from.on(f), 1111}, End{v.on(f), 2222}
				frames = append(frames, syn(a, b), fin(a, b), openReset(a, b), Datagram(a, b, longer), SCTP(a, b),
					foreignError(a.Party, b.Party, Datagram(b, a, longer)))
			}
			for _, frame := range frames {
				r.bases[fromEndpoints] = append(r.bases[fromEndpoints], Frame{at, frame})
			}
		}
	}
	for _, frame := range answers(s.TAP, s.A) {
		r.bases[fromEndpoints] = append(r.bases[fromEndpoints], Frame{RedTAP, frame})
	}
	for _, to := range append(vips, s.A, s.TAP) {
		for _, frame := range answers(s.A, to) {
			r.bases[fromEndpoints] = append(r.bases[fromEndpoints], Frame{RedA, frame})
		}
		for _, frame := range append(answers(s.C, to), talk(s.C, to)...) {
			r.bases[fromUnderlay] = append(r.bases[fromUnderlay], s.From(s.Host2, Red, frame))
		}
	}
	for _, v := range vips {
		r.words = append(r.words, v.MAC[:], v.V4.AsSlice(), v.V6.AsSlice())
	}
}

// translatable says whether a frame may be part of a flow to a VIP: what an
// endpoint here sends to one, and what a backend sends.
func (m *model) translatable(s spoken) bool {
	services := m.services[s.vni]
	if len(services) == 0 {
		return false
	}
	src := s.frame[6:12]
	return m.toVIP(s) || slices.ContainsFunc(services, func(v datapath.Service) bool {
		return slices.ContainsFunc(v.Backends, func(b datapath.Backend) bool { return bytes.Equal(src, b.MAC[:]) })
	})
}

// toVIP says whether a frame has the MAC of VIPs, or one that is nobody's, which goes
// by its address.
func (m *model) toVIP(s spoken) bool {
	dst := encap.MAC(s.frame[0:6])
	_, known := m.owners[s.vni][dst]
	return dst == datapath.ServiceMAC || !known && !toGroup(s.frame)
}

// untranslated is what of a frame stays the same on its way through a VIP: all but
// MACs, addresses, ports, and what is computed over them; of a ping, and of an
// error's quote, as well.
func untranslated(f []byte) string {
	out := withoutPriority(f)
	copy(out, make([]byte, 12))
	if start, _, ok := ipHeader(out); ok {
		out = withoutECN(out, start)
		blank(out, start, 2)
	}
	return string(out)
}

// blank clears what translation changes in the packet at, and in that one which
// it may quote.
func blank(f []byte, at, depth int) {
	clear := func(from, n int) {
		for i := max(from, 0); i < min(from+n, len(f)); i++ {
			f[i] = 0
		}
	}
	if at >= len(f) || depth == 0 {
		return
	}
	var protocol byte
	var upper int
	if isIPv6(f, at) {
		clear(at+8, 32)
		protocol, upper = extensions(f, at)
	} else {
		upper = at + int(f[at]&0xf)*4
		if len(f) > at+9 {
			protocol = f[at+9]
		}
		later := len(f) > at+7 && (f[at+6]&0x1f != 0 || f[at+7] != 0)
		clear(at+10, 10)
		if later {
			return
		}
	}
	switch layers.IPProtocol(protocol) {
	case layers.IPProtocolTCP:
		clear(upper, 4)
		clear(upper+16, 2)
	case layers.IPProtocolUDP:
		clear(upper, 4)
		clear(upper+6, 2)
	case layers.IPProtocolICMPv4, layers.IPProtocolICMPv6:
		clear(upper, 1)
		clear(upper+2, 2)
		blank(f, upper+8, depth-1)
	}
}

// extensions finds what is behind the IPv6 headers of the packet at: nothing, in a
// later fragment.
func extensions(f []byte, at int) (protocol byte, upper int) {
	protocol, upper = 0, at+40
	if len(f) > at+6 {
		protocol = f[at+6]
	}
	for upper+8 <= len(f) {
		next, length := f[upper], int(f[upper+1])*8+8
		switch protocol {
		case extHopByHop, extRouting, extDestination:
		case extAuth:
			length = int(f[upper+1])*4 + 8
		case extFragment:
			if length = 8; f[upper+2] != 0 || f[upper+3]&0xf8 != 0 {
				return extFragment, upper + length
			}
		default:
			return protocol, upper
		}
		protocol, upper = next, upper+length
	}
	return protocol, upper
}

// refuses says whether a frame tells an endpoint here that a VIP does not take
// what it has sent: a reset, or an ICMP error that quotes it.
func (m *model) refuses(f Frame) bool {
	const reset, icmp = 20, 8
	if f.At == Underlay || !bytes.Equal(f.Bytes[6:12], datapath.ServiceMAC[:]) {
		return false
	}
	p := gopacket.NewPacket(f.Bytes, layers.LayerTypeEthernet, gopacket.NoCopy)
	if p.NetworkLayer() == nil {
		return false
	}
	message := p.NetworkLayer().LayerPayload()
	var quote []byte
	if tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
		if !tcp.RST || len(message) != reset || tcp.Window != 0 {
			return false
		}
	} else if icmp4, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		if c := icmp4.TypeCode; c.Type() != 3 || c.Code() != 2 && c.Code() != 3 {
			return false
		}
		quote = message[icmp:]
	} else if icmp6, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		if c := icmp6.TypeCode; c.Type() != 1 || c.Code() != 1 && c.Code() != 4 {
			return false
		}
		quote = message[icmp:]
	} else {
		return false
	}
	for _, all := range m.said {
		for _, s := range all {
			if s.from == f.At && m.toVIP(s) && bytes.Contains(s.frame, quote) {
				return true
			}
		}
	}
	return false
}
