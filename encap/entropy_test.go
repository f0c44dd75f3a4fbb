package encap

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

func TestSourcePortRange(t *testing.T) {
	if lo, hi := SourcePort(0), SourcePort(1<<32-1); lo != MinSourcePort || hi != MaxSourcePort {
		t.Errorf("ports %d to %d, want %d to %d", lo, hi, MinSourcePort, MaxSourcePort)
	}
	for h, last := uint64(0), uint16(0); h < 1<<32; h += 65521 {
		p := SourcePort(uint32(h))
		if p < last || p < MinSourcePort || p > MaxSourcePort {
			t.Fatalf("hash %d: port %d after %d", h, p, last)
		}
		last = p
	}
}

// flow is a frame's identity in these tests.
type flow struct {
	src, dst     string
	proto        byte
	sport, dport uint16
}

func (f flow) reversed() flow { return flow{f.dst, f.src, f.proto, f.dport, f.sport} }

// frame builds the flow's Ethernet frame. The MAC addresses follow the ends.
func (f flow) frame() []byte {
	src, dst := netip.MustParseAddr(f.src), netip.MustParseAddr(f.dst)
	b := make([]byte, ethLen, 128)
	b[0], b[5], b[6], b[11] = 2, dst.AsSlice()[3], 2, src.AsSlice()[3]
	if src.Is4() {
		binary.BigEndian.PutUint16(b[12:], etherTypeIPv4)
		ip := make([]byte, ipv4Len)
		ip[0], ip[9] = 0x45, f.proto
		copy(ip[12:], src.AsSlice())
		copy(ip[16:], dst.AsSlice())
		b = append(b, ip...)
	} else {
		binary.BigEndian.PutUint16(b[12:], etherTypeIPv6)
		ip := make([]byte, ipv6Len)
		ip[0], ip[6] = 0x60, f.proto
		copy(ip[8:], src.AsSlice())
		copy(ip[24:], dst.AsSlice())
		b = append(b, ip...)
	}
	b = binary.BigEndian.AppendUint16(b, f.sport)
	b = binary.BigEndian.AppendUint16(b, f.dport)
	return append(b, make([]byte, 20)...)
}

func TestFlowHashTellsFlowsApart(t *testing.T) {
	flows := []flow{
		{"10.0.0.1", "10.0.0.2", protoTCP, 40000, 80},
		{"10.0.0.1", "10.0.0.2", protoTCP, 40001, 80},
		{"10.0.0.1", "10.0.0.2", protoTCP, 80, 40000}, // the ports change sides, the hosts do not
		{"10.0.0.1", "10.0.0.2", protoUDP, 40000, 80},
		{"10.0.0.1", "10.0.0.2", protoSCTP, 40000, 80},
		{"10.0.0.1", "10.0.0.3", protoTCP, 40000, 80},
		{"10.0.0.1", "10.0.0.2", 1, 0, 0},
		{"fd00::1", "fd00::2", protoTCP, 40000, 80},
		{"fd00::1", "fd00::2", protoTCP, 40001, 80},
		{"fd00::1", "fd01::2", protoTCP, 40000, 80},
		{"fd00::1", "fd00::2", 58, 0, 0},
	}
	seen := map[uint32]flow{}
	for _, f := range flows {
		hash := FlowHash(f.frame())
		if other, ok := seen[hash]; ok {
			t.Errorf("%v has the hash of %v", f, other)
		}
		seen[hash] = f
		if back := FlowHash(f.reversed().frame()); back != hash {
			t.Errorf("%v: hash %08x, the other way %08x", f, hash, back)
		}
	}
}

// TestFlowHashKeepsFlowsTogether: what changes from packet to packet of one
// flow must not change its hash.
func TestFlowHashKeepsFlowsTogether(t *testing.T) {
	tcp := flow{"10.0.0.1", "10.0.0.2", protoTCP, 40000, 80}.frame()
	want := FlowHash(tcp)
	for name, change := range map[string]func(b []byte){
		"TOS":      func(b []byte) { b[ethLen+1] = 0xff },
		"length":   func(b []byte) { b[ethLen+3] = 99 },
		"ID":       func(b []byte) { b[ethLen+5] = 7 },
		"DF":       func(b []byte) { b[ethLen+6] = 0x40 },
		"TTL":      func(b []byte) { b[ethLen+8] = 9 },
		"sequence": func(b []byte) { b[ethLen+ipv4Len+7] = 1 },
	} {
		b := append([]byte(nil), tcp...)
		if change(b); FlowHash(b) != want {
			t.Errorf("%s changes the hash", name)
		}
	}
	options := append([]byte(nil), tcp[:ethLen+ipv4Len]...)
	options[ethLen] = 0x46
	options = append(append(options, 1, 1, 1, 1), tcp[ethLen+ipv4Len:]...)
	if FlowHash(options) != want {
		t.Error("IPv4 options change the hash")
	}
	first, later := append([]byte(nil), tcp...), append([]byte(nil), tcp...)
	first[ethLen+6] = 0x20 // more fragments
	later[ethLen+7] = 185  // at an offset, where there are no ports
	binary.BigEndian.PutUint32(later[ethLen+ipv4Len:], 0xdeadbeef)
	if FlowHash(first) != FlowHash(later) {
		t.Error("fragments of one packet have two hashes")
	}
}

// TestSourcePortSpread: as many flows as an iperf3 -P 16 has must not share a
// few ports.
func TestSourcePortSpread(t *testing.T) {
	ports := map[uint16]bool{}
	low := 0
	const flows = 1000
	for i := range flows {
		p := SourcePort(FlowHash(flow{"10.0.0.1", "10.0.0.2", protoTCP, uint16(40000 + i), 5201}.frame()))
		ports[p] = true
		if p < MinSourcePort+(MaxSourcePort-MinSourcePort)/2 {
			low++
		}
	}
	if len(ports) < flows*95/100 {
		t.Errorf("%d flows have %d source ports", flows, len(ports))
	}
	if low < flows*40/100 || low > flows*60/100 {
		t.Errorf("%d of %d flows are in the lower half of the range", low, flows)
	}
}

// FuzzParseFlow: any bytes have a hash, the same each time, and swapping the
// MAC addresses of what is not IP keeps it.
func FuzzParseFlow(f *testing.F) {
	f.Add(flow{"10.0.0.1", "10.0.0.2", protoTCP, 40000, 80}.frame())
	f.Add(flow{"fd00::1", "fd00::2", protoUDP, 40000, 53}.frame())
	f.Fuzz(func(t *testing.T, b []byte) {
		hash := FlowHash(b)
		if again := FlowHash(append([]byte(nil), b...)); again != hash {
			t.Fatalf("% x: %08x, then %08x", b, hash, again)
		}
		if p := SourcePort(hash); p < MinSourcePort || p > MaxSourcePort {
			t.Fatalf("% x: port %d", b, p)
		}
		if len(b) < ethLen {
			return
		}
		swapped := append([]byte(nil), b...)
		copy(swapped, b[6:12])
		copy(swapped[6:], b[:6])
		if FlowHash(swapped) != hash {
			t.Fatalf("% x: not symmetric in the MAC addresses", b)
		}
	})
}
