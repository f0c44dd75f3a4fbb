package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxResolvers is how many are asked, as the C library does.
	maxResolvers = 3
	// minTries is how often one is asked if there are fewer, as packets get lost.
	minTries = 3
	// udpSize is the largest reply over UDP, in bytes, as large as passes nearly
	// everywhere (DNS flag day 2020).
	udpSize = 1232
)

// resolve asks one resolver after the other until one says that something is there
// or is not.
func (c *Client) resolve(ctx context.Context, q Question) (*dns.Msg, error) {
	resolvers := c.opts.Resolvers()
	resolvers = c.quiet.last(resolvers[:min(len(resolvers), maxResolvers)], c.opts.Now())
	if len(resolvers) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrFailed)
	}
	var failure error
	for try := range max(minTries, len(resolvers)) {
		r := resolvers[try%len(resolvers)]
		m, err := c.exchange(ctx, r, q)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			c.quiet.note(r, c.opts.Now())
			failure = err
		case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
			return m, nil
		default:
			failure = fmt.Errorf("resolver %v says %s", r, dns.RcodeToString[m.Rcode])
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrFailed, failure)
}

// exchange asks one resolver. One that does not know EDNS is asked without
// (RFC 6891 section 6.2.2), one whose reply did not fit over TCP (RFC 7766).
func (c *Client) exchange(ctx context.Context, r netip.AddrPort, q Question) (*dns.Msg, error) {
	m, err := c.over(ctx, "udp", r, q.message(true))
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && m.IsEdns0() == nil {
		m, err = c.over(ctx, "udp", r, q.message(false))
	}
	if err == nil && m.Truncated {
		return c.over(ctx, "tcp", r, q.message(true))
	}
	return m, err
}

// message is q as a resolver is asked it.
func (q Question) message(edns bool) *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired, m.CheckingDisabled = true, q.CD
	m.Question = []dns.Question{{Name: q.Name, Qtype: q.Type, Qclass: dns.ClassINET}}
	if edns {
		m.SetEdns0(udpSize, q.DO)
	}
	return m
}

// over sends a query and returns its reply. What else arrives is none.
func (c *Client) over(ctx context.Context, network string, r netip.AddrPort, query *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Try)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, r.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // all that was to be read has been
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	framed := &dns.Conn{Conn: conn, UDPSize: dns.DefaultMsgSize}
	if err := framed.WriteMsg(query); err != nil {
		return nil, err
	}
	for {
		m, err := framed.ReadMsg()
		switch {
		case m != nil && err == nil && replies(m, query):
			return m, nil
		case m == nil && !errors.Is(err, dns.ErrShortRead):
			return nil, fmt.Errorf("resolver %v: %w", r, err)
		case network == "tcp":
			return nil, fmt.Errorf("resolver %v answered something else", r)
		}
	}
}

// replies reports whether m is the reply to query. Servers may leave out the
// question of what they do not answer.
func replies(m, query *dns.Msg) bool {
	if m.Id != query.Id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	got, want := m.Question[0], query.Question[0]
	return len(m.Question) == 1 && got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name)
}
