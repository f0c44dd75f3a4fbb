package kernel

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestCorruptedChecksum: a packet whose checksum is wrong is nobody's to mend or
// to vouch for on the way. The receiver sees it as it was sent, and refuses it.
//
// GRO in the underlay's device looks into the tunnel: it marks the outer
// checksum as good, which must not be taken for a word about the inner one.
func TestCorruptedChecksum(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 2}, testCorruptedChecksum)
}

func testCorruptedChecksum(t *testing.T, o linktest.Options) {
	f := newTrafficBed(t, o)
	for _, gro := range []bool{false, true} {
		if err := f.lab.SetSegmentationOffload(t.Context(), !gro); err != nil {
			t.Fatal(err)
		}
		for _, to := range f.peers(o) {
			t.Run(fmt.Sprintf("%s, GRO %v", map[*bedEndpoint]string{f.near: "one host", f.far: "two hosts"}[to], gro), func(t *testing.T) {
				f.checkCorrupted(t, f.a, to)
			})
		}
	}
}

const datagram = "a datagram, longer than what Ethernet pads"

func (f *trafficBed) checkCorrupted(t *testing.T, from, to *bedEndpoint) {
	t.Helper()
	a, b := dt.Party{MAC: from.port.MAC, Addr: from.addr()}, dt.Party{MAC: to.port.MAC, Addr: to.addr()}
	a6, b6 := dt.Party{MAC: a.MAC, Addr: from.port.Addrs[1]}, dt.Party{MAC: b.MAC, Addr: to.port.Addrs[1]}
	// The first to talk would otherwise have its neighbour looked for.
	meet(t, from.Namespace, b6.Addr)
	send := sender(t, from.Namespace, "eth0")
	udp := udpListen(t, to.Namespace, netip.AddrPortFrom(b.Addr, 2222))
	defer func() { _ = udp.Close() }()

	for _, c := range []struct {
		name, counter string
		good          []byte
	}{
		{"UDP", "Udp:InCsumErrors", dt.UDP4(a, b, datagram)},
		{"ICMPv6", "Icmp6InCsumErrors", dt.ICMP6(a6, b6)},
	} {
		before := snmp(t, to.Namespace, c.counter)
		send(c.good)
		bad := append([]byte(nil), c.good...)
		bad[len(bad)-1] ^= 0x40
		send(bad)
		got := uint64(0)
		for end := time.Now().Add(time.Second); got == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			got = snmp(t, to.Namespace, c.counter) - before
		}
		if got != 1 {
			t.Errorf("%s: the receiver counts %d wrong checksums of 1", c.name, got)
		}
	}
	buf := make([]byte, 100)
	for _, want := range []string{datagram, ""} {
		if err := udp.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, _ := udp.Read(buf)
		if string(buf[:n]) != want {
			t.Errorf("heard %q, want %q", buf[:n], want)
		}
	}
}

// snmp reads a counter of a namespace's stack: of IPv4 as "Udp:InCsumErrors", of
// IPv6 as "Udp6InCsumErrors".
func snmp(t *testing.T, ns *linktest.Namespace, counter string) (n uint64) {
	t.Helper()
	err := ns.Do(func() error {
		group, name, v4 := strings.Cut(counter, ":")
		if !v4 {
			return scanCounters("/proc/thread-self/net/snmp6", func(f, _ []string) (err error) {
				if f[0] == counter {
					n, err = strconv.ParseUint(f[1], 10, 64)
				}
				return err
			})
		}
		// Names and values take turns, a line each.
		return scanCounters("/proc/thread-self/net/snmp", func(f, names []string) (err error) {
			if i := slices.Index(names, name); f[0] == group+":" && i > 0 && names[0] == f[0] {
				n, err = strconv.ParseUint(f[i], 10, 64)
			}
			return err
		})
	})
	if err != nil {
		t.Fatalf("counter %s of %s: %v", counter, ns.Name, err)
	}
	return n
}

func scanCounters(path string, line func(fields, last []string) error) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var last []string
	for l := range strings.Lines(string(data)) {
		fields := strings.Fields(l)
		if err := line(fields, last); err != nil {
			return err
		}
		last = fields
	}
	return nil
}
