package kernel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// crawl is the throughput below which a TCP stream is not a stream: a broken
// segment size or checksum makes every packet wait for its retransmission.
const crawl = 100e6 // bit/s

// bulk is what iperf3 tells of one run.
type bulk struct {
	End struct {
		SumSent     bulkSum `json:"sum_sent"`
		SumReceived bulkSum `json:"sum_received"`
		// Sum has a run of UDP.
		Sum struct {
			Packets int `json:"packets"`
			Lost    int `json:"lost_packets"`
		} `json:"sum"`
	} `json:"end"`
	Intervals []struct {
		Sum bulkSum `json:"sum"`
	} `json:"intervals"`
	Error string `json:"error"`
}

type bulkSum struct {
	Bytes         uint64  `json:"bytes"`
	BitsPerSecond float64 `json:"bits_per_second"`
}

// iperf runs the client against a server that serves it alone.
func iperf(t *testing.T, client, server *linktest.Namespace, addr string, args ...string) bulk {
	t.Helper()
	stop := iperfServer(t, server)
	defer stop()
	return startIperf(t, client, addr, args...)()
}

// startIperf starts the client and returns what waits for it to end.
func startIperf(t *testing.T, client *linktest.Namespace, addr string, args ...string) func() bulk {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	cmd := client.Command(ctx, "iperf3", append([]string{"-J", "-c", addr}, args...)...)
	var out bytes.Buffer // not standard error, where it warns
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatalf("iperf3: %v", err)
	}
	wait := sync.OnceValue(func() error {
		defer cancel()
		return cmd.Wait()
	})
	t.Cleanup(func() { cancel(); _ = wait() })
	return func() bulk {
		t.Helper()
		err := wait()
		return parseBulk(t, out.String(), err)
	}
}

func parseBulk(t *testing.T, out string, err error) bulk {
	t.Helper()
	var b bulk
	if jsonErr := json.Unmarshal([]byte(out), &b); jsonErr != nil || b.Error != "" || err != nil {
		t.Fatalf("iperf3: %v: %s\n%s", err, b.Error, out)
	}
	return b
}

// iperfServer returns when the server listens, with what ends it.
func iperfServer(t *testing.T, ns *linktest.Namespace) (stop func()) {
	t.Helper()
	needTool(t, "iperf3")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	cmd := ns.Command(ctx, "iperf3", "-s", "-1", "--forceflush")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatalf("iperf3 server: %v", err)
	}
	stop = func() {
		cancel()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // killed, if it has not ended by itself
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		if strings.Contains(s.Text(), "listening") {
			return stop
		}
	}
	stop()
	t.Fatal("iperf3 server ended before it listened")
	return nil
}

// checkTCP sends some megabytes each way.
func checkTCP(t *testing.T, client, server *linktest.Namespace, addr string) {
	t.Helper()
	for _, direction := range [][]string{{}, {"-R"}} {
		b := iperf(t, client, server, addr, append([]string{"-n", "60M"}, direction...)...)
		got := b.End.SumReceived
		t.Logf("%s to %s %v: %.1f Gb/s", client.Name, addr, direction, got.BitsPerSecond/1e9)
		if got.BitsPerSecond < crawl {
			t.Errorf("TCP %v crawls: %.1f Mb/s", direction, got.BitsPerSecond/1e6)
		}
	}
}

// fullPing is what makes ping's packets over IPv4 so much longer than the MTU.
func (b *bed) fullPing(more int) []string {
	const headers = 28 // IPv4 and ICMP
	return []string{"-M", "do", "-s", strconv.Itoa(b.mtu - headers + more)}
}

// checkPing wants every one of a few pings answered, the first included. They are
// sent at once: with an interval ping would wait for the last no longer than that.
func checkPing(t *testing.T, from *linktest.Namespace, addr string, args ...string) {
	t.Helper()
	out, err := tryRun(from, append([]string{"ping", "-n", "-c", "3", "-l", "3", "-W", "2"}, append(args, addr)...)...)
	if err != nil || !strings.Contains(out, " 0% packet loss") {
		t.Errorf("ping %s from %s: %v\n%s", addr, from.Name, err, out)
	}
}
