package dns

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/dns/zone"
)

// Ways that bytes come to the server.
const (
	fuzzUDP = iota
	fuzzTCP
	fuzzStream // as they come over a TCP connection
)

// FuzzQuery has a server with two networks take any bytes from an endpoint of one.
// It answers with messages only, which fit, repeat the question and say nothing of
// the other network; and the host's resolvers are not asked for what is the
// cluster's.
func FuzzQuery(f *testing.F) {
	for _, name := range []string{
		"a.", "A.bLUE.", "web.", "tasks.web.", "rr.", "many.", "_80._tcp.rr.blue.", "1.0.1.127.in-addr.arpa.", "secret.", "web.red.", "nobody.", "blue.", ".",
		"www.example.com.", "a\\.blue.", "x.web\\.red.", "_sip._udp.example.com.", "lb._dns-sd._udp.0.0.0.127.in-addr.arpa.",
		"a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeANY, dns.TypeSOA, dns.TypeAXFR, dns.TypeOPT} {
			q := new(dns.Msg).SetQuestion(name, qtype)
			plain, _ := q.Pack()
			q.SetEdns0(1232, true)
			edns, _ := q.Pack()
			f.Add(plain, byte(fuzzUDP))
			f.Add(edns, byte(fuzzTCP))
			f.Add(append(framed(plain), framed(edns)...), byte(fuzzStream))
		}
	}
	v := viewOf(tables())
	s := New(Options{Look: func() *zone.View { return v }, Logger: slog.New(slog.DiscardHandler), Rate: 1 << 30, Burst: 1 << 30})
	f.Cleanup(func() { s.Close() })
	n := newServed(s, "blue", nil, nil)
	f.Cleanup(n.cancel)
	from := netip.MustParseAddr(clientAddr)
	who, _, known := n.clients.find(v, from)
	buf := make([]byte, maxQuery)
	f.Fuzz(func(t *testing.T, b []byte, way byte) {
		if way%3 == fuzzStream {
			conn := &bytesConn{in: bytes.NewReader(b)}
			n.serve(conn, from)
			checkStream(t, b, conn.out.Bytes())
			return
		}
		a := &asking{overUDP: way%3 == fuzzUDP}
		answer, _, wait := n.handle(a, v, who, known, slices.Clone(b), buf)
		if wait {
			checkOutside(t, a.question().Name)
			answer = a.failed(buf)
		}
		if answer != nil {
			checkAnswer(t, b, answer, a.overUDP)
		}
	})
}

// checkStream looks at what was answered to all that came over a connection: each
// message at most once.
func checkStream(t *testing.T, in, out []byte) {
	asked := make(map[uint16][][]byte)
	for len(in) >= 2 {
		size := int(binary.BigEndian.Uint16(in))
		if in = in[2:]; size > len(in) {
			break
		}
		if size >= headerLen {
			id := binary.BigEndian.Uint16(in)
			asked[id] = append(asked[id], in[:size])
		}
		in = in[size:]
	}
	for len(out) > 0 {
		size := int(binary.BigEndian.Uint16(out))
		answer := out[2 : 2+size]
		id := binary.BigEndian.Uint16(answer)
		if len(asked[id]) == 0 {
			t.Fatalf("an answer to nothing: %x", answer)
		}
		i := slices.IndexFunc(asked[id], func(q []byte) bool { return sameQuestion(q, answer) })
		if i < 0 {
			t.Fatalf("an answer to another question: %x", answer)
		}
		checkAnswer(t, asked[id][i], answer, false)
		asked[id] = slices.Delete(asked[id], i, i+1)
		out = out[2+size:]
	}
}

// sameQuestion reports whether an answer repeats the question of a query, or none
// where there is none.
func sameQuestion(asked, answer []byte) bool {
	var q, m dns.Msg
	if m.Unpack(answer) != nil {
		return false
	}
	if len(m.Question) == 0 {
		return new(query).read(asked) == m.Rcode
	}
	return q.Unpack(asked) == nil && slices.Equal(q.Question, m.Question)
}

func checkAnswer(t *testing.T, query, answer []byte, overUDP bool) {
	var q, m dns.Msg
	if err := m.Unpack(answer); err != nil {
		t.Fatalf("%x is answered with %x: %v", query, answer, err)
	}
	if !bytes.Equal(answer[:2], query[:2]) || !m.Response || m.Opcode != int(query[2]>>3&0xf) || query[2]&0x80 != 0 {
		t.Fatalf("%x is answered with %v", query, &m)
	}
	most := dns.MaxMsgSize
	if overUDP {
		most = udpSize
		if m.IsEdns0() == nil {
			most = dns.MinMsgSize
		}
	}
	if len(answer) > most {
		t.Fatalf("an answer of %d bytes, %d fit", len(answer), most)
	}
	if len(m.Question) > 0 {
		if err := q.Unpack(query); err != nil || !slices.Equal(q.Question, m.Question) {
			t.Fatalf("%x is answered with %v", query, &m)
		}
	}
	if m.Rcode == dns.RcodeSuccess && len(m.Question) == 0 {
		t.Fatalf("%x is answered with %v", query, &m)
	}
	for _, r := range slices.Concat(m.Answer, m.Ns, m.Extra) {
		// What was asked may be repeated; what follows it may not name red's.
		data := strings.ToLower(strings.TrimPrefix(r.String(), r.Header().String()))
		if strings.Contains(data, "secret") || strings.Contains(data, "red.") || strings.Contains(data, "127.66.") || strings.Contains(data, "::66") {
			t.Fatalf("%v names another network's: %v", q.Question, r)
		}
		if strings.EqualFold(r.Header().Name, "secret.red.") {
			t.Fatalf("there is an answer about %v", r)
		}
	}
}

// checkOutside is about what resolvers are asked.
func checkOutside(t *testing.T, name string) {
	if labels := dns.SplitDomainName(name); len(labels) == 1 || len(labels) > 0 && (labels[len(labels)-1] == "blue" || labels[len(labels)-1] == "red") {
		t.Fatalf("resolvers are asked for %q", name)
	}
	if strings.HasSuffix(name, ".127.in-addr.arpa.") || strings.HasSuffix(name, ".66.127.in-addr.arpa.") {
		t.Fatalf("resolvers are asked for %q", name)
	}
}

// bytesConn is a connection that brings some bytes, and takes all.
type bytesConn struct {
	net.Conn
	in  *bytes.Reader
	mu  sync.Mutex
	out bytes.Buffer
}

func (c *bytesConn) Read(b []byte) (int, error) {
	if c.in.Len() == 0 {
		return 0, io.EOF
	}
	return c.in.Read(b)
}

func (c *bytesConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

func (c *bytesConn) Close() error                     { return nil }
func (c *bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (c *bytesConn) SetWriteDeadline(time.Time) error { return nil }
