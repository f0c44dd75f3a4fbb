package kernel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// floodNetwork has ports a, b, c, … and remotes at 192.0.2.1, 192.0.2.2, …,
// each in this order.
func floodNetwork(ports string, hosts ...byte) datapath.State {
	n := datapath.Network{VNI: 4096, MTU: 1450, Multicast: true}
	for i, name := range ports {
		n.Ports = append(n.Ports, datapath.Port{Device: string(name), MAC: encap.MAC{2, 1, 0, 0, 0, byte(i)}})
	}
	for i, h := range hosts {
		n.Remotes = append(n.Remotes, datapath.Remote{MAC: encap.MAC{2, 2, 0, 0, 0, byte(i)}, VTEP: netip.AddrFrom4([4]byte{192, 0, 2, h})})
	}
	return datapath.State{Networks: []datapath.Network{n}}
}

// list writes the entries of VNI 4096 by index, a hole as "-".
func list(t *tables) string {
	var out []string
	for i := range uint32(t.networks.now[4096].Targets) {
		e, ok := t.flood.now[bpf.OvlFloodKey{Vni: 4096, Index: i}]
		switch {
		case !ok:
			out = append(out, "-")
		case e.Ifindex != 0:
			out = append(out, fmt.Sprint(e.Ifindex))
		default:
			out = append(out, fmt.Sprintf("%s#%d", netip.AddrFrom16(e.Vtep).Unmap(), e.Peer))
		}
	}
	return strings.Join(out, " ")
}

// TestFloodPlaces: what stays on a list keeps its index, so that a program
// that walks through it meets it once.
func TestFloodPlaces(t *testing.T) {
	devices := map[string]uint32{"a": 10, "b": 11, "c": 12, "d": 13}
	n := host(devices)
	n.peer = func(vtep netip.Addr) (uint16, error) { return uint16(vtep.As4()[3]) + 100, nil }
	n.flood = floodTable{}
	for _, c := range []struct {
		name  string
		state datapath.State
		want  string
	}{
		{"a new list", floodNetwork("ab", 1, 2), "10 11 192.0.2.1#101 192.0.2.2#102"},
		{"the same again", floodNetwork("ab", 1, 2), "10 11 192.0.2.1#101 192.0.2.2#102"},
		{"two remotes of one host", floodNetwork("ab", 2, 1, 2), "10 11 192.0.2.1#101 192.0.2.2#102"},
		{"one goes, and leaves a hole", floodNetwork("b", 1, 2), "- 11 192.0.2.1#101 192.0.2.2#102"},
		{"another comes, and fills it", floodNetwork("bc", 1, 2), "12 11 192.0.2.1#101 192.0.2.2#102"},
		{"one takes another's place", floodNetwork("bd", 1, 2), "13 11 192.0.2.1#101 192.0.2.2#102"},
		{"the last go", floodNetwork("bd"), "13 11"},
		{"several come", floodNetwork("abcd", 7, 5), "13 11 10 12 192.0.2.5#105 192.0.2.7#107"},
		{"all but one go", floodNetwork("c"), "- - - 12"},
		{"it is not on the device that it was on", floodNetwork("c", 3), "192.0.2.3#103 - - 12"},
	} {
		got, errs := build(c.state, n)
		if len(errs) > 0 || list(got) != c.want {
			t.Errorf("%s: %s, errors %v, want %s", c.name, list(got), errs, c.want)
		}
		n.flood = got.flood.now
	}

	// A peer that has got another number is still at the same place, and of an
	// entry that somebody has copied one is left.
	at := func(index uint32) bpf.OvlFloodKey { return bpf.OvlFloodKey{Vni: 4096, Index: index} }
	host3 := netip.MustParseAddr("192.0.2.3").As16()
	n.flood = floodTable{at(1): {Ifindex: 12}, at(2): {Vtep: host3, Peer: 103}, at(3): {Ifindex: 12}}
	n.peer = func(netip.Addr) (uint16, error) { return 9, nil }
	if got, _ := build(floodNetwork("c", 3), n); list(got) != "- 12 192.0.2.3#9" {
		t.Errorf("after drift: %s", list(got))
	}
}

// TestFloodLimit: what finds no room is said and counted, ports come before
// hosts, and the network's other tables are whole.
func TestFloodLimit(t *testing.T) {
	crowd := func(ports, hosts int) (datapath.State, numbers) {
		n := datapath.Network{VNI: 4096, MTU: 1450, Multicast: true}
		devices := map[string]uint32{}
		for i := range ports {
			name := fmt.Sprintf("p%04d", i)
			devices[name] = uint32(i + 1)
			n.Ports = append(n.Ports, datapath.Port{Device: name, MAC: encap.MAC{2, 1, 0, 0, byte(i >> 8), byte(i)}})
		}
		for i := range hosts {
			n.Remotes = append(n.Remotes, datapath.Remote{
				MAC:  encap.MAC{2, 2, 0, 0, byte(i >> 8), byte(i)},
				VTEP: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}),
			})
		}
		on := host(devices)
		on.peer = func(netip.Addr) (uint16, error) { return 1, nil }
		return datapath.State{Networks: []datapath.Network{n}}, on
	}
	for _, c := range []struct {
		ports, hosts   int
		targets        uint16
		leftPorts      uint16
		leftHosts      uint16
		portsOn, lines int
	}{
		{500, 12, 512, 0, 0, 500, 0},
		{500, 13, 512, 0, 1, 500, 1},
		{512, 700, 512, 0, 700, 512, 1},
		{600, 3, 512, 88, 3, 512, 1},
	} {
		state, on := crowd(c.ports, c.hosts)
		got, errs := build(state, on)
		e := got.networks.now[4096]
		if e.Targets != c.targets || e.LeftPorts != c.leftPorts || e.LeftHosts != c.leftHosts || len(errs) != c.lines {
			t.Errorf("%d ports, %d hosts: %+v, errors %v", c.ports, c.hosts, e, errs)
		}
		ports := 0
		for _, to := range got.flood.now {
			if to.Ifindex != 0 {
				ports++
			}
		}
		if ports != c.portsOn || len(got.fdb.now) != c.ports+c.hosts+1 {
			t.Errorf("%d ports, %d hosts: %d ports are on the list, %d in ovl_fdb", c.ports, c.hosts, ports, len(got.fdb.now))
		}
		for _, err := range errs {
			want := fmt.Sprintf("multicast of VNI 4096: %d ports of this host and %d other hosts are to get a copy of each frame: only 512 of them do", c.ports, c.hosts)
			if err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
		}
	}
}

// TestFloodFailed: what could not be added gets no copies either.
func TestFloodFailed(t *testing.T) {
	state := floodNetwork("ab", 1, 2, 3)
	six := datapath.Remote{MAC: mac(9), VTEP: netip.MustParseAddr("2001:db8::1")}
	state.Networks[0].Remotes = append(state.Networks[0].Remotes, six)
	got, errs := build(state, host(map[string]uint32{"b": 7})) // a is gone; peer 3 is one too many
	if want := "7 192.0.2.1#1 192.0.2.2#2"; list(got) != want || len(errs) != 3 {
		t.Errorf("list %s, errors %v, want %s and 3 errors", list(got), errs, want)
	}
	// One without multicast has no list.
	state.Networks[0].Multicast = false
	if got, _ := build(state, host(map[string]uint32{"a": 6, "b": 7})); len(got.flood.now) != 0 || got.networks.now[4096].Targets != 0 {
		t.Errorf("a network without multicast has a list: %s", list(got))
	}
}
