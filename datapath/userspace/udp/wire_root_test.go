package udp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is needed: %v", n, err)
			}
			t.Skipf("%s is needed: %v", n, err)
		}
	}
}

func run(t testing.TB, ns *linktest.Namespace, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := ns.Command(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s in %s: %v\n%s", strings.Join(command, " "), ns.Name, err, out)
	}
	return string(out)
}

// openAt opens a tunnel of a host with one reader.
func openAt(t *testing.T, h *linktest.Host) *Tunnel {
	t.Helper()
	var tun *Tunnel
	if err := h.Do(func() (err error) {
		tun, err = Open(Options{VTEP: h.Addr, Readers: 1})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tun.Close() })
	return tun
}

func onUnderlays(t *testing.T, o linktest.Options, test func(t *testing.T, lab *linktest.Lab)) {
	linktest.NeedRoot(t)
	for _, ipv6 := range []bool{false, true} {
		o.IPv6 = ipv6
		t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[ipv6], func(t *testing.T) { test(t, linktest.New(t, o)) })
	}
}

// packet is one on the wire, as tshark tells of it.
type packet struct {
	from, to, ttl, df, ecn, checksum, verdict string
	port, length                              int
}

// capture records what comes to a host's underlay device, until the function that it
// returns is called.
func capture(t *testing.T, h *linktest.Host) func() []packet {
	t.Helper()
	needTools(t, "dumpcap", "tshark")
	file := filepath.Join(t.TempDir(), "underlay.pcap")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	cmd := h.Command(ctx, "dumpcap", "-q", "-i", linktest.UnderlayDevice, "-w", file, "-f", "udp port 4789")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatalf("dumpcap: %v", err)
	}
	end := func() {
		cancel()
		_, _ = io.Copy(io.Discard, log)
		_ = cmd.Wait() // interrupted
	}
	t.Cleanup(end)
	for s := bufio.NewScanner(log); s.Scan(); {
		if strings.Contains(s.Text(), "File: ") {
			return func() []packet {
				t.Helper()
				time.Sleep(500 * time.Millisecond) // until the last is read
				end()
				return decode(t, h, file)
			}
		}
	}
	t.Fatal("dumpcap ended before it listened")
	return nil
}

