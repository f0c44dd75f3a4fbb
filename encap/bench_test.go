package encap

import (
	"net/netip"
	"testing"
)

// What the userspace datapath does for every packet. None of it may allocate:
// TestNoAllocation holds that, these say how long it takes.

func BenchmarkFlowHash(b *testing.B) {
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"IPv4", flow{"10.0.0.1", "10.0.0.2", protoTCP, 40000, 80}.frame()},
		{"IPv6", flow{"fd00::1", "fd00::2", protoTCP, 40000, 80}.frame()},
		{"other", make([]byte, ethLen)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				SourcePort(FlowHash(c.frame))
			}
		})
	}
}

func BenchmarkOuterPut(b *testing.B) {
	for name, o := range map[string]Outer{"IPv4": testOuter(), "IPv6": testOuter6()} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, OuterLen(o.Src))
			b.ReportAllocs()
			for b.Loop() {
				if err := o.Put(buf, 1464); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseHeader(b *testing.B) {
	for _, c := range []struct {
		name string
		in   []byte
		ok   bool
	}{
		{"plain", []byte{8, 0, 0, 0, 0, 0x10, 0, 0}, true},
		{"refused", []byte{0x0c, 0, 0, 0, 0, 0x10, 0, 0}, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseHeader(c.in); (err == nil) != c.ok {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecapECN(b *testing.B) {
	b.ReportAllocs()
	for i := ECN(0); b.Loop(); i++ {
		DecapECN(i, i>>2) // all 16 cases in turn
	}
}

func BenchmarkInnerMTU(b *testing.B) {
	for _, vtep := range []string{"192.0.2.1", "2001:db8::1"} {
		addr := netip.MustParseAddr(vtep)
		b.Run(vtep, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := InnerMTU(1500, addr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
