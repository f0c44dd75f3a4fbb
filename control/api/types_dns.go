package api

import (
	"net/netip"
	"strings"
)

// DNSRequest asks what an endpoint of this host would be answered, and why.
type DNSRequest struct {
	// Name is what is asked for: a name as programs give it to the C library, or an
	// address.
	Name string
	// Network is a reference to the network whose gateway is asked.
	Network string
	// Type is the type of record, such as "SRV", in any case. Empty: PTR for an
	// address, for a name A and AAAA.
	Type string `json:",omitempty"`
	// From is a reference to the endpoint of this host that asks. Empty: the one of
	// Network that was attached first.
	From string `json:",omitempty"`
}

// maxDNSName is the longest name in bytes, as people write it (RFC 1035 section 3.1).
const maxDNSName = 253

// Validate returns an Error that names the first field out of its range. Which
// types there are the agent knows.
func (r DNSRequest) Validate() error {
	notPrintable := func(c rune) bool { return c <= ' ' || c > '~' }
	if n := strings.TrimSuffix(r.Name, "."); n == "" || len(n) > maxDNSName || strings.ContainsFunc(n, notPrintable) {
		return Errorf(CodeInvalid, "name %q is not 1 to %d printable characters of ASCII: give an international name in punycode (xn--…)", r.Name, maxDNSName)
	}
	if err := ValidateRef("network", r.Network); err != nil {
		return err
	}
	notType := func(c rune) bool { return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') }
	if len(r.Type) > 16 || strings.ContainsFunc(r.Type, notType) {
		return Errorf(CodeInvalid, "record type %q is none: A, AAAA, SRV and PTR are answered here", r.Type)
	}
	if r.From != "" {
		return ValidateRef("endpoint", r.From)
	}
	return nil
}

// DNSReport is what the gateway of a network answers.
type DNSReport struct {
	Name      string
	Network   string
	NetworkID string
	// Server is the address that was asked.
	Server netip.Addr
	// From is the endpoint that asked, and Networks those that its namespace is on, in the
	// order in which a name is looked for in them.
	From     string
	Networks []string
	// Questions are one for each type.
	Questions []DNSQuestion
	// Sources are the rows that have to do with the name, those included that are
	// not answered.
	Sources []DNSSource
}

// DNSQuestion is a question and its answer.
type DNSQuestion struct {
	// Name is the one that was asked for, Type of which record.
	Name string
	Type string
	// Status is the answer's, as RFC 2136 section 2.2 calls it: "NOERROR", "NXDOMAIN"…
	Status string
	// Result is what such queries are counted as, one of those of DNSStatus.
	Result  string
	Records []DNSRecord
}

// DNSRecord is one of the records of an answer.
type DNSRecord struct {
	Name string
	Type string
	// TTL in seconds.
	TTL  uint32
	Data string
}

// DNSSource is a row that the name leads to.
type DNSSource struct {
	// Kind is "service", "backend", "endpoint" or "alias".
	Kind string
	Name string
	ID   string
	// Network is the one that it was found on.
	Network string
	// Node is the host of an endpoint.
	Node      string `json:",omitempty"`
	Addresses []netip.Addr
	// Weight is a backend's.
	Weight int `json:",omitempty"`
	// Answered: the row is answered with. Reason says why not.
	Answered bool
	Reason   string `json:",omitempty"`
}

// DNSStatus is what this host has answered since its agent started.
type DNSStatus struct {
	// Networks are those that it answers for.
	Networks []string
	// Resolvers are asked for names of the outside, in this order.
	Resolvers []netip.AddrPort
	// Results holds every result by its name, met or not.
	Results map[string]DNSResult
	// Bounds are the upper bounds of the buckets of DNSResult, in microseconds.
	Bounds []int64
	// Connections are the TCP connections that are open, Outstanding the questions that
	// Resolvers are being asked, Cached how many of their answers are known.
	Connections int
	Outstanding int
	Cached      int
}

// DNSResult are the queries that one thing became of.
type DNSResult struct {
	Queries uint64
	// Microseconds is how long all of them took together.
	Microseconds uint64
	// Buckets are how many took how long: one for each of Bounds, and one for longer.
	Buckets []uint64
}
