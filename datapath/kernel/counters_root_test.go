package kernel

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// TestCountersAddUp sends all kinds of traffic, good and bad, between two hosts,
// and then wants every packet and byte accounted for: on each host, and
// from one to the other, however the underlay's devices cut and merge.
func TestCountersAddUp(t *testing.T) { onUnderlays(t, linktest.Options{}, testCountersAddUp) }

func testCountersAddUp(t *testing.T, o linktest.Options) {
	needTool(t, "ethtool", "ping")
	on := []nic{nics[2]}
	if !o.IPv6 {
		on = append(on, nics[0], nics[3])
	}
	for _, n := range on {
		t.Run(n.name, func(t *testing.T) {
			o.Wire = n.wire
			f := newTrafficBed(t, o)
			f.settle(t, n)
			vm := f.attachTAPFlags(t, 0, testVNI, "10.0.0.5", unix.IFF_VNET_HDR)
			other := f.attach(0, testVNI+1, "10.0.0.2/24")
			otherFar := f.attach(1, testVNI+1, "10.0.0.3/24")
			f.connect()
			inside := vm.inhabit(t, f.bed, 24, unix.IFF_VNET_HDR)
			carryMulticast(t, f.bed, []groupMember{memberOf(f.a), memberOf(f.near), memberOf(f.far)})

			pair := func(from, to *linktest.Namespace, addr netip.Addr) {
				// In fragments. How many come back is other tests' affair.
				_, _ = tryRun(from, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "1", "-s", "4000", addr.String())
				checkTransfer(t, from, to, addr, 4<<20)
				checkDatagrams(t, from, to, addr)
			}
			pair(f.a.Namespace, f.far.Namespace, f.far.addr())
			pair(f.far.Namespace, f.near.Namespace, f.near.port.Addrs[1])
			pair(f.a.Namespace, f.near.Namespace, f.near.addr())
			pair(f.near.Namespace, f.a.Namespace, f.a.port.Addrs[1])
			pair(other.Namespace, otherFar.Namespace, otherFar.addr())
			checkTransfer(t, inside, f.far.Namespace, f.far.addr(), 4<<20)
			checkTransfer(t, f.far.Namespace, inside, vm.addr(), 4<<20)
			f.checkAddsUp(t, f.misbehave(t))
			for i, h := range f.hosts {
				s := h.stats(t)
				all := s.AllPorts()
				if all.Answered.Packets == 0 || all.Dropped.Packets < 100 || s.DroppedIn().Packets < 100 ||
					i == 0 && all.Copied.Packets < 50 {
					t.Errorf("%s: too little of it happened: %+v, dropped in %+v", h.Name, all, s.DroppedIn())
				}
			}
		})
	}
}

// misbehave sends frames that are dropped, on both hosts, both at the sender's
// and at the receiver's. It returns what the latter has to count, by host, of
// which the former knows nothing.
func (f *trafficBed) misbehave(t *testing.T) (forged [2]datapath.Counter) {
	for i, e := range []*bedEndpoint{f.a, f.far} {
		from, to := e.host, f.hosts[1-i]
		self := dt.Party{MAC: e.port.MAC, Addr: e.addr()}
		nobody := dt.Party{MAC: encap.MAC{2, 9}, Addr: netip.MustParseAddr("10.0.0.99")}
		group := dt.Party{MAC: encap.MAC{1, 0, 0x5e, 1, 2, 3}, Addr: netip.MustParseAddr("239.1.2.3")}
		tunnel := func(vni encap.VNI, inner []byte) []byte {
			return dt.VXLAN(dt.Party{MAC: macOf(t, from.Namespace, linktest.UnderlayDevice), Addr: from.Addr},
				dt.Party{MAC: macOf(t, to.Namespace, linktest.UnderlayDevice), Addr: to.Addr}, vni, inner)
		}
		inside, outside := sender(t, e.Namespace, "eth0"), sender(t, from.Namespace, linktest.UnderlayDevice)
		forge := func(frame []byte) {
			outside(frame)
			inner := max(0, len(frame)-encap.Overhead(to.Addr))
			forged[1-i] = forged[1-i].Add(datapath.Counter{Packets: 1, Bytes: uint64(inner)})
		}
		for range 50 {
			inside(dt.UDP4(nobody, self, "a forged source"))
			inside(dt.UDP4(self, nobody, "to nobody"))
			inside(dt.ARPRequest(self, nobody.Addr))
			inside(dt.UDP4(self, group, "to a group"))
			inside(tagged(7, dt.Ethernet(self, nobody, 0x88b5, "tagged, to nobody")))
			inside(tagged(7, dt.Ethernet(self, dt.Party{MAC: f.near.port.MAC}, 0x88b5, "tagged")))
			forge(tunnel(testVNI+7, dt.UDP4(self, nobody, "of no network")))
			forge(tunnel(testVNI, dt.UDP4(nobody, self, "of a forged sender")))
			forge(tunnel(testVNI, dt.UDP4(self, nobody, "to nobody here"))[:60])
		}
	}
	return forged
}

