package encap

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// TestTsharkReadsOurFrames asks a reader that is not ours: VNI, addresses
// inside and outside, ports, ECN and both header checksums.
func TestTsharkReadsOurFrames(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs tshark, which CI must have")
		}
		t.Skip("tshark is not installed")
	}
	var want []string
	path := filepath.Join(t.TempDir(), "ovl.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		vni      VNI
		src, dst string
		ecn      ECN
	}{
		{4096, "10.0.0.1", "10.0.0.2", NotECT},
		{4097, "10.1.0.1", "10.1.0.9", ECT0},
		{MaxVNI, "fd00::1", "fd00::2", CE},
	} {
		inner := innerUDP(t, c.src, c.dst)
		o := testOuter()
		o.VNI, o.ECN, o.SrcPort = c.vni, c.ecn, SourcePort(FlowHash(inner))
		frame := make([]byte, OuterLen+len(inner))
		if err := o.Put(frame, len(inner)); err != nil {
			t.Fatal(err)
		}
		copy(frame[OuterLen:], inner)
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(info, frame); err != nil {
			t.Fatal(err)
		}
		want = append(want, strings.Join([]string{
			fmt.Sprint(c.vni), "0x0800", "192.0.2.1", "192.0.2.2", fmt.Sprint(o.SrcPort), "4789",
			fmt.Sprint(uint8(c.ecn)), "1", "64", c.src, c.dst, "02:00:00:00:00:0a", "Good", "ovl", "",
		}, "|"))
	}
	// Inner and outer fields have one name; occurrence by occurrence, so that
	// the table tells them apart. The last column is what tshark finds wrong.
	args := []string{"-r", path, "-n", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "fields", "-E", "separator=|", "-E", "aggregator=;"}
	fields := []string{
		"vxlan.vni", "vxlan.flags", "ip.src", "ip.dst", "udp.srcport", "udp.dstport", "ip.dsfield.ecn", "ip.flags.df", "ip.ttl",
		"ipv6.src", "ipv6.dst", "eth.src", "ip.checksum.status", "udp.checksum.status", "data.data", "_ws.expert.message",
	}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	out, err := exec.CommandContext(t.Context(), tshark, args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("tshark sees %d packets, want %d:\n%s", len(lines), len(want), out)
	}
	for i, line := range lines {
		if got := normalise(line); got != want[i] {
			t.Errorf("packet %d\n got %s\nwant %s\nfrom %s", i+1, got, want[i], line)
		}
	}
}

// normalise brings tshark's columns, in which the outer value comes before
// the inner one, into the form of the test's table.
func normalise(line string) string {
	col := strings.Split(line, "|")
	if len(col) != 16 {
		return fmt.Sprintf("%d columns", len(col))
	}
	at := func(i, n int) string {
		values := strings.Split(col[i], ";")
		if n >= len(values) {
			return ""
		}
		return values[n]
	}
	src, dst := at(2, 1), at(3, 1)
	if src == "" {
		src, dst = at(9, 0), at(10, 0)
	}
	checks := "Good"
	for _, status := range append(strings.Split(col[12], ";"), at(13, 1)) {
		if status != "1" { // 1 is good
			checks = "Bad " + col[12] + " " + col[13]
		}
	}
	if at(13, 0) != "3" { // 3 is not present: the outer UDP checksum is zero
		checks = "outer UDP " + at(13, 0)
	}
	payload := ""
	if at(14, 0) == "6f766c" {
		payload = "ovl"
	}
	return strings.Join([]string{
		at(0, 0), at(1, 0), at(2, 0), at(3, 0), at(4, 0), at(5, 0),
		at(6, 0), at(7, 0), at(8, 0), src, dst, at(11, 1), checks, payload, col[15],
	}, "|")
}

// innerUDP builds a frame with gopacket, checksums included.
func innerUDP(t *testing.T, src, dst string) []byte {
	t.Helper()
	eth := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 10}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 11},
		EthernetType: layers.EthernetTypeIPv4,
	}
	udp := &layers.UDP{SrcPort: 40001, DstPort: 40002}
	a, b := netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice()
	var ip gopacket.SerializableLayer
	if len(a) == 4 {
		l := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: a, DstIP: b}
		udp.SetNetworkLayerForChecksum(l) //nolint:errcheck // of a kind that has one
		ip = l
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		l := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: a, DstIP: b}
		udp.SetNetworkLayerForChecksum(l) //nolint:errcheck // of a kind that has one
		ip = l
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, eth, ip, udp, gopacket.Payload("ovl")); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
