package kernel

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestSegments: of a packet that is still to be cut, the largest segment has to
// fit, with its headers, and not the whole.
func TestSegments(t *testing.T) {
	f := newForgedBed(t, linktest.Options{Hosts: 3})
	r := newTested(t, f.hosts[0], f.hosts[0].dp.objs.FromEndpoint, f.a.port.Device)
	a6 := dt.Party{MAC: f.partyA.MAC, Addr: f.a.port.Addrs[1]}
	b6 := dt.Party{MAC: f.partyB.MAC, Addr: f.b.port.Addrs[1]}
	for _, c := range []struct {
		name    string
		from    dt.Party
		to      dt.Party
		headers int // of a segment, IP's included
		l4      gopacket.SerializableLayer
	}{
		{"TCP over IPv4", f.partyA, f.partyB, 40, &layers.TCP{}},
		{"TCP with options over IPv4", f.partyA, f.partyB, 52, timestamps()},
		{"UDP over IPv4", f.partyA, f.partyB, 28, &layers.UDP{}},
		{"TCP over IPv6", a6, b6, 60, &layers.TCP{}},
		{"TCP with options over IPv6", a6, b6, 72, timestamps()},
		{"UDP over IPv6", a6, b6, 48, &layers.UDP{}},
	} {
		for tag, length := range map[string]int{"": 0, " behind a tag": 4} {
			t.Run(c.name+tag, func(t *testing.T) {
				in := segments(t, c.from, c.to, c.l4)
				room := f.mtu - length - c.headers
				for size, tooBig := range map[int]bool{room: false, room + 1: true, 100: false} {
					before := f.hosts[0].stats(t).Drops[datapath.DropTooBig].Packets
					r.runSegments(t, in, size, tag != "")
					dropped := f.hosts[0].stats(t).Drops[datapath.DropTooBig].Packets > before
					if dropped != tooBig {
						t.Errorf("segments of %d bytes: too big %t, want %t", size+c.headers, dropped, tooBig)
					}
				}
			})
		}
	}
}

func timestamps() *layers.TCP {
	return &layers.TCP{Options: []layers.TCPOption{
		{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)},
	}}
}

// segments is a frame of some segments, which the kernel is to cut apart.
func segments(t *testing.T, from, to dt.Party, l4 gopacket.SerializableLayer) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: from.MAC[:], DstMAC: to.MAC[:], EthernetType: layers.EthernetTypeIPv4}
	protocol := layers.IPProtocolTCP
	if _, ok := l4.(*layers.UDP); ok {
		protocol = layers.IPProtocolUDP
	}
	var ip gopacket.SerializableLayer = &layers.IPv4{
		Version: 4, TTL: 64, Protocol: protocol, SrcIP: from.Addr.AsSlice(), DstIP: to.Addr.AsSlice(),
	}
	if from.Addr.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: from.Addr.AsSlice(), DstIP: to.Addr.AsSlice()}
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, eth, ip, l4, gopacket.Payload(make([]byte, 3000)))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// runSegments is run for a frame whose segments have that size, without their
// headers, possibly behind a tag.
func (r tested) runSegments(t *testing.T, in []byte, size int, tagged bool) {
	t.Helper()
	// struct __sk_buff of linux/bpf.h.
	const length, ifindexOffset, gsoSizeOffset = 192, 40, 176
	ctx := make([]byte, length)
	binary.NativeEndian.PutUint32(ctx[ifindexOffset:], r.ifindex)
	binary.NativeEndian.PutUint32(ctx[gsoSizeOffset:], uint32(size))
	if tagged {
		in = append(append(append([]byte(nil), in[:12]...), 0x81, 0, 0, 9), in[12:]...)
	}
	o := ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256), Context: ctx}
	err := r.host.Do(func() error {
		_, err := r.program.Run(&o)
		return err
	})
	if err != nil {
		t.Fatalf("run %s: %v", r.program, err)
	}
}