// checkAddsUp wants the hosts' counters to agree, once nothing is under way. Only
// what the underlay's devices say that they have lost may be missing: on a busy
// machine, which reads a wire too late.
func (f *trafficBed) checkAddsUp(t *testing.T, forged [2]datapath.Counter) {
	t.Helper()
	var problems []string
	for range 100 {
		problems = nil
		var s []datapath.Stats
		for _, h := range f.hosts {
			s = append(s, h.stats(t))
			if err := dt.CheckBalance(s[len(s)-1]); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", h.Name, err))
			}
		}
		for i, h := range f.hosts {
			other := f.hosts[1-i]
			sent, received := s[i].Peers[other.Addr].Sent.Add(forged[1-i]), s[1-i].Peers[h.Addr].Received.Add(s[1-i].DroppedIn())
			lost := f.lost(t)
			if sent != received && (lost == 0 || sent.Packets < received.Packets || sent.Packets > received.Packets+lost) {
				problems = append(problems, fmt.Sprintf("%s has sent %+v, %+v were received or dropped, %d lost under way", h.Name, sent, received, lost))
			}
		}
		if problems == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(strings.Join(problems, "\n"))
}

// lost is what the underlay's devices have dropped.
func (b *bed) lost(t *testing.T) (packets uint64) {
	t.Helper()
	for _, h := range b.hosts {
		err := h.Do(func() error {
			d, err := netlink.LinkByName(linktest.UnderlayDevice)
			if err != nil {
				return err
			}
			packets += d.Attrs().Statistics.TxDropped + d.Attrs().Statistics.RxDropped
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return packets
}

// TestCountersCountSegments compares with who knows better: the sender's TCP
// counts its segments, which it leaves to the kernel to cut.
func TestCountersCountSegments(t *testing.T) {
	f := newTrafficBed(t, linktest.Options{})
	const size = 32 << 20
	for i, addr := range f.far.port.Addrs {
		meet(t, f.a.Namespace, addr)
		sentBefore, againBefore := tcpSegments(t, f.a)
		before := f.forwarded(t, f.a)
		checkTransfer(t, f.a.Namespace, f.far.Namespace, addr, size)
		f.checkAddsUp(t, [2]datapath.Counter{})
		sent, again := tcpSegments(t, f.a)
		segments, after := sent+again-sentBefore-againBefore, f.forwarded(t, f.a)
		if got := after.Packets - before.Packets; got != segments {
			t.Errorf("to %s: counted %d packets, TCP has sent %d segments", addr, got, segments)
		}
		// Headers of Ethernet, IP, and TCP with timestamps; more options in
		// the first segment. On a busy machine some go twice.
		headers := uint64(14 + 20 + 20*i + 32)
		least := size + segments*headers
		most := least + 40 + (again-againBefore)*uint64(f.mtu)
		if got := after.Bytes - before.Bytes; got < least || got > most {
			t.Errorf("to %s: counted %d bytes, want %d to %d", addr, got, least, most)
		}
	}
}

// forwarded is what an endpoint has sent to others.
func (f *trafficBed) forwarded(t *testing.T, e *bedEndpoint) datapath.Counter {
	t.Helper()
	c, ok := e.host.stats(t).Ports[e.port.Device]
	if !ok {
		t.Fatalf("no counters of port %s", e.port.Device)
	}
	return datapath.Counter{
		Packets: c.Sent.Packets - c.Answered.Packets - c.Dropped.Packets,
		Bytes:   c.Sent.Bytes - c.Answered.Bytes - c.Dropped.Bytes,
	}
}

// tcpSegments is how many segments the TCP of a namespace has sent, and sent
// again.
func tcpSegments(t *testing.T, e *bedEndpoint) (sent, again uint64) {
	t.Helper()
	var b []byte
	err := e.Do(func() (err error) {
		b, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if f[0] != "Tcp:" {
			continue
		}
		for i, name := range names {
			switch name {
			case "OutSegs":
				sent, _ = strconv.ParseUint(f[i], 10, 64)
			case "RetransSegs":
				again, _ = strconv.ParseUint(f[i], 10, 64)
			}
		}
		names = f
	}
	return sent, again
}

// TestCountersCountTags: a tag is part of the frame, wherever a device keeps it.
func TestCountersCountTags(t *testing.T) {
	f := newTrafficBed(t, linktest.Options{})
	for _, e := range []*bedEndpoint{f.a, f.near, f.far} {
		e.silence(t)
	}
	frame := tagged(7, dt.Ethernet(dt.Party{MAC: f.a.port.MAC}, dt.Party{MAC: f.far.port.MAC}, 0x88b5, "a tagged frame"))
	out := f.hosts[0].stats(t).Ports[f.a.port.Device].Sent
	in := f.hosts[1].stats(t).Ports[f.far.port.Device].Received
	heard := listenAll(t, f.far.Namespace, "eth0")
	sender(t, f.a.Namespace, "eth0")(frame)
	if got := heard(); !holds(got, frame) {
		t.Fatalf("heard %s", hexLines(got))
	}
	one := datapath.Counter{Packets: 1, Bytes: uint64(len(frame))}
	if got := f.hosts[0].stats(t).Ports[f.a.port.Device].Sent; got != out.Add(one) {
		t.Errorf("sent %+v after %+v, want %+v more", got, out, one)
	}
	if got := f.hosts[1].stats(t).Ports[f.far.port.Device].Received; got != in.Add(one) {
		t.Errorf("received %+v after %+v, want %+v more", got, in, one)
	}
}
