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
// path, and the waking up of two programs. Values: "p50" and "p99", in µs.
func UDPRoundTrip(ctx context.Context, p Pair, d time.Duration) (Values, error) {
	addr, port := p.Server.Addr.String(), strconv.Itoa(sockperfPort)
	server, err := start(ctx, p.Server, "taskset", "-c", strconv.Itoa(serverCPU()), "sockperf", "server", "-i", addr, "-p", port)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	if err := waitListening(ctx, p.Server, "udp", sockperfPort); err != nil {
		return nil, err
	}
	seconds := max(1, int(d.Seconds()))
	out, err := output(ctx, p.Client, "taskset", "-c", strconv.Itoa(clientCPU), "sockperf", "ping-pong", "--full-rtt",
		"-i", addr, "-p", port, "-t", strconv.Itoa(seconds))
	values, parseErr := parseSockperf(out)
	if parseErr != nil {
		return nil, errors.Join(parseErr, err)
	}
	return values, nil
}

var sockperfPercentile = regexp.MustCompile(`percentile (50|99)\.000 =\s+([0-9.]+)`)

// parseSockperf returns "p50" and "p99" from what sockperf prints.
func parseSockperf(out []byte) (Values, error) {
	v := Values{}
	for _, m := range sockperfPercentile.FindAllSubmatch(out, -1) {
		µs, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return nil, fmt.Errorf("sockperf: %w", err)
		}
		v["p"+string(m[1])] = µs
	}
	if len(v) != 2 {
		return nil, fmt.Errorf("sockperf: no percentiles in its report: %.200q", out)
	}
	return v, nil
}
