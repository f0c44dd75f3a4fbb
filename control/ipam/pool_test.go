package ipam_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/control/ipam"
)

func TestNextSubnet(t *testing.T) {
	for _, c := range []struct {
		pool string
		bits int
		used string
		want string
	}{
		{"10.0.0.0/8", 24, "", "10.0.0.0/24"},
		{"10.0.0.0/8", 24, "10.0.0.0/24", "10.0.1.0/24"},
		{"10.0.0.0/8", 24, "10.0.1.0/24 10.0.0.0/30", "10.0.2.0/24"},
		{"10.0.0.0/8", 24, "10.0.0.128/25 10.0.2.0/24", "10.0.1.0/24"},
		{"10.0.0.0/8", 24, "10.0.0.0/9", "10.128.0.0/24"},
		{"10.0.0.0/8", 24, "10.0.3.0/24 10.0.0.0/23 10.0.0.0/24 10.0.1.128/30", "10.0.2.0/24"},
		{"10.0.0.0/8", 24, "9.0.0.0/8 11.0.0.0/8 fd00::/8 192.0.2.0/24", "10.0.0.0/24"},
		{"10.0.0.0/8", 24, "10.0.0.7/8", ""}, // as an interface's address is written
		{"10.0.0.0/8", 24, "0.0.0.0/1", ""},
		{"10.0.0.0/30", 30, "10.0.0.0/24", ""},
		{"10.0.0.0/23", 24, "10.0.0.0/24 10.0.1.0/24", ""},
		{"255.255.255.0/24", 24, "255.255.255.0/24", ""},
		{"fd00::/8", 64, "fd00::/16 fd01::/64", "fd01:0:0:1::/64"},
		{"fd00:1:2::/48", 64, "10.0.0.0/8 fd00:1:2::/64 fd00:1:2:2::/64 fd00:1:2:1::1:0/112", "fd00:1:2:3::/64"},
		{"fd00:1:2::/48", 64, "fd00::/8", ""},
		{"fd00:1:2::/48", 48, "fd00:1:3::/64", "fd00:1:2::/48"},
		{"fd00:1:2:3::/64", 126, "fd00:1:2:3::/126", "fd00:1:2:3::4/126"},
		{"10.0.0.0/8", 4, "", ""},
		{"10.0.0.0/8", 33, "", ""},
	} {
		var used []netip.Prefix
		for _, s := range strings.Fields(c.used) {
			used = append(used, netip.MustParsePrefix(s))
		}
		got, err := ipam.NextSubnet(netip.MustParsePrefix(c.pool), c.bits, used)
		if (err != nil) != (c.want == "") || c.want != "" && got != netip.MustParsePrefix(c.want) {
			t.Errorf("/%d of %s beside %v: %s, %v, not %s", c.bits, c.pool, c.used, got, err, c.want)
		}
	}
}

// TestNextSubnetIsFirst compares with the obvious way.
func TestNextSubnetIsFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := netip.MustParsePrefix("fd00::/120")
		bits := rapid.IntRange(120, 126).Draw(t, "bits")
		used := rapid.SliceOf(rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := pool.Addr().As16()
			a[14], a[15] = rapid.Byte().Draw(t, "beside")%2, rapid.Byte().Draw(t, "host")
			return netip.PrefixFrom(netip.AddrFrom16(a), rapid.IntRange(118, 128).Draw(t, "length"))
		})).Draw(t, "used")
		var want netip.Prefix
		for host := range 256 {
			a := pool.Addr().As16()
			a[15] = byte(host)
			p := netip.PrefixFrom(netip.AddrFrom16(a), bits)
			if p == p.Masked() && !slices.ContainsFunc(used, p.Overlaps) {
				want = p
				break
			}
		}
		got, err := ipam.NextSubnet(pool, bits, used)
		if got != want || errors.Is(err, ipam.ErrExhausted) == want.IsValid() {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	})
}
