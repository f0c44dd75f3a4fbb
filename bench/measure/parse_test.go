package measure

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestParseIperf(t *testing.T) {
	report := func(intervals string) string {
		return `{"start":{},"end":{"sum_received":{"bits_per_second":1}},"server_output_json":{"intervals":[` + intervals + `]}}`
	}
	const skip = 200 * time.Millisecond
	for _, c := range []struct {
		name, in string
		want     float64
		err      string
	}{
		{"a report", report(`{"sum":{"start":0.2,"seconds":0.5,"bytes":1000}},{"sum":{"start":0.7,"seconds":0.5,"bytes":9000}}`), 80000, ""},
		{"what is skipped", report(`{"sum":{"start":0,"seconds":0.1,"bytes":1}},{"sum":{"start":0.1,"seconds":0.1,"bytes":1}},{"sum":{"start":0.199,"seconds":0.1,"bytes":1000}},{"sum":{"start":0.3,"seconds":0.3,"bytes":4000}}`), 100000, ""},
		{"an error of iperf3", `{"start":{},"error":"error - unable to connect to server"}`, 0, "unable to connect"},
		{"nothing received", report(`{"sum":{"start":0.5,"seconds":0.5,"bytes":0}}`), 0, "nothing was received"},
		{"no report of the receiver", `{"end":{"sum_received":{"bits_per_second":1}}}`, 0, "nothing was received"},
		{"no output", "", 0, "no report"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseIperf([]byte(c.in), skip)
			if got != c.want || !matches(err, c.err) {
				t.Errorf("parseIperf = %v, %v; want %v, %q", got, err, c.want, c.err)
			}
		})
	}
}

func TestParseSockperf(t *testing.T) {
	report := `sockperf: Summary: Round trip is 7.587 usec
sockperf: \x1b[2;35mTotal 72211 observations\x1b[0m; each percentile contains 722.11 observations
sockperf: ---> <MAX> observation = 3555.636
sockperf: ---> percentile 99.999 = 2886.508
sockperf: ---> percentile 99.990 =  547.649
sockperf: ---> percentile 99.900 =  103.778
sockperf: ---> percentile 99.000 =   48.203
sockperf: ---> percentile 90.000 =   14.342
sockperf: ---> percentile 75.000 =    5.145
sockperf: ---> percentile 50.000 =    4.700
sockperf: ---> percentile 25.000 =    4.526
sockperf: ---> <MIN> observation =    4.259
`
	if got, err := parseSockperf([]byte(report)); err != nil || !maps.Equal(got, Values{"p50": 4.7, "p99": 48.203}) {
		t.Errorf("parseSockperf = %v, %v", got, err)
	}
	for _, in := range []string{"sockperf: No messages were received", "sockperf: ---> percentile 50.000 =    4.700"} {
		if _, err := parseSockperf([]byte(in)); !matches(err, "no percentiles") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestParseWrk(t *testing.T) {
	report := func(failures string) string {
		return `Running 1s test @ http://192.0.2.2:8080/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   150.43us  120.10us   4.21ms   97.18%
    Req/Sec   102.13k     5.01k  110.45k    72.73%
  111823 requests in 1.10s, 13.97MB read
` + failures + `Requests/sec: 101664.23
Transfer/sec:     12.70MB
`
	}
	for _, c := range []struct {
		name, in string
		want     float64
		err      string
	}{
		{"a report", report(""), 101664.23, ""},
		{"few failures", report("  Socket errors: connect 0, read 11, write 0, timeout 100\n"), 101664.23, ""},
		{"many failures", report("  Socket errors: connect 0, read 12, write 0, timeout 100\n"), 0, "112 of 111935 requests failed"},
		{"no answers of the kind", report("  Non-2xx or 3xx responses: 111823\n"), 0, "requests failed"},
		{"nobody there", "unable to connect to 192.0.2.2:8080 Connection refused\n", 0, "no rate"},
		{"nothing answered", "  0 requests in 1.00s, 0.00B read\nRequests/sec:      0.00\n", 0, "0 of 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseWrk([]byte(c.in))
			if got != c.want || !matches(err, c.err) {
				t.Errorf("parseWrk = %v, %v; want %v, %q", got, err, c.want, c.err)
			}
		})
	}
}

func TestParseCPU(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     cpuTimes
		err      string
	}{
		{
			// Idle, waiting for a disk, and stolen: 537986 + 722 + 29.
			"two CPUs",
			"cpu  36448 0 20142 537986 722 0 7905 29 0 0\ncpu0 17027 0 10541 267842 89 0 6836 11 0 0\n" +
				"cpu1 19420 0 9601 270143 632 0 1068 18 0 0\nintr 5 6\nctxt 1990473\n",
			cpuTimes{cpus: 2, unused: 5387_370 * time.Millisecond}, "",
		},
		{"an old kernel", "cpu  36448 0 20142 537986\ncpu0 17027 0 10541 267842\n", cpuTimes{}, "/proc/stat has"},
		{"not a number", "cpu  1 2 3 x 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\n", cpuTimes{}, "invalid syntax"},
		{"nothing", "", cpuTimes{}, "no CPU"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseCPU([]byte(c.in))
			if got != c.want || !matches(err, c.err) {
				t.Errorf("parseCPU = %v, %v; want %v, %q", got, err, c.want, c.err)
			}
		})
	}
}

func TestCost(t *testing.T) {
	// Half a CPU for a quarter of a gigabyte a second.
	if got, err := cost(0.5, 0.25); err != nil || got["cpu"] != 2 {
		t.Errorf("cost = %v, %v", got, err)
	}
	if _, err := cost(-0.1, 1); !errors.Is(err, ErrDisturbed) {
		t.Errorf("a machine that is busy otherwise: %v", err)
	}
	if _, err := cost(1, 0); !matches(err, "nothing was received") {
		t.Errorf("nothing through: %v", err)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, c := range []struct {
		sorted []float64
		p      float64
		want   float64
	}{
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.5, 100},
		{hundred, 100, 100},
		{hundred, 0, 1},
		{[]float64{3, 8}, 50, 3},
		{[]float64{3, 8, 9}, 50, 8},
		{[]float64{7}, 99, 7},
	} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile %v of %d values is %v, want %v", c.p, len(c.sorted), got, c.want)
		}
	}
}

// Streams are shared evenly, by as many programs as have a CPU.
func TestPrograms(t *testing.T) {
	for _, c := range []struct{ streams, cpus, want int }{
		{1, 8, 1}, {8, 1, 1}, {8, 2, 2}, {8, 3, 2}, {8, 6, 4}, {8, 64, 8}, {6, 4, 2},
	} {
		if got := programs(c.streams, c.cpus); got != c.want {
			t.Errorf("%d streams on %d CPUs: %d programs, want %d", c.streams, c.cpus, got, c.want)
		}
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

func TestEchoOfIPv6(t *testing.T) {
	e := &echo{id: 0x1234, seq: 7, to: netip.IPv6Loopback()}
	e.build()
	if e.packet[0] != icmpv6EchoRequest {
		t.Errorf("the request has type %d", e.packet[0])
	}
	reply := append([]byte(nil), e.packet[:]...)
	reply[0] = icmpv6EchoReply // no IP header: the kernel takes it off
	if !e.isReply(reply) {
		t.Error("the reply is not recognised")
	}
	if e.isReply(e.packet[:]) || e.isReply(reply[:7]) {
		t.Error("a request, or what is cut short, is taken for the reply")
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
