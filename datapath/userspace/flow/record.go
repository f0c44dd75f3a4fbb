package flow

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// record is what a file has of a flow, or of a client that goes to one backend:
// bytes, of which all numbers are little-endian.
//
//	  0  CRC-32C of what follows, up to 136; 0: there is nothing
//	  4  kind, protocol, 2 bytes of nothing
//	  8  VNI
//	 12  ports: the client's, the VIP's, the backend's, and the client's as the
//	     backend sees it
//	 20  addresses: the client's, the VIP's, the backend's
//	 68  the backend's ID, and zeros
//	136  when it was seen: ns by the clock of the file
//	144  the state
//	152  packets and bytes sent, packets and bytes received
//
// What changes while there is a flow is not part of the sum. Each of these numbers
// is written by one instruction, so that a process that is killed leaves it as it
// was or as it is to be.
type record []byte

const (
	recordSize = 184

	kindAt     = 4
	protocolAt = 5
	vniAt      = 8
	portsAt    = 12
	addrsAt    = 20
	idAt       = 68
	seenAt     = 136
	stateAt    = 144
	countersAt = 152

	// maxID is the longest ID, in bytes, as in the kernel datapath.
	maxID = seenAt - idAt - 4

	kindFlow   = 1
	kindClient = 2
)

var (
	little     = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func (r record) sum() uint32 { return crc32.Checksum(r[kindAt:seenAt], castagnoli) }

// seal is what makes a record one.
func (r record) seal() { little.PutUint32(r, r.sum()) }

// erase makes it none.
func (r record) erase() { little.PutUint32(r, 0) }

func (r record) setFlow(f *Flow) {
	clear(r)
	r[kindAt], r[protocolAt] = kindFlow, f.Protocol()
	little.PutUint32(r[vniAt:], uint32(f.Forward.VNI))
	for i, port := range [...]uint16{f.Forward.ClientPort, f.Forward.ServerPort, f.Reverse.ServerPort, f.Reverse.ClientPort} {
		little.PutUint16(r[portsAt+2*i:], port)
	}
	r.setAddrs(&f.Forward.Client, &f.Forward.Server, &f.Reverse.Server)
	copy(r[idAt:][:maxID], f.Backend)
	r.update(f)
	r.seal()
}

// update writes what changes of a flow.
func (r record) update(f *Flow) {
	r.setSeen(f.Seen)
	for i, n := range [...]uint64{uint64(f.State), f.Sent.Packets, f.Sent.Bytes, f.Received.Packets, f.Received.Bytes} {
		little.PutUint64(r[stateAt+8*i:], n)
	}
}

func (r record) setClient(c *client, backend string, seen time.Duration) {
	clear(r)
	r[kindAt] = kindClient
	little.PutUint32(r[vniAt:], uint32(c.vni))
	r.setAddrs(&c.addr, &c.vip, &[16]byte{})
	copy(r[idAt:][:maxID], backend)
	r.setSeen(seen)
	r.seal()
}

func (r record) setSeen(t time.Duration) { little.PutUint64(r[seenAt:], uint64(t)) }

func (r record) seen() time.Duration { return time.Duration(little.Uint64(r[seenAt:])) }

func (r record) setAddrs(client, vip, backend *[16]byte) {
	copy(r[addrsAt:], client[:])
	copy(r[addrsAt+16:], vip[:])
	copy(r[addrsAt+32:], backend[:])
}

func (r record) addrs() (client, vip, backend [16]byte) {
	return [16]byte(r[addrsAt:]), [16]byte(r[addrsAt+16:]), [16]byte(r[addrsAt+32:])
}

func (r record) empty() bool { return little.Uint32(r) == 0 }

// is says whether it was sealed as that.
func (r record) is(kind byte) bool { return little.Uint32(r) == r.sum() && r[kindAt] == kind }

func (r record) id() string {
	id, _, _ := bytes.Cut(r[idAt:][:maxID], []byte{0})
	return string(id)
}

// flow is what setFlow was told. False: it was not.
func (r record) flow() (f Flow, ok bool) {
	if !r.is(kindFlow) {
		return f, false
	}
	client, vip, backend := r.addrs()
	state := little.Uint64(r[stateAt:])
	const tcp, udp = 6, 17
	if p := r[protocolAt]; p != tcp && p != udp || is4(client) != is4(vip) || is4(vip) != is4(backend) || state > uint64(datapath.FlowClosing) {
		return f, false
	}
	port := func(i int) uint16 { return little.Uint16(r[portsAt+2*i:]) }
	number := func(i int) uint64 { return little.Uint64(r[countersAt+8*i:]) }
	f = Flow{
		Forward: Key{
			Client: client, ClientPort: port(0), Server: vip, ServerPort: port(1),
			VNI: encap.VNI(little.Uint32(r[vniAt:])), Protocol: uint32(r[protocolAt]),
		},
		Backend: r.id(), Self: backend == client, State: datapath.FlowState(state), Seen: r.seen(),
		Sent:     datapath.Counter{Packets: number(0), Bytes: number(1)},
		Received: datapath.Counter{Packets: number(2), Bytes: number(3)},
	}
	f.Reverse = f.Forward
	f.Reverse.Server, f.Reverse.ServerPort, f.Reverse.ClientPort = backend, port(2), port(3)
	if f.Self {
		f.Reverse.Client = vip
	}
	return f, true
}

// client is what setClient was told. False: it was not.
func (r record) client() (c client, backend string, ok bool) {
	if !r.is(kindClient) {
		return c, "", false
	}
	c.vni = encap.VNI(little.Uint32(r[vniAt:]))
	c.addr, c.vip, _ = r.addrs()
	return c, r.id(), is4(c.addr) == is4(c.vip)
}

// is4 says whether an address is ::ffff:a.b.c.d.
func is4(a [16]byte) bool { return [12]byte(a[:]) == [12]byte{10: 0xff, 11: 0xff} }
