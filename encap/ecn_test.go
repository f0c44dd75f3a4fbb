package encap

import "testing"

// TestDecapECN is figure 4 of RFC 6040, row by row.
func TestDecapECN(t *testing.T) {
	const drop ECN = 0xff
	outers := [4]ECN{NotECT, ECT0, ECT1, CE}
	for inner, row := range map[ECN][4]ECN{
		NotECT: {NotECT, NotECT, NotECT, drop},
		ECT0:   {ECT0, ECT0, ECT1, CE},
		ECT1:   {ECT1, ECT1, ECT1, CE},
		CE:     {CE, CE, CE, CE},
	} {
		for i, want := range row {
			for _, dscp := range []ECN{0, 0xb8} { // which must not matter
				got, dropped := DecapECN(inner|dscp, outers[i]|dscp)
				if dropped != (want == drop) || (!dropped && got != want) {
					t.Errorf("inner %02b, outer %02b: %02b, drop %v; want %02b", inner, outers[i], got, dropped, want)
				}
			}
		}
	}
}

func TestEncapECN(t *testing.T) {
	for _, e := range []ECN{NotECT, ECT0, ECT1, CE} {
		if got := EncapECN(e | 0xb8); got != e {
			t.Errorf("EncapECN(%08b) = %08b, want %02b: no DSCP", e|0xb8, got, e)
		}
	}
}
