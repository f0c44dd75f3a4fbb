package measure

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestParseIperf(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     float64
		err      string
	}{
		{"a report", `{"start":{},"end":{"sum_sent":{"bits_per_second":2},"sum_received":{"bits_per_second":1.5e9}}}`, 1.5e9, ""},
		{"an error of iperf3", `{"start":{},"error":"error - unable to connect to server"}`, 0, "unable to connect"},
		{"nothing received", `{"end":{"sum_received":{"bits_per_second":0}}}`, 0, "nothing was received"},
		{"no output", "", 0, "no report"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseIperf([]byte(c.in))
			if got != c.want || !matches(err, c.err) {
				t.Errorf("parseIperf = %v, %v; want %v, %q", got, err, c.want, c.err)
			}
		})
	}
}

func TestParseSockperf(t *testing.T) {
	report := `sockperf: Summary: Round trip is 23.5 usec
sockperf: ---> percentile 75.000 =   25.113
sockperf: ---> percentile 50.000 =   21.064
sockperf: ---> percentile 25.000 =   20.001
`
	if got, err := parseSockperf([]byte(report)); err != nil || got != 21.064 {
		t.Errorf("parseSockperf = %v, %v", got, err)
	}
	if _, err := parseSockperf([]byte("sockperf: No messages were received")); !matches(err, "no median") {
		t.Errorf("a report without figures: %v", err)
	}
}

func TestEchoIsValid(t *testing.T) {
	e := &echo{id: 0x1234, seq: 7}
	e.build()
	// A packet sums up to zero with its own checksum in it, RFC 1071.
	if sum := checksum(e.packet[:]); sum != 0 {
		t.Errorf("checksum over the request is %#04x", sum)
	}
	reply := append(make([]byte, 20), e.packet[:]...)
	reply[0] = 0x45
	reply[20] = icmpEchoReply
	if !e.isReply(reply) {
		t.Error("the reply is not recognised")
	}
	for name, change := range map[string]func([]byte) []byte{
		"a request":            func(b []byte) []byte { b[20] = icmpEchoRequest; return b },
		"another's ID":         func(b []byte) []byte { b[24]++; return b },
		"an older sequence":    func(b []byte) []byte { binary.BigEndian.PutUint16(b[26:], 6); return b },
		"cut in the header":    func(b []byte) []byte { return b[:19] },
		"cut behind it":        func(b []byte) []byte { return b[:27] },
		"a header of 60 bytes": func(b []byte) []byte { b[0] = 0x4f; return b[:60] },
	} {
		if e.isReply(change(append([]byte(nil), reply...))) {
			t.Errorf("%s is taken for the reply", name)
		}
	}
}

// matches reports whether err has part in its text; an empty part wants no
// error.
func matches(err error, part string) bool {
	if part == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), part)
}
