package dns

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"
)

const (
	// maxQuery is the size of the largest query that is read, in bytes.
	maxQuery = 4096
	// headerLen is that of a message's header (RFC 1035 section 4.1.1).
	headerLen = 12
	// udpSize is the largest answer over UDP, in bytes: what passes nearly
	// everywhere unfragmented (DNS flag day 2020).
	udpSize = 1232
)

// drop is what read returns for what is not answered, not even with an error.
const drop = -1

// query is a message that asks one question.
type query struct {
	msg dns.Msg
	// name is that of the question, as package zone takes names.
	name string
	// opt is the EDNS record (RFC 6891), nil without.
	opt *dns.OPT
	// out is the answer, and records what it has; their memory is used again.
	out     dns.Msg
	records records
}

// read takes a message apart and returns RcodeSuccess, the error that is its
// answer, or drop.
func (q *query) read(b []byte) int {
	*q = query{records: q.records}
	if len(b) < headerLen {
		return drop
	}
	flags := binary.BigEndian.Uint16(b[2:])
	q.msg.Id = binary.BigEndian.Uint16(b)
	q.msg.Response = flags&(1<<15) != 0
	q.msg.Opcode = int(flags >> 11 & 0xf)
	q.msg.RecursionDesired = flags&(1<<8) != 0
	q.msg.CheckingDisabled = flags&(1<<4) != 0
	if q.msg.Response {
		return drop
	}
	if q.msg.Opcode != dns.OpcodeQuery {
		return dns.RcodeNotImplemented
	}
	asked, answers, authority := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint16(b[8:])
	extra := binary.BigEndian.Uint16(b[10:])
	// One question (RFC 9619), and nothing but EDNS and a signature behind it.
	if asked != 1 || answers|authority != 0 || extra > 2 {
		return dns.RcodeFormatError
	}
	if err := q.msg.Unpack(b); err != nil || len(q.msg.Question) != 1 || len(q.msg.Extra) != int(extra) {
		q.msg.Question, q.msg.Extra = nil, nil
		return dns.RcodeFormatError
	}
	for _, r := range q.msg.Extra {
		opt, is := r.(*dns.OPT)
		if !is {
			continue
		}
		if q.opt != nil || opt.Hdr.Name != "." {
			return dns.RcodeFormatError
		}
		q.opt = opt
	}
	if q.opt != nil && q.opt.Version() != 0 {
		return dns.RcodeBadVers
	}
	question := q.msg.Question[0]
	q.name = strings.ToLower(strings.TrimSuffix(question.Name, "."))
	return accepts(question)
}

// accepts returns RcodeSuccess for questions that are answered.
func accepts(q dns.Question) int {
	switch {
	case q.Qclass != dns.ClassINET:
		return dns.RcodeRefused
	case q.Qtype == dns.TypeANY:
		return dns.RcodeSuccess
	case q.Qtype == 0 || q.Qtype == dns.TypeOPT:
		return dns.RcodeFormatError
	case q.Qtype >= 128 && q.Qtype <= 255: // transfers and the like (RFC 6895 section 3.1)
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// reply returns an answer without records, in place of any that was returned before.
func (q *query) reply(rcode int) *dns.Msg {
	q.out = dns.Msg{}
	m := &q.out
	m.Id, m.Response, m.Opcode, m.Rcode = q.msg.Id, true, q.msg.Opcode, rcode
	m.RecursionDesired, m.CheckingDisabled = q.msg.RecursionDesired, q.msg.CheckingDisabled
	m.RecursionAvailable = true
	m.Question = q.msg.Question
	return m
}

// pack returns the bytes of an answer, cut to what the client takes, in buf if that
// has room.
func (q *query) pack(m *dns.Msg, overUDP bool, buf []byte) []byte {
	size := dns.MaxMsgSize
	if overUDP {
		size = dns.MinMsgSize
	}
	if q.opt != nil {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.SetUDPSize(udpSize)
		opt.SetDo(q.opt.Do())
		m.Extra = append(m.Extra, opt)
		if overUDP {
			size = min(max(dns.MinMsgSize, int(q.opt.UDPSize())), udpSize)
		}
	}
	m.Truncate(size)
	b, err := m.PackBuffer(buf)
	if err != nil || len(b) > size {
		failed := q.reply(dns.RcodeServerFailure)
		if b, err = failed.PackBuffer(buf); err != nil {
			return nil
		}
	}
	return b
}
