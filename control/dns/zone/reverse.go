package zone

import (
	"net/netip"
	"strconv"
	"strings"
)

// The trees of reverse names (RFC 1035 section 3.5, RFC 3596 section 2.5).
const (
	reverse4 = ".in-addr.arpa"
	reverse6 = ".ip6.arpa"
)

// parseReverse returns the addresses that a reverse name is about, and whether it
// is the name of one: others are of many, or below such a name. It is false if s
// is none of these.
func parseReverse(s string) (about netip.Prefix, whole, ok bool) {
	if labels, is4 := strings.CutSuffix(s, reverse4); is4 {
		return reversed(labels, 4, 8, octet)
	}
	if labels, is6 := strings.CutSuffix(s, reverse6); is6 {
		return reversed(labels, 16, 4, nibble)
	}
	return netip.Prefix{}, false, false
}

// reversed reads labels from the last to the first, each bits of an address of
// that many bytes, as far as digit takes them.
func reversed(labels string, size, bits int, digit func(string) (byte, bool)) (about netip.Prefix, whole, ok bool) {
	var b [16]byte
	known := 0
	for labels != "" && known < 8*size {
		i := strings.LastIndexByte(labels, '.')
		v, is := digit(labels[i+1:])
		if !is {
			break
		}
		b[known/8] |= v << (8 - bits - known%8)
		known += bits
		labels = labels[:max(i, 0)]
	}
	if known == 0 {
		return netip.Prefix{}, false, false
	}
	a, _ := netip.AddrFromSlice(b[:size])
	return netip.PrefixFrom(a, known), known == 8*size && labels == "", true
}

func octet(s string) (byte, bool) {
	v, err := strconv.ParseUint(s, 10, 8)
	return byte(v), err == nil && (s[0] != '0' || s == "0")
}

func nibble(s string) (byte, bool) {
	v, err := strconv.ParseUint(s, 16, 4)
	return byte(v), err == nil && len(s) == 1
}
