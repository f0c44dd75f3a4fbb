package measure

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

const sockperfPort = 11111

// UDPRoundTrip sends a UDP message from one program to another and back: the
// path, and the waking up of two programs. Values: "p50", the median in µs.
func UDPRoundTrip(ctx context.Context, p Pair, d time.Duration) (Values, error) {
	addr, port := p.Server.Addr.String(), strconv.Itoa(sockperfPort)
	server, err := start(ctx, p.Server, "taskset", "-c", lastCPU(), "sockperf", "server", "-i", addr, "-p", port)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	if err := waitListening(ctx, p.Server, "udp", sockperfPort); err != nil {
		return nil, err
	}
	seconds := max(1, int(d.Seconds()))
	out, err := output(ctx, p.Client, "taskset", "-c", "0", "sockperf", "ping-pong", "--full-rtt",
		"-i", addr, "-p", port, "-t", strconv.Itoa(seconds))
	median, parseErr := parseSockperf(out)
	if parseErr != nil {
		return nil, errors.Join(parseErr, err)
	}
	return Values{"p50": median}, nil
}

var sockperfMedian = regexp.MustCompile(`percentile 50\.000 =\s+([0-9.]+)`)

// parseSockperf returns the median from what sockperf prints.
func parseSockperf(out []byte) (float64, error) {
	m := sockperfMedian.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("sockperf: no median in its report: %.200q", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
