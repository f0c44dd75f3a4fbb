package dns

import (
	"strings"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/dns/zone"
)

// local returns the answer to a question about a name of the cluster's, of which a is
// what the zone says.
func (q *query) local(a *zone.Answer, serial uint64) *dns.Msg {
	m := q.reply(dns.RcodeSuccess)
	m.Authoritative = true
	question := q.msg.Question[0]
	q.records.reset()
	header := func(t uint16) dns.RR_Header {
		return dns.RR_Header{Name: question.Name, Rrtype: t, Class: dns.ClassINET, Ttl: a.TTL}
	}
	switch a.Kind {
	case zone.Nothing:
		m.Rcode = dns.RcodeNameError
	case zone.Addresses:
		m.Answer = q.records.addresses(question.Qtype, header, a.Addrs)
	case zone.Ports:
		if question.Qtype == dns.TypeSRV {
			m.Answer, m.Extra = q.records.servers(header(dns.TypeSRV), a.Servers)
		}
	case zone.Pointer:
		if question.Qtype == dns.TypePTR {
			m.Answer = []dns.RR{&dns.PTR{Hdr: header(dns.TypePTR), Ptr: dns.Fqdn(a.Target)}}
		}
	case zone.Apex:
		if question.Qtype == dns.TypeSOA {
			m.Answer = []dns.RR{soa(question.Name, serial)}
		}
	}
	if question.Qtype == dns.TypeANY && m.Rcode == dns.RcodeSuccess {
		m.Answer = []dns.RR{&dns.HINFO{Hdr: header(dns.TypeHINFO), Cpu: "RFC8482"}}
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{soa(apex(question.Name, a.Zone), serial)}
	}
	return m
}

// servers returns the records of servers (RFC 2782), each target once, and the
// addresses that go with them.
func (r *records) servers(header dns.RR_Header, list []zone.Server) (answer, extra []dns.RR) {
	known := make(map[string]*dns.SRV, len(list))
	for _, s := range list {
		target := dns.Fqdn(s.Target)
		if srv := known[target]; srv != nil {
			srv.Weight = uint16(min(int(srv.Weight)+int(s.Weight), 1<<16-1))
		} else {
			srv = &dns.SRV{Hdr: header, Weight: s.Weight, Port: s.Port, Target: target}
			known[target], answer = srv, append(answer, srv)
		}
		glue := func(t uint16) dns.RR_Header {
			return dns.RR_Header{Name: target, Rrtype: t, Class: dns.ClassINET, Ttl: header.Ttl}
		}
		extra = append(extra, r.addresses(dns.TypeA, glue, s.Addrs)...)
		extra = append(extra, r.addresses(dns.TypeAAAA, glue, s.Addrs)...)
	}
	return answer, extra
}

// apex returns the part of name, in its case, that the network named zone is; the
// root if it is not in one.
func apex(name, zone string) string {
	if zone == "" {
		return "."
	}
	return name[max(0, len(name)-len(zone)-1):]
}

// soa says until when what is not there is known not to be (RFC 2308).
func soa(name string, serial uint64) *dns.SOA {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: zone.NegativeTTL},
		Ns:  name, Mbox: name,
		// Nobody copies the zone: the times in between are of no use.
		Serial: uint32(serial), Refresh: 3600, Retry: 600, Expire: 86400, Minttl: zone.NegativeTTL,
	}
}

// outside returns the answer to a question that the host's resolvers were asked:
// what they said, in the case of the question.
func outside(q *query, said *dns.Msg) *dns.Msg {
	m := q.reply(said.Rcode)
	m.Answer, m.Ns, m.Extra = said.Answer, said.Ns, said.Extra
	for _, r := range m.Answer {
		if h := r.Header(); strings.EqualFold(h.Name, m.Question[0].Name) {
			h.Name = m.Question[0].Name
		}
	}
	return m
}
