package answer

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// TestTsharkReadsAnswers asks a reader that is not ours what the answers say, and
// what it finds wrong.
func TestTsharkReadsAnswers(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs tshark, which CI must have")
		}
		t.Skip("tshark is not installed")
	}
	var b Builder
	var frames [][]byte
	say := func(frame []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, slices.Clone(frame))
	}
	due := func(frame []byte, ok bool) {
		if !ok {
			t.Fatal("no answer")
		}
		frames = append(frames, slices.Clone(frame))
	}
	say(b.ARPReply(dt.ARPRequest(a4, b4.Addr), macB))
	say(b.Advertise(dt.Solicit(a6, dt.SolicitedNode(b6.Addr), b6.Addr), macB))
	say(b.Advertise(dt.Solicit(nameless, dt.SolicitedNode(b6.Addr), b6.Addr), macB))
	due(b.TooBig4(long4(mtu+1), gateway4, mtu))
	due(b.TooBig6(long6(mtu+1), gateway6, mtu))
	due(b.TooBig4(dt.Tagged(long4(mtu+1), 0x8100, 9), gateway4, mtu-4))
	const byB = "02:00:00:00:00:03|02:00:00:00:00:02|"
	none := func(n int) string { return strings.Repeat("|", n) }
	want := []string{
		byB + "|2|10.0.0.3|02:00:00:00:00:02|10.0.0.2" + none(24),
		byB + none(16) + "fd00::3|fd00::2|255|32|136|0|1||fd00::3|1|1|02:00:00:00:00:03|",
		"02:00:00:00:00:03|33:33:00:00:00:01|" + none(16) + "fd00::3|ff02::1|255|32|136|0|1||fd00::3|0|1|02:00:00:00:00:03|",
		byB + none(5) + "10.0.0.1|10.0.0.2|0xc0|1|64|576|1|3|4|1450|1" + none(13),
		byB + none(16) + "fd00::1|fd00::2|64|1240|2|0|1|1450" + none(5),
		byB + "9" + none(5) + "10.0.0.1|10.0.0.2|0xc0|1|64|576|1|3|4|1446|1" + none(13),
	}
	path := filepath.Join(t.TempDir(), "answers.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, frame := range frames {
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(info, frame); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-r", path, "-n", "-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator=|", "-E", "occurrence=f",
		"-d", "udp.port==2222,data"} // the port of the packet that is quoted
	for _, field := range []string{
		"eth.src", "eth.dst", "vlan.id", "arp.opcode", "arp.src.proto_ipv4", "arp.dst.hw_mac", "arp.dst.proto_ipv4",
		"ip.src", "ip.dst", "ip.dsfield", "ip.flags.df", "ip.ttl", "ip.len", "ip.checksum.status", "icmp.type", "icmp.code", "icmp.mtu", "icmp.checksum.status",
		"ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.plen", "icmpv6.type", "icmpv6.code", "icmpv6.checksum.status", "icmpv6.mtu",
		"icmpv6.nd.na.target_address", "icmpv6.nd.na.flag.s", "icmpv6.nd.na.flag.o", "icmpv6.opt.linkaddr", "_ws.expert.message",
	} {
		args = append(args, "-e", field)
	}
	out, err := exec.CommandContext(t.Context(), tshark, args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	got := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	if len(got) != len(want) {
		t.Fatalf("tshark sees %d packets, want %d:\n%s", len(got), len(want), out)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("packet %d\n got %s\nwant %s", i+1, got[i], want[i])
		}
	}
}
