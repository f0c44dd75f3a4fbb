package measure

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// wrkConnections is how many connections ask at the same time: enough that
// neither CPU waits for the other for long.
const wrkConnections = 16

// Requests asks over connections that stay open, and Connections over a new
// one each time, with wrk as the client and a server of our own
// (responder.go). Values: "rate", answers a second in thousands.
//
// A server that ends the connections keeps their remains (TIME-WAIT), so the
// client never runs out of ports, and nothing has to be tuned for it.
func Requests(ctx context.Context, p Pair, d time.Duration) (Values, error) {
	return wrk(ctx, p, d, false)
}

// Connections is like Requests, with a new connection for each request.
func Connections(ctx context.Context, p Pair, d time.Duration) (Values, error) {
	return wrk(ctx, p, d, true)
}

func wrk(ctx context.Context, p Pair, d time.Duration, closing bool) (Values, error) {
	if err := setCongestion(p); err != nil {
		return nil, err
	}
	server, err := startResponder(p, closing)
	if err != nil {
		return nil, err
	}
	// wrk takes whole seconds.
	args := []string{"-c", strconv.Itoa(clientCPU), "wrk", "--threads", "1", "--connections", strconv.Itoa(wrkConnections),
		"--duration", strconv.Itoa(max(1, int(d.Seconds())))}
	if closing {
		args = append(args, "--header", "Connection: close")
	}
	out, err := output(ctx, p.Client, "taskset", append(args, fmt.Sprintf("http://%s/", p.responder()))...)
	if err := errors.Join(err, server.stop()); err != nil {
		return nil, err
	}
	rate, err := parseWrk(out)
	if err != nil {
		return nil, err
	}
	return Values{"rate": rate / 1e3}, nil
}

var (
	wrkTotal    = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkRate     = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)$`)
	wrkErrors   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkRefusals = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// parseWrk returns the requests per second from what wrk prints. It is an
// error if more than one in a thousand failed: then something else was
// measured.
func parseWrk(out []byte) (float64, error) {
	rate, total := wrkRate.FindSubmatch(out), wrkTotal.FindSubmatch(out)
	if rate == nil || total == nil {
		return 0, fmt.Errorf("wrk: no rate in its report: %.200q", out)
	}
	var failed int
	for _, pattern := range []*regexp.Regexp{wrkErrors, wrkRefusals} {
		if m := pattern.FindSubmatch(out); m != nil {
			for _, digits := range m[1:] {
				n, err := strconv.Atoi(string(digits))
				if err != nil {
					return 0, fmt.Errorf("wrk: %w", err)
				}
				failed += n
			}
		}
	}
	requests, err := strconv.Atoi(string(total[1]))
	if err != nil {
		return 0, fmt.Errorf("wrk: %w", err)
	}
	if requests == 0 || failed > requests/1000 {
		return 0, fmt.Errorf("wrk: %d of %d requests failed", failed, requests+failed)
	}
	return strconv.ParseFloat(string(rate[1]), 64)
}
