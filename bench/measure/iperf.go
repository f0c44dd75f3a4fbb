package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const iperfPort = 5201

// TCP sends that many TCP streams with iperf3. Values: "rate", what the
// receiver got in Gbit/s.
func TCP(streams int) Func {
	return func(ctx context.Context, p Pair, d time.Duration) (Values, error) {
		rate, err := iperf(ctx, p, d, "--parallel", strconv.Itoa(streams))
		if err != nil {
			return nil, err
		}
		return Values{"rate": rate / 1e9}, nil
	}
}

// iperf runs iperf3 at both ends and returns what the receiver got, in bit/s.
func iperf(ctx context.Context, p Pair, d time.Duration, args ...string) (float64, error) {
	server, err := start(ctx, p.Server, "iperf3", "--server", "--one-off", "--bind", p.Server.Addr.String(), "--affinity", lastCPU())
	if err != nil {
		return 0, err
	}
	defer server.stop()
	if err := waitListening(ctx, p.Server, "tcp", iperfPort); err != nil {
		return 0, err
	}
	// iperf3 takes whole seconds of measurement; what it omits before is the
	// slow start.
	seconds := max(1, int(d.Seconds()))
	// Cubic, the kernel's own choice: a machine may be set to bbr, which paces
	// what it sends, and then its timers are measured beside the path.
	args = append([]string{"--json", "--client", p.Server.Addr.String(), "--time", strconv.Itoa(seconds),
		"--omit", "1", "--affinity", "0", "--congestion", "cubic"}, args...)
	out, err := output(ctx, p.Client, "iperf3", args...)
	rate, parseErr := parseIperf(out)
	if parseErr != nil {
		return 0, errors.Join(parseErr, err)
	}
	return rate, nil
}

// parseIperf returns the receiver's bits per second from iperf3's JSON.
func parseIperf(out []byte) (float64, error) {
	var report struct {
		Error string
		End   struct {
			SumReceived struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return 0, fmt.Errorf("iperf3: no report: %w", err)
	}
	if report.Error != "" {
		return 0, fmt.Errorf("iperf3: %s", report.Error)
	}
	if report.End.SumReceived.BitsPerSecond == 0 {
		return 0, errors.New("iperf3: nothing was received")
	}
	return report.End.SumReceived.BitsPerSecond, nil
}
