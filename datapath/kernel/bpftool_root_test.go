package kernel

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// fields is an object of bpftool's JSON output.
type fields = map[string]any

// dump returns the entries of a pinned map as bpftool prints them for people:
// by the names and types of the C sources.
func dump(t *testing.T, h *bedHost, name string) []fields {
	t.Helper()
	out := run(t, h.Namespace, "bpftool", "-j", "map", "dump", "pinned", filepath.Join(h.opts.Dir, name))
	var entries []struct {
		Formatted fields `json:"formatted"`
	}
	if err := json.Unmarshal([]byte(out), &entries); err != nil {
		t.Fatalf("bpftool of map %s: %v\n%s", name, err, out)
	}
	var dumped []fields
	for _, e := range entries {
		if e.Formatted == nil {
			t.Fatalf("bpftool does not know the types of map %s:\n%s", name, out)
		}
		dumped = append(dumped, e.Formatted)
	}
	return dumped
}

// TestBPFTool: whoever looks into the kernel reads names, not bytes.
func TestBPFTool(t *testing.T) {
	needTool(t, "bpftool")
	b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
	a := b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	far := b.attach(1, testVNI, "10.0.0.3/24")
	b.attach(0, testVNI+1, "10.0.0.2/24")
	b.attach(1, testVNI+1, "10.0.0.3/24")
	b.hosts[0].network(testVNI+1, b.mtu).Multicast = true
	b.connect()
	b.serve(far)
	checkPing(t, a.Namespace, far.addr().String())
	in := udpListen(t, far.Namespace, netip.AddrPortFrom(far.addr(), 7))
	udpSend(t, a.Namespace, netip.AddrPortFrom(vip4, 7), "x")
	if _, err := in.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, _ = tryRun(a.Namespace, "ping", "-n", "-c", "1", "-W", "1", "-b", "10.0.0.255") // dropped: broadcast
	h := b.hosts[0]

	vtep := []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1}
	farVTEP := []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 2}
	vip := []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 100}
	mac, farMAC := []int{2, 16, 0, 0, 1, 1}, []int{2, 16, 0, 0, 2, 1}
	for _, c := range []struct {
		name       string
		key, value fields // that an entry has, among others
	}{
		{bpf.OvlMapOvlConfig, nil, fields{"vtep": vtep, "vxlan_port": 4789.0}},
		{bpf.OvlMapOvlPorts, nil, fields{"vni": 4096.0, "mtu": 1450.0, "mac": mac}},
		{bpf.OvlMapOvlFdb, fields{"vni": 4096.0, "mac": farMAC}, fields{"vtep": farVTEP, "ifindex": 0.0}},
		{bpf.OvlMapOvlNeigh, fields{"vni": 4096.0, "addr": []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 3}}, fields{"mac": farMAC}},
		{bpf.OvlMapOvlMembers, fields{"vni": 4096.0, "vtep": farVTEP}, fields{"peer": 1.0}},
		{bpf.OvlMapOvlPaths, fields{"vtep": farVTEP}, fields{"limit": 0.0, "learned": 0.0}},
		{bpf.OvlMapOvlFlood, fields{"vni": 4097.0, "index": 1.0}, fields{"vtep": farVTEP, "ifindex": 0.0, "peer": 1.0}},
		{bpf.OvlMapOvlNetworks, nil, fields{"mtu": 1450.0}},
		{bpf.OvlMapOvlServices, fields{"vni": 4096.0, "addr": vip}, fields{"name": "web", "flags": 1.0}},
		{bpf.OvlMapOvlBackends, fields{"service": 1.0, "endpoint": 1.0}, fields{"id": far.Name, "mac": farMAC, "draining": 0.0}},
		{bpf.OvlMapOvlFlowsYoung, fields{"vni": 4096.0, "dst": vip, "dport": 7.0, "protocol": 17.0}, fields{"mac": farMAC, "endpoint": 1.0, "dport": 7.0}},
	} {
		entries := dump(t, h, c.name)
		found := false
		for _, e := range entries {
			found = found || has(e["key"], c.key) && has(e["value"], c.value)
		}
		if !found {
			t.Errorf("map %s: no entry with %v: %v among\n%v", c.name, c.key, c.value, entries)
		}
	}

	t.Run("drops by name", func(t *testing.T) {
		seen := map[string]bool{}
		for _, e := range dump(t, h, bpf.OvlMapOvlDrops) {
			seen[fmt.Sprint(e["key"])] = true
			if e["key"] == "OVL_DROP_MULTICAST" && sum(e, "packets") == 0 {
				t.Errorf("nothing counted: %v", e)
			}
		}
		if len(seen) != len(datapath.DropReasons()) || !seen["OVL_DROP_MULTICAST"] {
			t.Errorf("keys %v, want each reason by its name", seen)
		}
	})
	t.Run("peers", func(t *testing.T) {
		for _, e := range dump(t, h, bpf.OvlMapOvlPeers) {
			if e["key"] == 1.0 {
				if sum(e, "sent", "packets") < 3 || sum(e, "received", "packets") < 3 || sum(e, "sent", "bytes") < 3*98 {
					t.Errorf("want the three pings counted: %v", e)
				}
				return
			}
		}
		t.Error("no entry 1")
	})
	t.Run("ports", func(t *testing.T) {
		for _, e := range dump(t, h, bpf.OvlMapOvlTraffic) {
			if e["key"] != 1.0 {
				continue
			}
			owner := e["values"].([]any)[0].(fields)["value"]
			if !has(owner, fields{"vni": 4096.0, "mac": mac}) {
				t.Errorf("slot 1 does not say whose it is: %v", owner)
			}
			if sum(e, "counted", "sent", "packets") < 4 || sum(e, "counted", "received", "bytes") < 3*98 ||
				sum(e, "counted", "answered", "packets") == 0 || sum(e, "counted", "dropped", "packets") == 0 {
				t.Errorf("want the pings, the ARP request and the broadcast counted: %v", e)
			}
			return
		}
		t.Error("no entry 1")
	})
	t.Run("every map", func(t *testing.T) {
		entries, err := os.ReadDir(h.opts.Dir)
		if err != nil {
			t.Fatal(err)
		}
		maps := 0
		for _, e := range entries {
			if !e.IsDir() {
				maps++
			}
			// Its values are maps: bpftool has numbers for them.
			if !e.IsDir() && e.Name() != bpf.OvlMapOvlTables {
				dump(t, h, e.Name())
			}
		}
		if maps != 21 {
			t.Errorf("%d pinned maps, want the 21 of maps.h", maps)
		}
	})
}

// has reports whether an object of bpftool's has these fields.
func has(object any, want fields) bool {
	o, _ := object.(fields)
	for name, value := range want {
		if fmt.Sprint(o[name]) != fmt.Sprint(value) {
			return false
		}
	}
	return true
}

// sum adds a field up over the CPUs; path leads to it through structs.
func sum(entry fields, path ...string) (total float64) {
	perCPU, _ := entry["values"].([]any)
	for _, c := range perCPU {
		value := c.(fields)["value"]
		for _, name := range path {
			value = value.(fields)[name]
		}
		n, _ := value.(float64)
		total += n
	}
	return total
}
