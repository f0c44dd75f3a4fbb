package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

const (
	typeA    = dns.TypeA
	typeAAAA = dns.TypeAAAA
	typePTR  = dns.TypePTR
	typeSRV  = dns.TypeSRV
)

// askTime is how long a client waits for an answer before it asks once more: what
// resolv.conf(5) has for both.
const askTime = 5 * time.Second

// asker is a client that asks one gateway, over UDP, one question at a time.
type asker struct {
	who  string
	conn *dns.Conn
	// wait is for how long it waits for an answer, and tries how often it asks.
	wait  time.Duration
	tries int
	// again counts the questions that were asked again.
	again int
}

func newAsker(t *testing.T, e *endpoint, gateway netip.Addr) *asker {
	t.Helper()
	return newAskerIn(t, e.Namespace, e.info.Name, gateway)
}

func newAskerIn(t *testing.T, ns *linktest.Namespace, who string, gateway netip.Addr) *asker {
	t.Helper()
	a := &asker{who: who, wait: askTime, tries: 2}
	c := socket(t, ns, func() (net.Conn, error) { return net.Dial("udp", netip.AddrPortFrom(gateway, 53).String()) })
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err == nil {
		// What waited for an agent is answered all at once.
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		t.Fatalf("socket in %s: %v", ns.Name, err)
	}
	a.conn = &dns.Conn{Conn: c, UDPSize: dns.MinMsgSize}
	t.Cleanup(a.close)
	return a
}

func (a *asker) close() { _ = a.conn.Close() }

// ask asks for a name, fully qualified or not.
func (a *asker) ask(name string, qtype uint16) (*dns.Msg, error) {
	return a.exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype))
}

// exchange sends a query, and again if there is no answer.
func (a *asker) exchange(q *dns.Msg) (*dns.Msg, error) {
	m, err := a.once(q)
	for try := 1; try < a.tries && errors.Is(err, os.ErrDeadlineExceeded); try++ {
		a.again++
		m, err = a.once(q)
	}
	if err != nil {
		return nil, fmt.Errorf("%s asks for %s: %w", a.who, questionOf(q), err)
	}
	return m, nil
}

func (a *asker) once(q *dns.Msg) (*dns.Msg, error) {
	if err := a.conn.SetDeadline(time.Now().Add(a.wait)); err != nil {
		return nil, err
	}
	if err := a.conn.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		m, err := a.conn.ReadMsg()
		if err != nil {
			return nil, err
		}
		if m.Id != q.Id {
			continue // to an earlier one
		}
		if !m.Response || len(m.Question) != 1 || m.Question[0] != q.Question[0] {
			return nil, fmt.Errorf("the answer is to another question: %v", m)
		}
		return m, nil
	}
}

func questionOf(q *dns.Msg) string { return question(q.Question[0].Name, q.Question[0].Qtype) }

// values are what an answer says, sorted: addresses, names, or the port and target
// of services.
func values(m *dns.Msg) (out []string) {
	for _, r := range m.Answer {
		out = append(out, valueOf(r))
	}
	slices.Sort(out)
	return out
}

func valueOf(r dns.RR) string {
	switch r := r.(type) {
	case *dns.A:
		return r.A.String()
	case *dns.AAAA:
		return r.AAAA.String()
	case *dns.PTR:
		return r.Ptr
	case *dns.SRV:
		return srvValue(r.Target, r.Port)
	}
	return r.String()
}

func srvValue(target string, port uint16) string { return fmt.Sprintf("%s %d", target, port) }
