package kernel

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// outerPacket is a tunnel packet as tshark tells of it: strings of the fields
// below, outer headers only.
type outerPacket struct {
	vni, from, to, sourcePort, df, checksum, ttl, id string
}

var outerFields = []string{
	"vxlan.vni", "ip.src", "ip.dst", "udp.srcport", "ip.flags.df", "udp.checksum", "ip.ttl", "ip.id",
}

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
	for _, f := range outerFields {
		args = append(args, "-e", f)
	}
	var packets []outerPacket
	for line := range strings.Lines(run(t, ns, args...)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != len(outerFields) {
			continue // a warning
		}
		packets = append(packets, outerPacket{f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]})
	}
	return packets
}
