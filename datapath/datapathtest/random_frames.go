package datapathtest

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/encap"
)

// randomFrames makes frames that are right, nearly right, and anything but.
// Each follows from a seed and its number alone, so that one can be made again.
type randomFrames struct {
	site *Site
	seed uint64
	// bases are right frames, by the side that they come from.
	bases map[side][]Frame
	words [][]byte // what fields are set to: addresses and VNIs there are
}

// side is where random frames come from.
type side string

const (
	fromEndpoints side = "endpoints"
	fromUnderlay  side = "the underlay"
)

func newRandomFrames(s *Site, seed uint64) *randomFrames {
	r := &randomFrames{site: s, seed: seed, bases: map[side][]Frame{}}
	here := map[Place]Endpoint{RedA: s.A, RedTAP: s.TAP, BlueA: s.A}
	for _, at := range []Place{RedA, RedTAP, BlueA} {
		for _, to := range append(s.endpoints(), everybody) {
			for _, frame := range talk(here[at], to) {
				r.bases[fromEndpoints] = append(r.bases[fromEndpoints], Frame{at, frame})
			}
		}
	}
	for _, from := range []struct {
		host Party
		vni  encap.VNI
		who  Endpoint
	}{{s.Host2, Red, s.C}, {s.Host2, Blue, s.D}, {s.Host3, Red, s.E}, {s.Host4, Blue, s.F}} {
		for _, to := range append(s.endpoints(), everybody) {
			for _, frame := range talk(from.who, to) {
				r.bases[fromUnderlay] = append(r.bases[fromUnderlay], s.From(from.host, from.vni, frame))
			}
		}
	}
	for _, e := range append(s.endpoints(), Endpoint{MAC: broadcast, V4: netip.IPv4Unspecified(), V6: netip.IPv6Unspecified()}) {
		mapped := e.V4.As16()
		r.words = append(r.words, e.MAC[:], e.V4.AsSlice(), mapped[:], e.V6.AsSlice(), e.OnLinkLocal().Addr.AsSlice())
	}
	for _, p := range []Party{s.Here, s.Host2, s.Host3, s.Host4, s.Stranger} {
		r.words = append(r.words, p.MAC[:], p.Addr.AsSlice())
	}
	for _, vni := range []encap.VNI{0, Red, Blue, Green} {
		r.words = append(r.words, binary.BigEndian.AppendUint32(nil, uint32(vni))[1:])
	}
	return r
}

// addGateways adds frames from gateways, and to them.
func (r *randomFrames) addGateways() {
	s := r.site
	gw := s.gateway()
	for _, at := range []Place{RedB, BlueB} {
		for _, to := range append(s.endpoints(), gw, everybody) {
			for _, frame := range talk(gw, to) {
				r.bases[fromEndpoints] = append(r.bases[fromEndpoints], Frame{at, frame})
			}
		}
	}
	for _, frame := range talk(s.A, gw) {
		r.bases[fromEndpoints] = append(r.bases[fromEndpoints], Frame{RedA, frame}, Frame{BlueA, frame})
	}
	for _, frame := range slices.Concat(talk(s.C, gw), talk(gw, s.A), talk(gw, gw)) {
		r.bases[fromUnderlay] = append(r.bases[fromUnderlay], s.From(s.Host2, Red, frame), s.From(s.Host2, Blue, frame))
	}
	r.words = append(r.words, gw.MAC[:], gw.OnLinkLocal().Addr.AsSlice())
}

// everybody is who frames to all are for.
var everybody = Endpoint{MAC: broadcast, V4: netip.AddrFrom4([4]byte{10, 0, 0, 255}), V6: netip.IPv6LinkLocalAllNodes()}

// endpoints are all there are, and one that is not.
func (s *Site) endpoints() []Endpoint {
	return []Endpoint{s.A, s.B, s.TAP, s.C, s.D, s.D2, s.E, s.F, s.Gateway, s.Nobody}
}