func decode(t *testing.T, h *linktest.Host, file string) (all []packet) {
	t.Helper()
	args := []string{
		"tshark", "-r", file, "-o", "udp.check_checksum:TRUE", "-d", "udp.port==4789,data",
		"-T", "fields", "-E", "occurrence=f", "-E", "separator=/t",
	}
	fields := []string{
		"ip.src", "ip.dst", "ip.ttl", "ip.flags.df", "ip.dsfield.ecn", "udp.checksum", "udp.checksum.status", "udp.srcport", "udp.length",
		"ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.tclass.ecn",
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	for line := range strings.Lines(run(t, h.Namespace, args...)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != len(fields) {
			continue // a warning
		}
		p := packet{from: f[0], to: f[1], ttl: f[2], df: f[3], ecn: f[4], checksum: f[5], verdict: f[6]}
		if f[0] == "" {
			p.from, p.to, p.ttl, p.ecn = f[9], f[10], f[11], f[12]
		}
		p.port, _ = strconv.Atoi(f[7])
		p.length, _ = strconv.Atoi(f[8])
		all = append(all, p)
	}
	return all
}

// TestOnTheWire: what leaves a host, after it has been cut and its checksums have been
// made, as hardware would get it.
func TestOnTheWire(t *testing.T) {
	onUnderlays(t, linktest.Options{Wire: true}, func(t *testing.T, lab *linktest.Lab) {
		if err := lab.SetFeature(t.Context(), "generic-receive-offload", false); err != nil {
			t.Fatal(err) // what is merged again is not what was on the wire
		}
		near, far := openAt(t, lab.Hosts[0]), openAt(t, lab.Hosts[1])
		path, s := pathTo(t, near, lab.Hosts[1].Addr), near.NewSender()
		stop := capture(t, lab.Hosts[1])
		for i := range 8 {
			s.Add(path, uint32(i), encap.ECN(i), fill(i, 100), nil) // alone
		}
		for i := range 10 {
			s.Add(path, 100, encap.ECT0, fill(i, 1000), nil) // a train
		}
		s.Add(path, 100, encap.ECT0, fill(10, 333), nil)
		flush(t, s)
		got, _ := receive(t, far.Receivers()[0], 19)
		for _, d := range got {
			if d.from != lab.Hosts[0].Addr {
				t.Errorf("from %s", d.from)
			}
		}
		packets := stop()
		alone, cars, ports, marks := 0, 0, map[int]bool{}, map[string]int{}
		for _, p := range packets {
			ports[p.port] = true
			df := "True"
			if lab.Hosts[0].Addr.Is6() {
				df = ""
			}
			if p.from != lab.Hosts[0].Addr.String() || p.to != lab.Hosts[1].Addr.String() || p.ttl != "64" ||
				(p.df != df && p.df != "1") || p.port < encap.MinSourcePort || p.port > encap.MaxSourcePort {
				t.Errorf("%+v", p)
			}
			switch p.length - 8 {
			case 100:
				alone++
				marks[p.ecn]++
				if p.checksum != "0x0000" {
					t.Errorf("alone, with a checksum: %+v", p)
				}
			case 1000, 333:
				cars++
				if p.checksum == "0x0000" || p.verdict != "1" || p.ecn != "2" {
					t.Errorf("out of a train: %+v", p)
				}
			default:
				t.Errorf("%+v", p)
			}
		}
		if alone != 8 || cars != 11 || len(ports) != 8 {
			t.Errorf("%d alone, %d out of a train, %d ports; want 8, 11, 8", alone, cars, len(ports))
		}
		if want := "map[0:2 1:2 2:2 3:2]"; fmt.Sprint(marks) != want {
			t.Errorf("ECN: %v, want %s", marks, want)
		}
		ecns := map[uint8]int{}
		for _, d := range got {
			ecns[d.ecn]++
		}
		if want := "map[0:2 1:2 2:13 3:2]"; fmt.Sprint(ecns) != want {
			t.Errorf("ECN received: %v, want %s", ecns, want)
		}
	})
}

// TestMerged: a train that was cut on the way is put together by this host's GRO.
func TestMerged(t *testing.T) {
	onUnderlays(t, linktest.Options{Wire: true}, func(t *testing.T, lab *linktest.Lab) {
		near, far := openAt(t, lab.Hosts[0]), openAt(t, lab.Hosts[1])
		path, s := pathTo(t, near, lab.Hosts[1].Addr), near.NewSender()
		s.Add(path, 1, 0, []byte("hello"), nil) // while a neighbour is unknown, the kernel keeps little
		flush(t, s)
		receive(t, far.Receivers()[0], 1)
		for i := range 400 {
			s.Add(path, 1, encap.CE, fill(i, 1000), nil)
		}
		flush(t, s)
		got, messages := receive(t, far.Receivers()[0], 400)
		for i, d := range got {
			if d.data != string(fill(i, 1000)) || d.ecn != uint8(encap.CE) {
				t.Fatalf("datagram %d: %.6s of %d bytes, ECN %d", i, d.data, len(d.data), d.ecn)
			}
		}
		if messages > 300 {
			t.Errorf("400 datagrams in %d messages", messages)
		}
	})
}

// TestTooLong: longer than the device takes is an error, alone and as a train, and keeps
// nothing else from being sent.
func TestTooLong(t *testing.T) {
	onUnderlays(t, linktest.Options{}, func(t *testing.T, lab *linktest.Lab) {
		near, far := openAt(t, lab.Hosts[0]), openAt(t, lab.Hosts[1])
		path, s := pathTo(t, near, lab.Hosts[1].Addr), near.NewSender()
		longest := 1500 - 28
		if lab.Hosts[0].Addr.Is6() {
			longest = 1500 - 48
		}
		s.Add(path, 1, 0, fill(0, longest+1), nil)
		s.Add(path, 1, 0, fill(1, longest), nil)
		s.Add(path, 1, encap.CE, fill(2, longest+1), nil) // two that do not fit
		s.Add(path, 1, encap.CE, fill(3, longest+1), nil)
		s.Add(path, 1, 0, fill(4, longest), nil)
		s.Add(path, 1, 0, fill(5, longest), nil)
		var failed []string
		s.Flush(func(_ *Path, n, _ int, err error) { failed = append(failed, fmt.Sprintf("%d %v", n, err)) })
		if fmt.Sprint(failed) != "[2 message too long 2 message too long]" {
			t.Errorf("failed: %q", failed)
		}
		if path.noTrains.Load() {
			t.Error("no trains any more")
		}
		got, _ := receive(t, far.Receivers()[0], 2)
		if len(got) != 2 || got[0].data[:6] != "000004" {
			t.Errorf("%d arrived, first %.6s", len(got), got[0].data)
		}
	})
}

// TestPathMTU: what a router says of a packet of any of the sockets, a route, and a way
// that is not there.
func TestPathMTU(t *testing.T) {
	onUnderlays(t, linktest.Options{NarrowMTU: 1300}, func(t *testing.T, lab *linktest.Lab) {
		near := openAt(t, lab.Hosts[0])
		path, s := pathTo(t, near, lab.Hosts[1].Addr), near.NewSender()
		now := time.Duration(0)
		path.now = func() time.Duration { now += mtuLifetime; return now }
		want := func(mtu int) {
			t.Helper()
			if got, err := path.MTU(); got != mtu || err != nil {
				t.Errorf("MTU %d, %v; want %d", got, err, mtu)
			}
		}
		want(1500)
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			s.Add(path, 5, 0, fill(0, 1400), nil)
			flush(t, s)
			if mtu, err := path.MTU(); err != nil || mtu == 1300 {
				break
			}
		}
		want(1300)
		s.Add(path, 5, 0, fill(0, 1400), nil) // is still sent: whoever sends decides
		flush(t, s)

		h := lab.Hosts[0]
		family, to := "-4", netip.PrefixFrom(lab.Hosts[1].Addr, 32)
		if lab.Hosts[1].Addr.Is6() {
			family, to = "-6", netip.PrefixFrom(lab.Hosts[1].Addr, 128)
		}
		route := strings.Fields(strings.SplitN(run(t, h.Namespace, "ip", family, "route", "show", "default"), "\n", 2)[0])
		via := route[2]
		run(t, h.Namespace, "ip", family, "route", "replace", to.String(), "via", via, "dev", linktest.UnderlayDevice, "onlink", "mtu", "1400")
		want(1400)
		run(t, h.Namespace, "ip", family, "route", "replace", "unreachable", to.String())
		if mtu, err := path.MTU(); err == nil || !unreachable(err) {
			t.Errorf("no way there: %d, %v", mtu, err)
		}
		s.Add(path, 5, 0, fill(0, 100), nil)
		reported := 0
		s.Flush(func(_ *Path, n, _ int, err error) {
			if reported += n; !unreachable(err) {
				t.Errorf("no way there: %v", err)
			}
		})
		if reported != 1 {
			t.Errorf("%d reported, want 1", reported)
		}
	})
}

func unreachable(err error) bool {
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)
}
