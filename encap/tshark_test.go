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
		outer    Outer
		vni      VNI
		src, dst string
		ecn      ECN
	}{
		{testOuter(), 4096, "10.0.0.1", "10.0.0.2", NotECT},
		{testOuter(), 4097, "10.1.0.1", "10.1.0.9", ECT0},
		{testOuter(), MaxVNI, "fd00::1", "fd00::2", CE},
		{testOuter6(), 4096, "10.0.0.1", "10.0.0.2", NotECT},
		{testOuter6(), MaxVNI, "fd00::1", "fd00::2", CE},
	} {
		inner := innerUDP(t, c.src, c.dst)
		o := c.outer
		o.VNI, o.ECN, o.SrcPort = c.vni, c.ecn, SourcePort(FlowHash(inner))
		head := OuterLen(o.Src)
		frame := make([]byte, head+len(inner))
		if err := o.Put(frame, len(inner)); err != nil {
			t.Fatal(err)
		}
		copy(frame[head:], inner)
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(info, frame); err != nil {
			t.Fatal(err)
		}
		label, df := "", "1"
		if o.Src.Is6() {
			label, df = "0x0abcde", ""
		}
		want = append(want, strings.Join([]string{
			fmt.Sprint(c.vni), "0x0800", o.Src.String(), o.Dst.String(), fmt.Sprint(o.SrcPort), "4789",
			fmt.Sprint(uint8(c.ecn)), df, "64", label, c.src, c.dst, "02:00:00:00:00:0a", "Good", "ovl", "",
		}, "|"))
	}
	// Inner and outer fields have one name; occurrence by occurrence, so that
	// the table tells them apart. The last column is what tshark finds wrong.
	args := []string{"-r", path, "-n", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-o", "udp.ignore_ipv6_zero_checksum:TRUE", // RFC 6935, which is not its default
		"-T", "fields", "-E", "separator=|", "-E", "aggregator=;"}
	fields := []string{
		"vxlan.vni", "vxlan.flags", "ip.src", "ip.dst", "udp.srcport", "udp.dstport", "ip.dsfield.ecn", "ip.flags.df", "ip.ttl",
		"ipv6.src", "ipv6.dst", "eth.src", "ip.checksum.status", "udp.checksum.status", "data.data", "_ws.expert.message",
		"eth.type", "ipv6.tclass.ecn", "ipv6.hlim", "ipv6.flow",
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
	if len(col) != 20 {
		return fmt.Sprintf("%d columns", len(col))
	}
	at := func(i, n int) string {
		values := strings.Split(col[i], ";")
		if n >= len(values) {
			return ""
		}
		return values[n]
	}
	// Columns of addresses, ECN, DF, TTL and flow label, by family.
	four, six := [...]int{2, 3, 6, 7, 8}, [...]int{9, 10, 17, -1, 18}
	family := func(etherType string, n int) (fields []string) {
		columns := four
		if etherType == "0x86dd" {
			columns = six
		}
		for _, c := range columns {
			value := ""
			if c >= 0 {
				value = at(c, n)
			}
			fields = append(fields, value)
		}
		return fields
	}
	outer, nth, label := family(at(16, 0), 0), 0, ""
	if at(16, 0) == at(16, 1) {
		nth = 1 // both are of one family, and share its columns
	}
	if at(16, 0) == "0x86dd" {
		label = at(19, 0)
	}
	inner := family(at(16, 1), nth)
	checks := "Good"
	for _, status := range append(strings.Split(col[12], ";"), at(13, 1)) {
		if status != "1" && status != "" { // 1 is good, and IPv6 has none
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
		at(0, 0), at(1, 0), outer[0], outer[1], at(4, 0), at(5, 0), outer[2], outer[3], outer[4], label,
		inner[0], inner[1], at(11, 1), checks, payload, col[15],
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