// talk is what an endpoint may say to another.
func talk(from, to Endpoint) [][]byte {
	const ip = 14
	a, b, a6, b6 := from.On4(), to.On4(), from.On6(), to.On6()
	frames := [][]byte{
		UDP4(a, b, longer), UDP6(a6, b6, longer), TCP(a, b, longer), TCP(a6, b6, longer),
		ICMP4Echo(a, b, false), ICMP6Echo(from.OnLinkLocal(), to.OnLinkLocal(), true),
		ARPRequest(a, b.Addr), ARPReply(a, b), Solicitation(a6, b6.Addr, a.MAC), Advertise(a6, b6, ndSolicited),
		Ethernet(a, b, 0x88b5, longer), Ethernet(a, b, 4, "\xaa\xaa\x03x"),
		Tagged(UDP4(a, b, longer), layers.EthernetTypeDot1Q, 5), Tagged(UDP6(a6, b6, longer), layers.EthernetTypeQinQ, 0),
		VXLAN(a, b, Red, UDP4(a, b, longer)), WithTOS(UDP4(a, b, longer), ip, 0xb9),
	}
	frames = append(frames, Fragments(UDP4(a, b, longer), ip, 24, 1)...)
	return append(frames, Fragments(UDP6(a6, b6, longer), ip, 24, 1)...)
}

// frame returns a frame of that side.
func (r *randomFrames) frame(from side, number uint64) Frame {
	rng := rand.New(rand.NewPCG(r.seed, number))
	base := r.bases[from][rng.IntN(len(r.bases[from]))]
	f := slices.Clone(base.Bytes)
	inside := 0
	if from == fromUnderlay {
		inside = r.site.Inner
	}
	switch rng.IntN(16) {
	case 0: // right as it is
		return base
	case 1: // noise behind what brings it to the datapath
		f = append(f[:inside], noise(rng, ethernetLen+rng.IntN(200))...)
		copy(f[inside:], base.Bytes[inside:inside+rng.IntN(ethernetLen+1)])
	default:
		// Most changes go where most is looked at: to the inner headers.
		start := 0
		if rng.IntN(4) > 0 {
			start = inside
		}
		for range 1 + rng.IntN(3) {
			f = r.change(rng, f, start)
		}
	}
	if from == fromUnderlay {
		f = f[:min(len(f), ethernetLen+1500)] // what the interface takes
	}
	if len(f) < ethernetLen {
		f = append(f, make([]byte, ethernetLen-len(f))...)
	}
	// Mended outside, so that the change is found inside.
	if from == fromUnderlay && len(f) >= r.site.OuterUDP && rng.IntN(4) > 0 {
		if v := f[r.site.OuterIP] >> 4; v == 4 && r.site.Family == IPv4 || v == 6 && r.site.Family == IPv6 {
			f = r.site.Cut(f, len(f))
		}
	}
	return Frame{base.At, f}
}

const ethernetLen = 14

// change makes one change to a frame, from start on.
func (r *randomFrames) change(rng *rand.Rand, f []byte, start int) []byte {
	if len(f) <= start {
		return append(f, noise(rng, 1+rng.IntN(64))...)
	}
	at := start + rng.IntN(min(len(f)-start, 100))
	switch rng.IntN(12) {
	case 0, 1:
		f[at] ^= 1 << rng.IntN(8)
	case 2:
		f[at] = byte(rng.Uint32())
	case 3, 4: // somebody's address where an address is
		word := r.words[rng.IntN(len(r.words))]
		offsets := []int{0, 6, 22, 32, 26, 30, 28, 38, 62, 54}
		if o := start + offsets[rng.IntN(len(offsets))]; o < len(f) {
			copy(f[o:], word)
		}
	case 5:
		copy(f[at:], r.words[rng.IntN(len(r.words))])
	case 6:
		return f[:at]
	case 7:
		return append(f, noise(rng, 1+rng.IntN(64))...)
	case 8:
		types := []uint16{0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x6558, 0x8847, 0, 4, 0xffff}
		if o := start + 12; o+2 <= len(f) {
			binary.BigEndian.PutUint16(f[o:], types[rng.IntN(len(types))])
		}
	case 9: // a length
		lengths := []int{0, 1, 7, 8, 19, 20, 39, 40, len(f), len(f) - start - ethernetLen, len(f) - start - ethernetLen + 1, 0x7fff, 0xffff}
		offsets := []int{ethernetLen + 2, ethernetLen + 4, ethernetLen + 24, ethernetLen + 44}
		if o := start + offsets[rng.IntN(len(offsets))]; o+2 <= len(f) {
			copy(f[o:], uint16Bytes(lengths[rng.IntN(len(lengths))]))
		}
	case 10:
		if o := start + 12; o <= len(f) {
			tag := append([]byte{0x81, 0}, uint16Bytes(rng.IntN(3))...)
			return slices.Insert(f, o, tag...)
		}
	case 11: // long ones
		return append(f, make([]byte, rng.IntN(1600))...)
	}
	return f
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
