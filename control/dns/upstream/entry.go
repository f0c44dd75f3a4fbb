package upstream

import (
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

const (
	// keepFailure is for how long nobody is asked again what nobody answered.
	keepFailure = time.Second
	// keepNegative is for how long it is known at most that something is not
	// there, in seconds (RFC 2308 section 5).
	keepNegative = 30
	// keepPositive is for how long an answer is known at most.
	keepPositive = time.Hour
	// maxEntry is the size of the largest reply that is kept, in bytes.
	maxEntry = 4096
)

// entry is a reply as it came, or that there was none.
type entry struct {
	// wire is the reply, packed; nil if there was none.
	wire  []byte
	at    time.Time
	until time.Time
}

// newEntry returns what is to be known of a reply, and whether to keep it.
func newEntry(q Question, m *dns.Msg, now time.Time) (e *entry, keep bool, err error) {
	m.Extra = slices.DeleteFunc(m.Extra, func(r dns.RR) bool {
		t := r.Header().Rrtype
		return t == dns.TypeOPT || t == dns.TypeTSIG || t == dns.TypeSIG
	})
	m.AuthenticatedData = false // who checked is not known (RFC 6840 section 5.8)
	m.Truncated, m.Compress = false, true
	life := lifetime(q, m)
	wire, err := m.Pack()
	if err != nil {
		return nil, false, fmt.Errorf("reply about %s: %w", q.Name, err)
	}
	return &entry{wire: wire, at: now, until: now.Add(life)}, life > 0 && len(wire) <= maxEntry, nil
}

// lifetime returns for how long a reply may be kept, and bounds that of a negative
// one.
func lifetime(q Question, m *dns.Msg) time.Duration {
	if !answers(q, m) {
		soa := soaOf(m)
		if soa == nil {
			return 0
		}
		soa.Hdr.Ttl = min(ttl(soa), soa.Minttl, keepNegative)
	}
	least := uint32(keepPositive / time.Second)
	for _, r := range records(m) {
		least = min(least, ttl(r))
	}
	return time.Duration(least) * time.Second
}

// answers reports whether m has something of what q asks for.
func answers(q Question, m *dns.Msg) bool {
	return m.Rcode == dns.RcodeSuccess && slices.ContainsFunc(m.Answer, func(r dns.RR) bool {
		return r.Header().Rrtype == q.Type || q.Type == dns.TypeANY
	})
}

func soaOf(m *dns.Msg) *dns.SOA {
	for _, r := range m.Ns {
		if soa, is := r.(*dns.SOA); is {
			return soa
		}
	}
	return nil
}

func records(m *dns.Msg) []dns.RR { return slices.Concat(m.Answer, m.Ns, m.Extra) }

// ttl returns a record's; 0 if it is no number of RFC 2181 section 8.
func ttl(r dns.RR) uint32 {
	if t := r.Header().Ttl; t < 1<<31 {
		return t
	}
	return 0
}

// message returns the reply as it is now.
func (e *entry) message(now time.Time) (*dns.Msg, error) {
	if e.wire == nil {
		return nil, ErrFailed
	}
	m := new(dns.Msg)
	if err := m.Unpack(e.wire); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	age := uint32(max(now.Sub(e.at), 0) / time.Second)
	for _, r := range records(m) {
		r.Header().Ttl = ttl(r) - min(ttl(r), age)
	}
	return m, nil
}
