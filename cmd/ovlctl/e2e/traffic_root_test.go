package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// trafficTime bounds every program that sends.
const trafficTime = 60 * time.Second

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// ping sends requests at once and counts what came back. With an interval between
// them it would wait for the last reply no longer than that, once it has had one.
func ping(ns *linktest.Namespace, addr string, count int) (sent, received int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), trafficTime)
	defer cancel()
	n := strconv.Itoa(count)
	stdout, stderr, err := capture(ns.Command(ctx, "ping", "-n", "-q", "-c", n, "-l", n, "-W", "2", addr))
	m := pingSummary.FindStringSubmatch(stdout)
	if m == nil {
		return 0, 0, fmt.Errorf("ping: %w: %s%s", err, stdout, stderr)
	}
	sent, _ = strconv.Atoi(m[1])
	received, _ = strconv.Atoi(m[2])
	return sent, received, nil
}

// checkPings lets every endpoint ping every address of every other one at the
// same time, and wants every reply.
func checkPings(t *testing.T, endpoints ...*endpoint) {
	t.Helper()
	var wg sync.WaitGroup
	for _, from := range endpoints {
		for _, to := range endpoints {
			if from == to {
				continue
			}
			for _, a := range to.info.Addresses {
				wg.Go(func() {
					sent, received, err := ping(from.Namespace, a.Addr().String(), 3)
					if err != nil || sent != 3 || received != 3 {
						t.Errorf("%s to %s (%v): %d of %d pings came back: %v", from.info.Name, to.info.Name, a, received, sent, err)
					}
				})
			}
		}
	}
	wg.Wait()
}

// bulk is the part of iperf3's JSON that the tests look at.
type bulk struct {
	Error     string
	Intervals []struct {
		Sum struct {
			Start         float64
			BitsPerSecond float64 `json:"bits_per_second"`
		}
	}
	End struct {
		SumReceived struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		// Sum is of UDP, at the receiver.
		Sum struct {
			Packets     int
			LostPackets int `json:"lost_packets"`
		}
	}
}

// iperfServer listens in a namespace for one client.
func iperfServer(t *testing.T, ns *linktest.Namespace) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), trafficTime)
	cmd := ns.Command(ctx, "iperf3", "-s", "-1", "--forceflush")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatalf("iperf3 server: %v", err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // killed, if it has not ended by itself
	})
	t.Cleanup(stop)
	for s := bufio.NewScanner(out); s.Scan(); {
		if strings.Contains(s.Text(), "listening") {
			return stop
		}
	}
	stop()
	t.Fatal("iperf3 server ended before it listened")
	return nil
}

// iperf runs a client of a server that it brings along, and returns when it is
// done.
func iperf(t *testing.T, from, to *endpoint, args ...string) bulk {
	t.Helper()
	return startIperf(t, from, to, args...)()
}

// startIperf is iperf that goes on until its result is asked for.
func startIperf(t *testing.T, from, to *endpoint, args ...string) (wait func() bulk) {
	t.Helper()
	stop := iperfServer(t, to.Namespace)
	ctx, cancel := context.WithTimeout(context.Background(), trafficTime)
	type result struct {
		stdout, stderr string
		err            error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.stdout, r.stderr, r.err = capture(from.Command(ctx, "iperf3", append([]string{"-J", "-c", to.addr()}, args...)...))
		done <- r
	}()
	collect := sync.OnceValue(func() result {
		defer stop()
		defer cancel()
		return <-done
	})
	t.Cleanup(func() { cancel(); collect() })
	return func() bulk {
		t.Helper()
		r := collect()
		var b bulk
		if err := json.Unmarshal([]byte(r.stdout), &b); err != nil || b.Error != "" || r.err != nil {
			t.Fatalf("iperf3 %s %s to %s: %v: %s %s %s", strings.Join(args, " "), from.info.Name, to.info.Name, r.err, b.Error, r.stderr, r.stdout)
		}
		return b
	}
}
