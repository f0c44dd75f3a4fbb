package dns

import (
	"net/netip"

	"github.com/miekg/dns"
)

// records is memory for the records of one answer after the other: what is allocated
// for each query has others wait while it is collected.
type records struct {
	all   []dns.RR
	four  []dns.A
	six   []dns.AAAA
	bytes []byte
}

// reset is for when the last answer is packed.
func (r *records) reset() {
	r.all, r.four, r.six, r.bytes = r.all[:0], r.four[:0], r.six[:0], r.bytes[:0]
}

// addresses returns the records of that type.
func (r *records) addresses(t uint16, header func(uint16) dns.RR_Header, addrs []netip.Addr) []dns.RR {
	from := len(r.all)
	for _, a := range addrs {
		switch {
		case t == dns.TypeA && a.Is4():
			r.four = append(r.four, dns.A{Hdr: header(t), A: r.slice(a)})
			r.all = append(r.all, &r.four[len(r.four)-1])
		case t == dns.TypeAAAA && a.Is6():
			r.six = append(r.six, dns.AAAA{Hdr: header(t), AAAA: r.slice(a)})
			r.all = append(r.all, &r.six[len(r.six)-1])
		}
	}
	return r.all[from:len(r.all):len(r.all)]
}

// slice returns the bytes of an address.
func (r *records) slice(a netip.Addr) []byte {
	from := len(r.bytes)
	if a.Is4() {
		b := a.As4()
		r.bytes = append(r.bytes, b[:]...)
	} else {
		b := a.As16()
		r.bytes = append(r.bytes, b[:]...)
	}
	return r.bytes[from:]
}
