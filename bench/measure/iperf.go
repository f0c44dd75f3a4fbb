package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// iperfPort is the port of the first server.
const iperfPort = 5201

// TCP sends that many TCP streams with iperf3. Values: "rate", what the
// receivers got in Gbit/s.
//
// One iperf3 is one thread, and with hosts that are namespaces most of the
// path runs on its CPU too. So several streams are spread over as many iperf3
// as there are CPUs, each on its own: what they come to is what the machine
// can do, and no luck of the scheduler.
func TCP(streams int) Func {
	return func(ctx context.Context, p Pair, d time.Duration) (Values, error) {
		n := programs(streams, runtime.NumCPU())
		rates, errs := make([]float64, n), make([]error, n)
		var all sync.WaitGroup
		for i := range n {
			run := iperf{index: i, streams: streams / n, seconds: max(1, int(d.Seconds())), skip: slowStart}
			all.Go(func() { rates[i], errs[i] = run.run(ctx, p) })
		}
		all.Wait()
		sum := 0.0
		for _, rate := range rates {
			sum += rate
		}
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		return Values{"rate": sum / 1e9}, nil
	}
}

// slowStart is how long a stream takes until its windows are open. iperf3 could
// leave out whole seconds only.
const slowStart = 300 * time.Millisecond

// programs is how many programs share the streams evenly, each with a CPU of
// its own: a power of two.
func programs(streams, cpus int) int {
	n := 1
	for n*2 <= cpus && streams%(n*2) == 0 {
		n *= 2
	}
	return n
}

// iperf is an iperf3 at both ends.
type iperf struct {
	// index tells programs apart that run at the same time: by their ports,
	// and by the CPUs that they run on.
	index   int
	streams int
	// bitrate bounds each stream, in bit/s; 0 is no bound.
	bitrate int
	// seconds is how long the streams flow: iperf3 takes whole ones. What comes
	// before skip has passed does not count.
	seconds int
	skip    time.Duration
}

// iperfInterval is how often a receiver notes what it got, in seconds.
const iperfInterval = "0.1"

// run returns what the receiver got, in bit/s.
func (r iperf) run(ctx context.Context, p Pair) (float64, error) {
	if err := setCongestion(p); err != nil {
		return 0, err
	}
	addr, port := p.Server.Addr.String(), iperfPort+r.index
	server, err := start(ctx, p.Server, "iperf3", "--server", "--one-off", "--json", "--bind", addr, "--port", strconv.Itoa(port),
		"--affinity", strconv.Itoa(serverCPU()-r.index), "--interval", iperfInterval)
	if err != nil {
		return 0, err
	}
	defer server.stop()
	if err := waitListening(ctx, p.Server, "tcp", port); err != nil {
		return 0, err
	}
	out, err := output(ctx, p.Client, "iperf3", "--json", "--get-server-output", "--client", p.target().String(), "--port", strconv.Itoa(port),
		"--affinity", strconv.Itoa(clientCPU+r.index), "--congestion", congestion, "--parallel", strconv.Itoa(r.streams),
		"--bitrate", strconv.Itoa(r.bitrate), "--time", strconv.Itoa(r.seconds))
	rate, parseErr := parseIperf(out, r.skip)
	if parseErr != nil {
		return 0, errors.Join(parseErr, err)
	}
	return rate, nil
}

// parseIperf returns the receiver's bits per second from the client's JSON, in
// which the server's is: without the intervals that begin before skip.
func parseIperf(out []byte, skip time.Duration) (float64, error) {
	var report struct {
		Error  string
		Server struct {
			Intervals []struct {
				Sum struct{ Start, Seconds, Bytes float64 }
			}
		} `json:"server_output_json"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return 0, fmt.Errorf("iperf3: no report: %w", err)
	}
	if report.Error != "" {
		return 0, fmt.Errorf("iperf3: %s", report.Error)
	}
	var bytes, seconds float64
	for _, i := range report.Server.Intervals {
		// Intervals begin a little late or early.
		if i.Sum.Start >= skip.Seconds()-0.01 {
			bytes += i.Sum.Bytes
			seconds += i.Sum.Seconds
		}
	}
	if bytes == 0 {
		return 0, errors.New("iperf3: nothing was received")
	}
	return bytes * 8 / seconds, nil
}
