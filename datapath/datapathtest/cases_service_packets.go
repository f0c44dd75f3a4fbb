package datapathtest

import (
	"fmt"
	"strings"

	"github.com/google/gopacket/layers"
)

// vipPacketCases are packets of all kinds to a VIP and back, of which nothing
// changes but addresses, ports, and what is computed over them.
func vipPacketCases(s *Site) []Case {
	const ip = OuterIPOffset
	v := s.service(s.backends()...)
	timestamps := []layers.TCPOption{
		{OptionType: layers.TCPOptionKindNop, OptionLength: 1}, {OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
	}
	mtu := map[Family]int{IPv4: s.MTU - 20, IPv6: s.MTU - 40}
	var cases []Case
	for _, k := range kinds() {
		at := End{s.C.on(k.family), 1}
		head := map[uint8]int{protoTCP: 20, protoUDP: 8}[k.protocol]
		transport := len(datagram("")(at, at)) - 8
		sized := func(n int) build {
			payload := strings.Repeat("0123456789abcdef", n/16+1)[:n]
			if k.protocol == protoUDP {
				return datagram(payload)
			}
			return segment(Segment{Flags: TCPACK | TCPPSH, Seq: 0xfffffff0, Ack: 7, Window: 0xffff, Payload: payload})
		}
		packets := []struct {
			name string
			build
		}{}
		add := func(name string, b build) {
			packets = append(packets, struct {
				name string
				build
			}{name, b})
		}
		change := func(name string, change func([]byte) []byte) {
			add(name, func(from, to End) []byte { return change(sized(33)(from, to)) })
		}
		for _, n := range []int{0, 1, 2, 10, 11, 65, 600, 601} {
			add(fmt.Sprintf("%d bytes", n), sized(n))
		}
		add("as long as the MTU", sized(mtu[k.family]-head))
		change("TTL 1", func(f []byte) []byte { return WithTTL(f, ip, 1) })
		change("TTL 255", func(f []byte) []byte { return WithTTL(f, ip, 255) })
		change("DSCP 46", func(f []byte) []byte { return WithTOS(f, ip, 46<<2) })
		change("padding", func(f []byte) []byte { return append(f, make([]byte, 5)...) })
		sumAt := transport + map[uint8]int{protoTCP: 16, protoUDP: 6}[k.protocol]
		if k.family == IPv4 {
			change("an ID and DF", func(f []byte) []byte { return mendIP(Patch(f, ip+4, 0x12, 0x34, 0x40, 0), ip) })
			change("an ID and no DF", func(f []byte) []byte { return mendIP(Patch(f, ip+4, 0xff, 0xff, 0, 0), ip) })
			change("IP options", withOptions)
			if k.protocol == protoUDP {
				change("no checksum", func(f []byte) []byte { return Patch(f, sumAt, 0, 0) })
			}
		} else {
			change("extension headers", func(f []byte) []byte { return Extend(f, Padding(extHopByHop), Padding(extDestination)) })
			change("a fragment header that cuts nothing", func(f []byte) []byte { return Extend(f, FragmentHeader(0, false)) })
			change("a flow label", func(f []byte) []byte { return Patch(f, ip+1, 0x0a, 0xbc, 0xde) })
		}
		if k.protocol == protoTCP {
			add("timestamps", segment(Segment{Flags: TCPACK | TCPPSH, Seq: 1, Ack: 1, Options: timestamps, Payload: "x"}))
			change("an urgent pointer", func(f []byte) []byte { return urgent(f, transport) })
		}
		for _, backend := range []Endpoint{s.C, s.B, s.TAP} {
			for _, p := range packets {
				f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
				cases = append(cases, serviceCase(fmt.Sprintf("%s with %s to %s", k, p.name, backend.V4), v,
					f.forth(f.first()), f.back(f.reply()), f.forth(p.build), f.back(p.build)))
			}
			cases = append(cases, wrongSum(v, k, backend))
		}
		if k.protocol == protoUDP {
			cases = append(cases, sumOfZero(v, k))
		}
	}
	return cases
}

// urgent sets the flag and the pointer, and mends the checksum by what they add to
// it (RFC 1624).
func urgent(frame []byte, tcp int) []byte {
	const flag, pointer = 0x20, 0x0102
	out := Patch(frame, tcp+13, frame[tcp+13]|flag)
	copy(out[tcp+18:], uint16Bytes(pointer))
	sum := uint32(^(uint16(out[tcp+16])<<8 | uint16(out[tcp+17]))) + flag + pointer
	sum = sum>>16 + sum&0xffff
	copy(out[tcp+16:], uint16Bytes(int(^uint16(sum))))
	return out
}

// wrongSum is a packet whose checksum is wrong, and stays so: what an endpoint has
// spoilt is not made right on its way.
func wrongSum(v *vip, k kind, backend Endpoint) Case {
	f := v.flow(k.family, k.protocol, v.site.A, backend, vipPort)
	wrong := func(frame []byte) []byte {
		return Patch(frame, len(frame)-1, frame[len(frame)-1]^1)
	}
	spoilt := func(from, to End) []byte { return wrong(f.more()(from, to)) }
	return serviceCase(fmt.Sprintf("%s with a wrong checksum to %s", k, backend.V4), v,
		append(f.begins(), f.forth(spoilt), f.back(spoilt))...)
}

// sumOfZero is datagrams whose checksum on the other side of the VIP is a sum of
// zero, which is sent as all ones (RFC 768): zero would say that there is none.
func sumOfZero(v *vip, k kind) Case {
	f := v.flow(k.family, k.protocol, v.site.A, v.site.C, vipPort)
	zero := func(from, to End) build {
		for n := range 0x10000 {
			payload := string(uint16Bytes(n)) + "x"
			frame := Datagram(from, to, payload)
			sum := len(frame) - len(payload) - 2
			if frame[sum] == 0xff && frame[sum+1] == 0xff {
				return datagram(payload)
			}
		}
		panic("datapathtest: no payload has a sum of zero")
	}
	return serviceCase(fmt.Sprintf("%s with a sum of zero", k), v,
		f.forth(f.first()), f.back(f.reply()),
		f.forth(zero(f.seen, f.target)), f.back(zero(f.to, f.from)),
		f.forth(zero(f.from, f.to)), f.back(zero(f.target, f.seen)))
}
