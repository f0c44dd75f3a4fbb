package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

var overloadTime = flag.Duration("overload", 5*time.Second, "how long the overload tests flood")

const (
	// These are how long an operator waits for `ovlctl status`, and how long
	// the answer to most pings may take.
	slowestStatus, slowestPing = 2 * time.Second, time.Second
	// growth is how much more memory an agent may have in the end, in bytes:
	// the garbage collector moves in steps.
	growth = 16 << 20
	// floodsAtOnce is more than there are CPUs on a small machine, so that what
	// is to be passed on gets the smaller part of them.
	floodsAtOnce = 4
)

// TestOverloadByEndpoint: an endpoint sends much more than its host can pass on.
// What does not fit is counted, and the other endpoints hardly notice.
func TestOverloadByEndpoint(t *testing.T) {
	t.Run("frames", func(t *testing.T) {
		b := newOverloadBed(t)
		b.testEndpoint(t, 1, func(i int) *flood {
			return startFlood(t, b.h1.Namespace, b.flooder.info.Device, b.frame(t, i))
		})
	})
	t.Run("trains", func(t *testing.T) {
		b := newOverloadBed(t)
		b.testEndpoint(t, train, func(int) *flood { return startTrains(t, b.flooder, b.sink) })
	})
}

// testEndpoint floods in messages of so many packets each.
func (b *overloadBed) testEndpoint(t *testing.T, packets uint64, start func(int) *flood) {
	before, queueBefore := b.dropped()
	offered := flooded(t, start, func() (finish func()) { return watchOverload(t, b.h1, b.other, b.far, b.near) })

	b.settle(t, b.h1)
	after, queue := b.dropped()
	dropped := after.Dropped.Packets - before.Dropped.Packets
	passed := (after.Sent.Packets - before.Sent.Packets - dropped) / packets
	t.Logf("%.0f packets/s offered, %.0f passed on: one in %.1f", perSecond(offered*packets), perSecond(passed*packets), float64(offered)/float64(passed))
	if passed+dropped < offered {
		t.Errorf("%d messages were offered; %d were passed on and %d dropped", offered, passed, dropped)
	}
	// What its stack says to groups is dropped for another reason.
	if queue -= queueBefore; queue+100 < dropped || dropped < offered/10 {
		t.Errorf("%d of %d messages were dropped, %d because a queue was full; this was no overload", dropped, offered, queue)
	}
}

// dropped is what the flooder has sent, and what its host has dropped because a
// queue was full.
func (b *overloadBed) dropped() (flooder api.EndpointCounters, queue uint64) {
	var e struct{ Counters api.EndpointCounters }
	b.h1.query(&e, "endpoint", "inspect", "flooder")
	var s api.Status
	b.h1.query(&s, "status")
	return e.Counters, s.Counters.Drops[datapath.DropQueue.String()].Packets
}

// flooded watches while several flood, and returns how many messages they sent.
func flooded(t *testing.T, start func(int) *flood, watch func() (finish func())) (offered uint64) {
	t.Helper()
	var floods []*flood
	for i := range floodsAtOnce {
		floods = append(floods, start(i))
	}
	finish := watch()
	for _, f := range floods {
		offered += f.stop(t)
	}
	finish()
	return offered
}

// TestOverloadByPeer: another host sends much more than this one can take.
func TestOverloadByPeer(t *testing.T) {
	b := newOverloadBed(t)
	second := b.h2.attach("shop", "second")
	checkPings(t, second, b.sink)
	start := func(i int) *flood {
		return startFlood(t, b.h2.Namespace, linktest.UnderlayDevice, b.packet(t, i))
	}
	offered := flooded(t, start, func() (finish func()) { return watchOverload(t, b.h2, b.sink, second) })

	s := b.settle(t, b.h2)
	queue := s.Counters.Drops[datapath.DropQueue.String()].Packets
	t.Logf("%.0f packets/s offered, %.0f taken: one in %.1f",
		perSecond(offered), perSecond(s.Counters.Received.Packets), float64(offered)/float64(s.Counters.Received.Packets))
	if queue+s.Counters.Received.Packets < offered {
		t.Errorf("%d packets were offered; %d were taken, %d dropped because a queue was full", offered, s.Counters.Received.Packets, queue)
	}
	if queue < offered/10 {
		t.Errorf("%d of %d packets were dropped because a queue was full; this was no overload", queue, offered)
	}
}

func perSecond(packets uint64) float64 { return float64(packets) / overloadTime.Seconds() }

// overloadBed is three hosts with the userspace datapath. The flooder on the
// first sends to the sink on the second. On the third is one who is only pinged:
// what is sent to the sink's host shares its queue with the flood.
type overloadBed struct {
	h1, h2, h3                      *host
	flooder, other, near, sink, far *endpoint
}

func newOverloadBed(t *testing.T) *overloadBed {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 3})
	b := &overloadBed{h1: c.hosts[0], h2: c.hosts[1], h3: c.hosts[2]}
	b.h1.up("--datapath", "userspace")
	for _, h := range []*host{b.h2, b.h3} {
		h.up(append(h.joinArgs(), "--datapath", "userspace")...)
	}
	b.h1.must("network", "create", "shop")
	b.flooder, b.other, b.near = b.h1.attach("shop", "flooder"), b.h1.attach("shop", "other"), b.h1.attach("shop", "near")
	b.sink, b.far = b.h2.attach("shop", "sink"), b.h3.attach("shop", "far")
	checkPings(t, b.flooder, b.other, b.near, b.sink, b.far)
	return b
}

