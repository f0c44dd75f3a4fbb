package kernel

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// outerPacket is a tunnel packet as tshark tells of it: strings of the fields
// below, outer headers only. Over IPv6 there are no df and id, over IPv4 there
// is no label.
type outerPacket struct {
	vni, sourcePort, checksum, from, to, ttl, df, id, label string
	length                                                  int // of the frame, which may be one of many segments
}

// tshark gives the first of each field in a packet, so that those of the outer
// header's family are the outer ones.
var (
	outerFields  = []string{"eth.type", "vxlan.vni", "udp.srcport", "udp.checksum", "frame.len"}
	outerFields4 = []string{"ip.src", "ip.dst", "ip.ttl", "ip.flags.df", "ip.id"}
	outerFields6 = []string{"ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.flow"}
)

// capture records what a device carries until the function that it returns is
// called; that has tshark decode it, and returns what it takes for VXLAN.
func capture(t *testing.T, ns *linktest.Namespace, device string) func() []outerPacket {
	t.Helper()
	needTool(t, "tcpdump", "tshark")
	file := filepath.Join(t.TempDir(), "underlay.pcap")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	cmd := ns.Command(ctx, "tcpdump", "-Z", "root", "--immediate-mode", "-U", "-n", "-s", "200", "-i", device, "-w", file, "udp", "port", "4789")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatalf("tcpdump: %v", err)
	}
	end := func() {
		cancel()
		_, _ = io.Copy(io.Discard, log)
		_ = cmd.Wait() // interrupted
	}
	t.Cleanup(end)
	for s := bufio.NewScanner(log); s.Scan(); {
		if strings.Contains(s.Text(), "listening on") {
			return func() []outerPacket {
				t.Helper()
				time.Sleep(200 * time.Millisecond) // until the last is written
				end()
				return decode(t, ns, file)
			}
		}
	}
	t.Fatal("tcpdump ended before it listened")
	return nil
}

func decode(t *testing.T, ns *linktest.Namespace, file string) []outerPacket {
	t.Helper()
	args := []string{"tshark", "-r", file, "-Y", "vxlan", "-T", "fields", "-E", "occurrence=f", "-E", "separator=/t"}
	fields := slices.Concat(outerFields, outerFields4, outerFields6)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var packets []outerPacket
	for line := range strings.Lines(run(t, ns, args...)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != len(fields) {
			continue // a warning
		}
		p := outerPacket{vni: f[1], sourcePort: f[2], checksum: f[3]}
		if p.length, _ = strconv.Atoi(f[4]); f[0] == "0x86dd" {
			p.from, p.to, p.ttl, p.label = f[10], f[11], f[12], f[13]
		} else {
			p.from, p.to, p.ttl, p.df, p.id = f[5], f[6], f[7], f[8], f[9]
		}
		packets = append(packets, p)
	}
	return packets
}
