package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// What the product promises to somebody who waits for it.
const (
	peersTime   = 3 * time.Second
	networkTime = time.Second
	attachTime  = time.Second
)

// TestThreeHosts is the README's way: three hosts, one network, an endpoint on
// each.
func TestThreeHosts(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 3})
	h1, h2, h3 := c.hosts[0], c.hosts[1], c.hosts[2]
	h1.up()
	if token := h1.must("token", "create"); token != c.token+"\n" {
		t.Errorf("token create printed %q, the agent %q", token, c.token)
	}
	second := h2.begin(h2.joinArgs()...)
	third, last := h3.begin(h3.joinArgs()...), time.Now()
	h2.awaitUp(second)
	h3.awaitUp(third)
	within(t, "every host knows the two others", last, peersTime, func() error {
		for _, h := range c.hosts {
			var peers []api.Peer
			h.query(&peers, "peers")
			if n := countAlive(peers); n != 2 {
				return fmt.Errorf("%s has %d live peers", h.name, n)
			}
		}
		return nil
	})

	h1.must("network", "create", "shop")
	created := time.Now()
	for _, h := range []*host{h2, h3} {
		within(t, h.name+" lists the network", created, networkTime, func() error {
			if list := h.must("network", "ls"); !strings.Contains(list, "shop") {
				return fmt.Errorf("it lists:\n%s", list)
			}
			return nil
		})
	}

	var endpoints []*endpoint
	for i, h := range c.hosts {
		endpoints = append(endpoints, h.attachAtOnce("shop", fmt.Sprintf("c%d", i+1)))
	}
	checkPings(t, endpoints...) // at once: the first packets too

	checkBulk(t, endpoints[0], endpoints[1])
	checkBulk(t, endpoints[1], endpoints[2])
	t.Run("objects", func(t *testing.T) { checkObjects(t, c) })
	t.Run("local", func(t *testing.T) { checkPings(t, endpoints[0], h1.attach("shop", "near")) })
	t.Run("pid", func(t *testing.T) { checkPings(t, append(endpoints, attachProcess(t, h2, "shop", "process"))...) })
	t.Run("tap", func(t *testing.T) {
		vm := attachVM(t, h3, "shop")
		checkPings(t, append(endpoints, vm)...)
		checkBulk(t, vm, endpoints[0])
	})
}

