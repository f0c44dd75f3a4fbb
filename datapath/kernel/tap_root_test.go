package kernel

import (
	"bytes"
	"slices"
	"testing"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestTAPFrames exchanges frames between a virtual machine and endpoints on
// its own host and on another, byte for byte.
func TestTAPFrames(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testTAPFrames) }

func testTAPFrames(t *testing.T, o linktest.Options) {
	b := newBed(t, o, HookAuto)
	vm := b.attachTAP(t, 0, testVNI, "10.0.0.2")
	near := b.attach(0, testVNI, "10.0.0.3/24")
	far := b.attach(1, testVNI, "10.0.0.4/24")
	b.connect()
	tap := dt.Party{MAC: vm.port.MAC, Addr: vm.addr()}
	for _, peer := range []*bedEndpoint{near, far} {
		ep := dt.Party{MAC: peer.port.MAC, Addr: peer.addr()}
		heard := listenAll(t, peer.Namespace, "eth0")
		send := sender(t, peer.Namespace, "eth0")
		for name, build := range map[string]func(from, to dt.Party) []byte{
			"IPv4":   func(from, to dt.Party) []byte { return dt.UDP4(from, to, "a datagram") },
			"not IP": func(from, to dt.Party) []byte { return dt.Ethernet(from, to, 0x88b5, "a frame") },
			"802.1Q": func(from, to dt.Party) []byte { return tagged(9, dt.Ethernet(from, to, 0x88b5, "a frame")) },
			"ARP":    dt.ARPReply,
		} {
			frame := build(tap, ep)
			vm.send(t, frame)
			if !holds(heard(), frame) {
				t.Errorf("%s from the TAP does not reach %s", name, peer.Name)
			}
			frame = build(ep, tap)
			send(frame)
			if !holds(vm.heard(t), frame) {
				t.Errorf("%s from %s does not reach the TAP", name, peer.Name)
			}
		}
		vm.send(t, dt.ARPRequest(tap, ep.Addr))
		const length = 42 // what comes after it is padding
		reply := dt.ARPReply(ep, tap)[:length]
		if !slices.ContainsFunc(vm.heard(t), func(f []byte) bool { return bytes.HasPrefix(f, reply) }) {
			t.Errorf("ARP request of the TAP for %s is not answered", ep.Addr)
		}
	}
}

func holds(frames [][]byte, want []byte) bool {
	return slices.ContainsFunc(frames, func(f []byte) bool { return bytes.Equal(f, want) })
}
