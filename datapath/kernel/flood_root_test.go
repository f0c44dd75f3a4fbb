package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// TestMulticastChurn: who stays on the list hears every frame once, whoever
// comes and goes meanwhile.
func TestMulticastChurn(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
	a, early := b.attach(0, testVNI, "10.0.0.2/24"), b.attach(0, testVNI, "10.0.0.3/24")
	stays := b.attach(0, testVNI, "10.0.0.4/24")
	far := b.attach(1, testVNI, "10.0.0.5/24")
	for _, h := range b.hosts {
		h.network(testVNI, b.mtu).Multicast = true
	}
	b.connect()
	here, there := listenAll(t, stays.Namespace, "eth0"), listenAll(t, far.Namespace, "eth0")

	send := sender(t, a.Namespace, "eth0")
	quit, sent := make(chan struct{}), make(chan uint32)
	go func() {
		n := uint32(0)
		for {
			select {
			case <-quit:
				sent <- n
				return
			default:
				payload := string(binary.BigEndian.AppendUint32(nil, n)) + "a frame of the churn"
				send(dt.Ethernet(dt.Party{MAC: a.port.MAC}, dt.Party{MAC: encap.MAC{255, 255, 255, 255, 255, 255}}, 0x88b5, payload))
				n++
				time.Sleep(50 * time.Microsecond)
			}
		}
	}()
	h := b.hosts[0]
	n := h.network(testVNI, b.mtu)
	for i := range 150 { // on both sides of the other host
		n.Remotes = append(n.Remotes, datapath.Remote{
			MAC: encap.MAC{2, 9, 0, 0, 0, byte(i)}, VTEP: netip.AddrFrom4([4]byte{192, 0, byte(1 + i%2*2), byte(i)}),
		})
	}
	ports := slices.Clone(n.Ports)
	for i := range 40 {
		n.Ports = slices.Clone(ports)
		if i%2 == 0 {
			n.Ports = slices.DeleteFunc(n.Ports, func(p datapath.Port) bool { return p.Device == early.port.Device })
		}
		h.apply(t)
	}
	close(quit)
	total := <-sent
	for who, frames := range map[string][][]byte{"this host": here(), "the other host": there()} {
		times := map[uint32]int{}
		for _, f := range frames {
			if len(f) > 18 && f[12] == 0x88 && f[13] == 0xb5 {
				times[binary.BigEndian.Uint32(f[14:])]++
			}
		}
		wrong := 0
		for i := range total {
			if times[i] != 1 {
				wrong++
			}
		}
		if wrong > 0 || total < 100 {
			t.Errorf("on %s %d of %d frames are not heard once", who, wrong, total)
		}
	}
}

// TestMulticastLimit: a list has an end. What has no room on it is an error of
// Apply's, and each copy that is not made is counted.
func TestMulticastLimit(t *testing.T) {
	const hosts = 600
	b := newBed(t, linktest.Options{Hosts: 1}, HookAuto)
	a, near := b.attach(0, testVNI, "10.0.0.2/24"), b.attach(0, testVNI, "10.0.0.3/24")
	a.silence(t)
	near.silence(t)
	h := b.hosts[0]
	n := h.network(testVNI, b.mtu)
	n.Multicast = true
	for i := range hosts {
		n.Remotes = append(n.Remotes, datapath.Remote{
			MAC: encap.MAC{2, 9, 0, 0, byte(i >> 8), byte(i)}, VTEP: netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}),
		})
	}
	err := h.tryApply()
	var object *datapath.ObjectError
	if !errors.As(err, &object) || object.Object != "multicast of VNI 4096" {
		t.Fatalf("apply: %v, want an error about the multicast of VNI 4096", err)
	}

	heard := listenAll(t, near.Namespace, "eth0")
	before := h.stats(t)
	frame := dt.Ethernet(dt.Party{MAC: a.port.MAC}, dt.Party{MAC: encap.MAC{255, 255, 255, 255, 255, 255}}, 0x88b5, "to all of you")
	sender(t, a.Namespace, "eth0")(frame)
	if got := heard(); len(got) != 1 {
		t.Errorf("the port hears %s", hexLines(got))
	}
	after := h.stats(t)
	sent := uint64(0)
	for vtep, p := range after.Peers {
		sent += p.Sent.Packets - before.Peers[vtep].Sent.Packets
	}
	left := after.Drops[datapath.DropMulticast]
	left.Packets -= before.Drops[datapath.DropMulticast].Packets
	left.Bytes -= before.Drops[datapath.DropMulticast].Bytes
	const listed = maxTargets - 2 // beside the two ports
	if want := (datapath.Counter{Packets: hosts - listed, Bytes: (hosts - listed) * uint64(len(frame))}); sent != listed || left != want {
		t.Errorf("%d copies are sent and %+v counted as dropped, want %d and %+v", sent, left, listed, want)
	}
}