// frame is what the flooder sends: 64 bytes of Ethernet with UDP, from one of
// several ports.
func (b *overloadBed) frame(t *testing.T, port int) []byte {
	t.Helper()
	return serialize(t,
		&layers.Ethernet{SrcMAC: b.flooder.info.MacAddress[:], DstMAC: b.sink.info.MacAddress[:], EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ipOf(b.flooder), DstIP: ipOf(b.sink)},
		&layers.UDP{SrcPort: layers.UDPPort(40000 + port), DstPort: 9},
		gopacket.Payload(make([]byte, 64-14-20-8)))
}

// packet is what then goes through the tunnel.
func (b *overloadBed) packet(t *testing.T, port int) []byte {
	t.Helper()
	var networks []api.Network
	b.h1.query(&networks, "network", "inspect", "shop")
	vni, err := strconv.ParseUint(networks[0].Options["vni"], 10, 24)
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, encap.HeaderLen)
	encap.Header{VNI: encap.VNI(vni)}.Put(payload)
	payload = append(payload, b.frame(t, port)...)
	return serialize(t,
		&layers.Ethernet{SrcMAC: underlayMAC(t, b.h1), DstMAC: underlayMAC(t, b.h2), EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: b.h1.Addr.AsSlice(), DstIP: b.h2.Addr.AsSlice()},
		&layers.UDP{SrcPort: layers.UDPPort(40000 + port), DstPort: 4789},
		gopacket.Payload(payload))
}

// serialize leaves checksums of UDP zero.
func serialize(t *testing.T, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	out := gopacket.NewSerializeBuffer()
	for i := len(all) - 1; i >= 0; i-- {
		_, ip := all[i].(*layers.IPv4)
		if err := all[i].SerializeTo(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: ip}); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.Clone(out.Bytes())
}

func ipOf(e *endpoint) net.IP { return netip.MustParseAddr(e.addr()).AsSlice() }

func underlayMAC(t *testing.T, h *host) (mac net.HardwareAddr) {
	t.Helper()
	err := h.Do(func() error {
		device, err := net.InterfaceByName(linktest.UnderlayDevice)
		if err == nil {
			mac = device.HardwareAddr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// watchOverload looks at a host for overloadTime, while somebody floods: its
// agent's memory, its status, and pings from one endpoint to others. What it
// returns is to be called when the flood has ended.
func watchOverload(t *testing.T, h *host, from *endpoint, to ...*endpoint) (finish func()) {
	t.Helper()
	var watchers []*watcher
	for _, to := range to {
		watchers = append(watchers, startWatcher(t, from, to))
	}
	var wg sync.WaitGroup
	begin := time.Now()
	wg.Go(func() {
		var slowest time.Duration
		n := 0
		for ; time.Since(begin) < *overloadTime; n++ {
			asked := time.Now()
			if _, stderr, err := h.ctl("status"); err != nil {
				t.Errorf("status: %v: %s", err, stderr)
			}
			slowest = max(slowest, time.Since(asked))
			time.Sleep(200 * time.Millisecond)
		}
		t.Logf("status was asked %d times and answered within %v", n, slowest)
		if slowest > slowestStatus {
			t.Errorf("status took %v, want %v at most", slowest, slowestStatus)
		}
	})
	// The buffers of all goroutines are in use after a second.
	time.Sleep(time.Second)
	first, most := residentMemory(t, h), 0
	for time.Since(begin) < *overloadTime {
		time.Sleep(100 * time.Millisecond)
		most = max(most, residentMemory(t, h))
	}
	t.Logf("the agent's memory: %d KiB, then at most %d KiB", first>>10, most>>10)
	if most > first+growth {
		t.Errorf("the agent's memory grew from %d to %d KiB", first>>10, most>>10)
	}
	wg.Wait()
	return func() {
		for _, w := range watchers {
			g, soon := w.stop(t), 0
			for _, m := range pingReply.FindAllStringSubmatch(w.out.String(), -1) {
				if ms, err := strconv.ParseFloat(m[3], 64); err == nil && ms < float64(slowestPing.Milliseconds()) {
					soon++
				}
			}
			if soon*10 < g.sent*9 {
				t.Errorf("%s: %d of %d pings came back within %v, want nine of ten", w.what, soon, g.sent, slowestPing)
			}
		}
	}
}

var residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// residentMemory is that of a host's agent, in bytes.
func residentMemory(t *testing.T, h *host) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.agent.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := residentLine.FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmRSS of the agent: %s", text)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// settle returns a host's status when nothing is under way any more, and the
// books balance.
func (b *overloadBed) settle(t *testing.T, h *host) (s api.Status) {
	t.Helper()
	within(t, "the books balance", time.Now(), 10*time.Second, func() error {
		h.query(&s, "status")
		stats := datapath.Stats{Networks: map[encap.VNI]datapath.PortCounter{}}
		stats.Past.Peers = datapath.PeerCounter{Sent: datapath.Counter(s.Counters.Sent), Received: datapath.Counter(s.Counters.Received)}
		for _, n := range s.Networks {
			c := n.Counters
			stats.Networks[encap.VNI(n.VNI)] = datapath.PortCounter{
				Sent: datapath.Counter(c.Sent), Received: datapath.Counter(c.Received), Answered: datapath.Counter(c.Answered),
				Dropped: datapath.Counter(c.Dropped), Copied: datapath.Counter(c.Copied),
			}
		}
		return datapathtest.CheckBalance(stats)
	})
	return s
}
