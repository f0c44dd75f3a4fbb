package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// render writes tables as text, a line an entry, sorted.
func render(t *tables) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for k, v := range t.ports.now {
		add("port #%d: VNI %d, %s, %s, MTU %d", k, v.Vni, encap.MAC(v.Mac), firsts(v.Addr4, v.Addr6), v.Mtu)
	}
	for k, v := range t.fdb.now {
		where := fmt.Sprintf("port #%d", v.Ifindex)
		if v.Ifindex == 0 {
			where = fmt.Sprintf("%s, peer %d", netip.AddrFrom16(v.Vtep).Unmap(), v.Peer)
		}
		if v.Flags&fdbTAP != 0 {
			where += ", TAP"
		}
		if v.Flags&fdbToService != 0 {
			where = "VIPs"
		}
		add("fdb %d %s: %s at %s", k.Vni, encap.MAC(k.Mac), firsts(v.Addr4, v.Addr6), where)
	}
	for k, v := range t.neigh.now {
		add("neigh %d %s: %s", k.Vni, netip.AddrFrom16(k.Addr).Unmap(), encap.MAC(v.Mac))
	}
	for k, v := range t.members.now {
		add("member %d %s: peer %d", k.Vni, netip.AddrFrom16(k.Vtep).Unmap(), v.Peer)
	}
	for k, v := range t.flood.now {
		where := fmt.Sprintf("port #%d", v.Ifindex)
		if v.Ifindex == 0 {
			where = fmt.Sprintf("%s, peer %d", netip.AddrFrom16(v.Vtep).Unmap(), v.Peer)
		}
		add("flood %d %d: %s", k.Vni, k.Index, where)
	}
	for k, v := range t.networks.now {
		line := fmt.Sprintf("network %d: MTU %d", k, v.Mtu)
		if g := firsts(v.Gateway4, v.Gateway6); g != "" {
			line += ", gateways " + g
		}
		if v.Flags&networkMulticast != 0 {
			line += fmt.Sprintf(", multicast to %d", v.Targets)
			if v.LeftPorts+v.LeftHosts > 0 {
				line += fmt.Sprintf(" but not %d ports and %d hosts", v.LeftPorts, v.LeftHosts)
			}
		}
		add("%s", line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// firsts writes the first addresses of an endpoint or network, those that it
// has.
func firsts(addr4 [4]byte, addr6 [16]byte) string {
	var out []string
	if addr4 != [4]byte{} {
		out = append(out, netip.AddrFrom4(addr4).String())
	}
	if addr6 != [16]byte{} {
		out = append(out, netip.AddrFrom16(addr6).String())
	}
	return strings.Join(out, " ")
}

// build makes tables of a State.
func build(s datapath.State, n numbers) (*tables, []error) {
	t := newTables(s)
	return t, t.update(s, n)
}

// host is what tables ask of one: devices by name, peers in order of asking.
func host(devices map[string]uint32) numbers {
	peers := map[netip.Addr]uint16{}
	return numbers{
		slot: func(o slotOwner) uint32 { return 100 + o.ifindex },
		ifindex: func(device string) (uint32, error) {
			if i, ok := devices[device]; ok {
				return i, nil
			}
			return 0, fmt.Errorf("%w: %s", datapath.ErrNoDevice, device)
		},
		peer: func(vtep netip.Addr) (uint16, error) {
			if _, ok := peers[vtep]; !ok {
				if len(peers) == 2 {
					return 0, errors.New("more than 2 peers")
				}
				peers[vtep] = uint16(len(peers) + 1)
			}
			return peers[vtep], nil
		},
	}
}

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func mac(n byte) encap.MAC { return encap.MAC{2, 0, 0, 0, 0, n} }

func TestBuild(t *testing.T) {
	one, two, three := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	for _, c := range []struct {
		name    string
		state   datapath.State
		devices map[string]uint32
		want    string
		errors  []string
	}{
		{name: "nothing"},
		{
			name: "ports and remotes",
			state: datapath.State{Networks: []datapath.Network{{
				VNI: 4096, MTU: 1450, Multicast: true, Gateways: addrs("10.0.0.1", "10.0.1.1", "fd00::1"),
				Ports: []datapath.Port{
					{Device: "a", MAC: mac(1), Addrs: addrs("10.0.0.2", "10.0.0.22", "fd00::2")},
					{Device: "vm", Kind: datapath.TAP, MAC: mac(2), Addrs: addrs("fd00::3")},
				},
				Remotes: []datapath.Remote{
					{MAC: mac(3), Addrs: addrs("10.0.0.4"), VTEP: one},
					{MAC: mac(4), Addrs: addrs("10.0.0.5"), VTEP: one},
				},
			}}},
			devices: map[string]uint32{"a": 7, "vm": 8},
			want: `
fdb 4096 02:00:00:00:00:01: 10.0.0.2 fd00::2 at port #7
fdb 4096 02:00:00:00:00:02: fd00::3 at port #8, TAP
fdb 4096 02:00:00:00:00:03: 10.0.0.4 at 192.0.2.1, peer 1
fdb 4096 02:00:00:00:00:04: 10.0.0.5 at 192.0.2.1, peer 1
fdb 4096 0a:6f:76:6c:00:01:  at VIPs
flood 4096 0: port #7
flood 4096 1: port #8
flood 4096 2: 192.0.2.1, peer 1
member 4096 192.0.2.1: peer 1
neigh 4096 10.0.0.22: 02:00:00:00:00:01
neigh 4096 10.0.0.2: 02:00:00:00:00:01
neigh 4096 10.0.0.4: 02:00:00:00:00:03
neigh 4096 10.0.0.5: 02:00:00:00:00:04
neigh 4096 fd00::2: 02:00:00:00:00:01
neigh 4096 fd00::3: 02:00:00:00:00:02
network 4096: MTU 1450, gateways 10.0.0.1 fd00::1, multicast to 3
port #7: VNI 4096, 02:00:00:00:00:01, 10.0.0.2 fd00::2, MTU 1450
port #8: VNI 4096, 02:00:00:00:00:02, fd00::3, MTU 1450`,
		},
		{
			name: "twins keep apart",
			state: datapath.State{Networks: []datapath.Network{
				{VNI: 4096, MTU: 1450, Remotes: []datapath.Remote{{MAC: mac(1), Addrs: addrs("10.0.0.2"), VTEP: one}}},
				{VNI: 4097, MTU: 9000, Remotes: []datapath.Remote{{MAC: mac(1), Addrs: addrs("10.0.0.2"), VTEP: two}}},
			}},
			want: `
fdb 4096 02:00:00:00:00:01: 10.0.0.2 at 192.0.2.1, peer 1
fdb 4096 0a:6f:76:6c:00:01:  at VIPs
fdb 4097 02:00:00:00:00:01: 10.0.0.2 at 192.0.2.2, peer 2
fdb 4097 0a:6f:76:6c:00:01:  at VIPs
member 4096 192.0.2.1: peer 1
member 4097 192.0.2.2: peer 2
neigh 4096 10.0.0.2: 02:00:00:00:00:01
neigh 4097 10.0.0.2: 02:00:00:00:00:01
network 4096: MTU 1450
network 4097: MTU 9000`,
		},
		{
			name: "an endpoint that has moved here is here",
			state: datapath.State{Networks: []datapath.Network{{
				VNI: 4096, MTU: 1450,
				Ports:   []datapath.Port{{Device: "a", MAC: mac(1), Addrs: addrs("10.0.0.2")}},
				Remotes: []datapath.Remote{{MAC: mac(1), Addrs: addrs("10.0.0.2"), VTEP: one}},
			}}},
			devices: map[string]uint32{"a": 7},
			want: `
fdb 4096 02:00:00:00:00:01: 10.0.0.2 at port #7
fdb 4096 0a:6f:76:6c:00:01:  at VIPs
member 4096 192.0.2.1: peer 1
neigh 4096 10.0.0.2: 02:00:00:00:00:01
network 4096: MTU 1450
port #7: VNI 4096, 02:00:00:00:00:01, 10.0.0.2, MTU 1450`,
		},
		{
			name: "what cannot be is left out alone",
			state: datapath.State{Networks: []datapath.Network{{
				VNI: 4096, MTU: 1450,
				Ports: []datapath.Port{
					{Device: "a", MAC: mac(1), Addrs: addrs("10.0.0.2")},
					{Device: "gone", MAC: mac(2), Addrs: addrs("10.0.0.3")},
				},
				Remotes: []datapath.Remote{
					{MAC: mac(3), Addrs: addrs("10.0.0.4"), VTEP: one},
					{MAC: mac(4), Addrs: addrs("10.0.0.5"), VTEP: two},
					{MAC: mac(5), Addrs: addrs("10.0.0.6"), VTEP: three},
					{MAC: mac(6), Addrs: addrs("10.0.0.7"), VTEP: netip.MustParseAddr("2001:db8::1")},
				},
			}}},
			devices: map[string]uint32{"a": 7},
			want: `
fdb 4096 02:00:00:00:00:01: 10.0.0.2 at port #7
fdb 4096 02:00:00:00:00:03: 10.0.0.4 at 192.0.2.1, peer 1
fdb 4096 02:00:00:00:00:04: 10.0.0.5 at 192.0.2.2, peer 2
fdb 4096 0a:6f:76:6c:00:01:  at VIPs
member 4096 192.0.2.1: peer 1
member 4096 192.0.2.2: peer 2
neigh 4096 10.0.0.2: 02:00:00:00:00:01
neigh 4096 10.0.0.4: 02:00:00:00:00:03
neigh 4096 10.0.0.5: 02:00:00:00:00:04
network 4096: MTU 1450
port #7: VNI 4096, 02:00:00:00:00:01, 10.0.0.2, MTU 1450`,
			errors: []string{
				"remote 02:00:00:00:00:05 of VNI 4096: more than 2 peers",
				"remote 02:00:00:00:00:06 of VNI 4096: VTEP 2001:db8::1: not of the family of this host's underlay",
				"port gone: no such interface: gone",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, errs := build(c.state, host(c.devices))
			if text, want := render(got), strings.TrimPrefix(c.want, "\n"); text != want {
				t.Errorf("tables\n%s\nwant\n%s", text, want)
			}
			var texts []string
			for _, err := range errs {
				var object *datapath.ObjectError
				if !errors.As(err, &object) {
					t.Errorf("%v names no object", err)
				}
				texts = append(texts, err.Error())
			}
			if !slices.Equal(texts, c.errors) {
				t.Errorf("errors %q, want %q", texts, c.errors)
			}
		})
	}
}

// TestBuildSlots: a port counts in one slot, as the sender and as who receives.
func TestBuildSlots(t *testing.T) {
	n := host(map[string]uint32{"a": 7})
	var asked []slotOwner
	n.slot = func(o slotOwner) uint32 {
		asked = append(asked, o)
		return 3
	}
	got, errs := build(datapath.State{Networks: []datapath.Network{{
		VNI: 4096, MTU: 1450,
		Ports:   []datapath.Port{{Device: "a", MAC: mac(1), Addrs: addrs("10.0.0.2")}},
		Remotes: []datapath.Remote{{MAC: mac(2), VTEP: netip.MustParseAddr("192.0.2.1")}},
	}}}, n)
	if len(errs) > 0 || len(asked) != 1 || asked[0] != (slotOwner{4096, 7, mac(1)}) {
		t.Fatalf("asked for slots of %+v, errors %v", asked, errs)
	}
	if port, to, other := got.ports.now[7], got.fdb.now[fdbKey(4096, mac(1))], got.fdb.now[fdbKey(4096, mac(2))]; port.Slot != 3 || to.Slot != 3 || other.Slot != 0 {
		t.Errorf("slots: port %d, to the port %d, to the remote %d; want 3, 3 and none", port.Slot, to.Slot, other.Slot)
	}
	if got.devices[7] != "a" {
		t.Errorf("devices %v, want a by 7", got.devices)
	}
}
