package dns

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// plain is a query for a name that blue has, after what change makes of its bytes.
func plain(change func(b []byte) []byte) []byte {
	q := new(dns.Msg).SetQuestion("a.", dns.TypeA)
	q.Id = 0x1234
	b, err := q.Pack()
	if err != nil {
		panic(err)
	}
	return change(b)
}

// What is no query gets the error that says so, or nothing.
func TestMessages(t *testing.T) {
	set := func(at int, v byte) func([]byte) []byte { return func(b []byte) []byte { b[at] = v; return b } }
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		// want is a code, or "" for no answer.
		want string
	}{
		{"a query", func(b []byte) []byte { return b }, "NOERROR"},
		{"bytes behind it", func(b []byte) []byte { return append(b, 1, 2, 3) }, "NOERROR"},
		{"reserved bit", set(3, 0x40), "NOERROR"},
		{"a response", set(2, 0x80), ""},
		{"nothing", func([]byte) []byte { return []byte{} }, ""},
		{"part of a header", func(b []byte) []byte { return b[:11] }, ""},
		{"a header", func(b []byte) []byte { return b[:12] }, "FORMERR"},
		{"part of a question", func(b []byte) []byte { return b[:16] }, "FORMERR"},
		{"too long", func(b []byte) []byte { return append(b, make([]byte, maxQuery)...) }, ""},
		{"status", set(2, 2<<3), "NOTIMP"},
		{"notify", set(2, 4<<3), "NOTIMP"},
		{"update", set(2, 5<<3), "NOTIMP"},
		{"no question", set(5, 0), "FORMERR"},
		{"two questions", func(b []byte) []byte { b[5] = 2; return append(b, b[12:]...) }, "FORMERR"},
		{"an answer", set(7, 1), "FORMERR"},
		{"an authority", set(9, 1), "FORMERR"},
		{"65536 answers and authorities", func(b []byte) []byte { b[6], b[7], b[8], b[9] = 0x80, 0, 0x80, 0; return b }, "FORMERR"},
		{"many additions", set(11, 3), "FORMERR"},
		{"an addition that is not there", set(11, 1), "FORMERR"},
		{"a pointer to itself", func(b []byte) []byte { b[12], b[13] = 0xc0, 12; return b }, "FORMERR"},
		{"a reserved kind of label", set(12, 0x80), "FORMERR"},
		{"class chaos", func(b []byte) []byte { b[len(b)-1] = 3; return b }, "REFUSED"},
		{"class any", func(b []byte) []byte { b[len(b)-1] = 255; return b }, "REFUSED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, Options{})
			conn := dial(t, "udp", clientAddr, l.at("blue", clientAddr))
			mark := new(dns.Msg).SetQuestion("b.", dns.TypeA)
			last, _ := mark.Pack()
			for _, b := range [][]byte{plain(c.change), last} {
				if _, err := conn.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			b := make([]byte, dns.MaxMsgSize)
			n, err := conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			m := new(dns.Msg)
			if err := m.Unpack(b[:n]); err != nil {
				t.Fatal(err)
			}
			got := dns.RcodeToString[m.Rcode]
			if m.Id == mark.Id {
				got = ""
			}
			if got != c.want {
				t.Errorf("answered with %q, want %q", got, c.want)
			}
			if got != "" && (m.Id != 0x1234 || !m.Response || got == "FORMERR" && len(m.Answer)+len(m.Ns)+len(m.Extra) > 0) {
				t.Errorf("answered with %v", m)
			}
		})
	}
}

// send writes messages to a TCP connection, in as many writes as there are pieces.
func send(t *testing.T, conn net.Conn, pieces ...[]byte) {
	t.Helper()
	for _, p := range pieces {
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
}

func framed(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// Many queries go over one connection, in whatever pieces, and what is asked before
// the client has no more to say is answered.
func TestConnection(t *testing.T) {
	l := newLab(t, Options{})
	conn := dial(t, "tcp", clientAddr, l.at("blue", clientAddr))
	var all []byte
	const n = 300
	for i := range n {
		q := new(dns.Msg).SetQuestion(fmt.Sprintf("many-%d.", i%backends), dns.TypeA)
		q.Id = uint16(i)
		b, _ := q.Pack()
		all = append(all, framed(b)...)
	}
	send(t, conn, all[:1], all[1:2], all[2:20], all[20:])
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	co := &dns.Conn{Conn: conn}
	for i := range n {
		m, err := co.ReadMsg()
		if err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
		if int(m.Id) != i || len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), fmt.Sprintf("127.2.0.%d", i%backends)) {
			t.Fatalf("answer %d is %v", i, m)
		}
	}
	if _, err := co.ReadMsg(); err == nil {
		t.Error("there was one answer more")
	}
}

// Connections end that nothing comes over, or what is no query.
func TestConnectionsEnd(t *testing.T) {
	l := newLab(t, Options{Idle: 50 * time.Millisecond})
	for name, pieces := range map[string][]byte{
		"idle":       nil,
		"too long":   {0xff, 0xff},
		"too short":  {0, 3, 1, 2, 3},
		"a response": framed(plain(func(b []byte) []byte { b[2] = 0x80; return b })),
	} {
		conn := dial(t, "tcp", clientAddr, l.at("blue", clientAddr))
		send(t, conn, pieces)
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: read %d bytes, %v", name, n, err)
		}
	}
	for end := time.Now().Add(20 * time.Second); l.Stats().Connections > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are open", l.Stats().Connections)
		}
	}
}

// An endpoint has so many connections, all together so many more.
func TestConnectionsAreBounded(t *testing.T) {
	l := newLab(t, Options{ClientConnections: 2, Connections: 3})
	alive := func(from string) (net.Conn, bool) {
		conn := dial(t, "tcp", from, l.at("blue", clientAddr))
		send(t, conn, framed(plain(func(b []byte) []byte { return b })))
		_, err := io.ReadFull(conn, make([]byte, 2))
		return conn, err == nil
	}
	var open []net.Conn
	for i, c := range []struct {
		from string
		want bool
	}{{clientAddr, true}, {clientAddr, true}, {clientAddr, false}, {otherAddr, true}, {otherAddr, false}} {
		conn, ok := alive(c.from)
		if ok != c.want {
			t.Errorf("connection %d, from %s: open is %v", i, c.from, ok)
		}
		open = append(open, conn)
	}
	open[0].Close()
	for end := time.Now().Add(20 * time.Second); l.Stats().Connections > 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection is not closed")
		}
	}
	if _, ok := alive(otherAddr); !ok {
		t.Error("there is no room after one has closed")
	}
}