// within wants check to succeed in that time after begin.
func within(t *testing.T, what string, begin time.Time, limit time.Duration, check func() error) {
	t.Helper()
	for {
		err := check()
		took := time.Since(begin)
		switch {
		case err == nil && took <= limit:
			t.Logf("%s: after %v", what, took.Round(time.Millisecond))
			return
		case err == nil:
			t.Errorf("%s: only after %v, want %v", what, took, limit)
			return
		case took > 10*limit:
			t.Fatalf("%s: not after %v, want %v: %v", what, took, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func countAlive(peers []api.Peer) int {
	n := 0
	for _, p := range peers {
		if p.State == api.PeerAlive {
			n++
		}
	}
	return n
}

// checkBulk sends both ways, TCP as fast as it goes and UDP at a rate that
// loses nothing to a busy machine.
func checkBulk(t *testing.T, from, to *endpoint) {
	t.Helper()
	for _, direction := range [][]string{nil, {"-R"}} {
		tcp := iperf(t, from, to, append([]string{"-t", "1"}, direction...)...)
		if rate := tcp.End.SumReceived.BitsPerSecond; rate < 100e6 {
			t.Errorf("TCP %s to %s %v: %.1f Mb/s", from.info.Name, to.info.Name, direction, rate/1e6)
		}
		udp := iperf(t, from, to, append([]string{"-u", "-b", "5M", "-l", "1300", "-t", "1"}, direction...)...)
		if s := udp.End.Sum; s.Packets < 400 || s.LostPackets > s.Packets/100 {
			t.Errorf("UDP %s to %s %v: %d of %d datagrams lost", from.info.Name, to.info.Name, direction, s.LostPackets, s.Packets)
		}
	}
}

// checkObjects looks at each object that is a contract for programs: the
// fields are there, under their names, and hold something.
func checkObjects(t *testing.T, c *cluster) {
	h := c.hosts[1]
	for _, o := range []struct {
		args, filled, present string
	}{
		{"status", "Name ID Version PID Started Datapath.Kind Datapath.Reason VTEP Underlay UnderlayMTU JoinAddress " +
			"Cluster.Size Cluster.Alive Cluster.Converged Cluster.LastSync Networks.0.Name Networks.0.VNI Networks.0.MTU " +
			"Networks.0.Local Networks.0.Remote Attachments.0.Program Attachments.0.Device Attachments.0.Hook " +
			"Counters.Sent.Packets Counters.Sent.Bytes Counters.Received.Packets Counters.Received.Bytes",
			"Uptime Cluster.Failed Counters.Drops.unknown_vtep.Packets Counters.Drops.source_mac.Bytes Counters.Drift Problems"},
		{"peers", "0.Name 0.ID 0.VTEP 0.State 0.Since 0.Datapath 0.Version 0.LastSync 0.Sent.Packets 0.Sent.Bytes 0.Received.Packets 0.Received.Bytes", ""},
		{"network inspect shop", "0.Name 0.Id 0.Created 0.Scope 0.Driver 0.IPAM.Config.0.Subnet 0.IPAM.Config.0.Gateway 0.Containers 0.Options.vni " +
			"0.Options.mtu 0.Peers.0.Name 0.Peers.0.IP 0.Peers.2.Name", "0.EnableIPv6 0.Internal 0.Services 0.Labels"},
		{"network ls", "0.Name 0.ID 0.VNI 0.Subnets.0 0.MTU 0.Endpoints 0.Created", "0.Internal 0.Labels"},
		{"endpoint inspect c3", "Name ID Network NetworkID Node NodeID NodeState Kind Interface Device NetNS MacAddress Addresses.0 Gateways.0 MTU Created", "Aliases Labels"},
		{"endpoint ls", "0.Name 2.Node 2.NodeState 2.Addresses.0", ""},
	} {
		var object any
		h.query(&object, strings.Fields(o.args)...)
		for _, path := range strings.Fields(o.filled) {
			if v, ok := lookUp(object, path); !ok || isEmpty(v) {
				t.Errorf("%s -o json: %s is %v, present %v", o.args, path, v, ok)
			}
		}
		for _, path := range strings.Fields(o.present) {
			if _, ok := lookUp(object, path); !ok {
				t.Errorf("%s -o json has no %s", o.args, path)
			}
		}
	}
	var s api.Status
	h.query(&s, "status")
	if s.Name != "h2" || s.Version != testVersion || s.Datapath.Kind != "kernel" || s.Cluster.Size != 3 || s.VTEP.String() != "192.0.2.2:4789" || len(s.Problems) > 0 {
		t.Errorf("status is %+v", s)
	}
	var networks []api.Network
	h.query(&networks, "network", "inspect", "shop")
	var names []string
	for _, e := range networks[0].Containers {
		if !e.IPv4Address.IsValid() || e.EndpointID == "" || !e.MacAddress.IsUnicast() {
			t.Errorf("container is %+v", e)
		}
		names = append(names, e.Name+" on "+e.Node)
	}
	slices.Sort(names)
	if got := strings.Join(names, ", "); got != "c1 on h1, c2 on h2, c3 on h3" {
		t.Errorf("containers are %s", got)
	}
}

// lookUp follows a path of names and indexes into decoded JSON.
func lookUp(v any, path string) (any, bool) {
	for _, key := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[key]; !ok {
				return nil, false
			}
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func isEmpty(v any) bool {
	b, err := json.Marshal(v)
	return err != nil || slices.Contains([]string{"null", `""`, "0", "{}", "[]", "false", `"0001-01-01T00:00:00Z"`}, string(b))
}
