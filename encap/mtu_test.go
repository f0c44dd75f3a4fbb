package encap

import (
	"errors"
	"net/netip"
	"testing"
)

func TestInnerMTU(t *testing.T) {
	v4, v6, mapped := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1")
	for _, c := range []struct {
		underlay int
		vtep     netip.Addr
		want     int // 0: refused
	}{
		{1500, v4, 1450}, {1500, v6, 1430}, {1500, mapped, 1450}, {9000, v4, 8950},
		{626, v4, 576}, {625, v4, 0}, {646, v6, 576}, {645, v6, 0}, {0, v4, 0}, {-1, v4, 0},
		{65535, v4, MaxMTU}, {65536, v4, MaxMTU}, {1 << 20, v6, 65465}, // lo has 65536
	} {
		got, err := InnerMTU(c.underlay, c.vtep)
		if got != c.want || (err != nil) != (c.want == 0) || (err != nil && !errors.Is(err, ErrMTURange)) {
			t.Errorf("InnerMTU(%d, %s) = %d, %v; want %d", c.underlay, c.vtep, got, err, c.want)
		}
	}
}

func TestValidateMTU(t *testing.T) {
	for _, c := range []struct {
		mtu  int
		ipv6 bool
		ok   bool
	}{
		{575, false, false}, {576, false, true}, {1279, true, false}, {1280, true, true},
		{65485, false, true}, {65486, false, false}, {0, false, false}, {-1, true, false},
	} {
		if err := ValidateMTU(c.mtu, c.ipv6); (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrMTURange)) {
			t.Errorf("ValidateMTU(%d, %v) = %v", c.mtu, c.ipv6, err)
		}
	}
}
