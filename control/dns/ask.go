package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
)

// ErrNoEndpoint is returned by Ask for an address that no endpoint of this host has.
var ErrNoEndpoint = errors.New("no endpoint of this host has this address")

// Ask returns what the endpoint of this host with an address in a network is answered to
// a question, over TCP, and what its query would be counted as. It is not counted, nor
// does it take from the endpoint's budget.
func (s *Server) Ask(ctx context.Context, networkID string, addr netip.Addr, name string, qtype uint16) (*dns.Msg, Result, error) {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	message, err := m.Pack()
	if err != nil {
		return nil, Malformed, fmt.Errorf("%q: %w", name, err)
	}
	v := s.opts.Look()
	who, known := v.Client(networkID, addr)
	if !known {
		return nil, Refused, ErrNoEndpoint
	}
	n, a := &served{server: s, log: s.opts.Logger}, new(asking)
	answer, result, wait := n.handle(a, v, who, known, message, nil)
	if wait {
		said, err := s.upstream.Ask(ctx, a.question())
		if err == nil {
			answer = a.pack(outside(&a.query, said), false, nil)
		} else {
			answer, result = a.failed(nil), Failed
		}
	}
	m = new(dns.Msg)
	if err := m.Unpack(answer); err != nil {
		return nil, result, fmt.Errorf("answer to %q: %w", name, err)
	}
	return m, result, nil
}
