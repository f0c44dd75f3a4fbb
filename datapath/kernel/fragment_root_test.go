package kernel

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestOuterFragments: a tunnel packet that comes in fragments is put together by
// the host's stack and arrives as it was.
func TestOuterFragments(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 3}, testOuterFragments)
}

func testOuterFragments(t *testing.T, o linktest.Options) {
	f := newForgedBed(t, o)
	heard := listen(t, f.a.Namespace, "eth0")
	send := sender(t, f.hosts[1].Namespace, linktest.UnderlayDevice)
	inner := dt.UDP4(f.partyB, f.partyA, strings.Repeat("0123456789", 100))
	whole := dt.VXLAN(f.hostB, f.hostA, testVNI, inner)
	for _, part := range outerFragments(whole, 512) {
		send(part)
	}
	if got := heard(); len(got) != 1 || !bytes.Equal(got[0], inner) {
		t.Errorf("heard %s\nwant\n%x", hexLines(got), inner)
	}
}

// outerFragments cuts the outer packet of a frame after so many bytes of its
// payload, a multiple of 8.
func outerFragments(frame []byte, at int) [][]byte {
	const id = 77
	udp := dt.At(frame, dt.OuterUDPOffset)
	first, second := frame[udp:udp+at], frame[udp+at:]
	if !dt.IsIPv6(frame) {
		const flagsField, moreFragments = dt.OuterIPOffset + 6, 0x2000
		part := func(flags int, payload []byte) []byte {
			out := dt.Patch(frame[:udp], flagsField-2, 0, id, byte(flags>>8), byte(flags))
			out = append(out, payload...)
			out = dt.Shorten(out, len(out)) // mends a UDP length, too
			copy(out[udp:], payload)
			return out
		}
		return [][]byte{part(moreFragments, first), part(at/8, second)}
	}
	part := func(offset int, payload []byte) []byte { // RFC 8200 section 4.5
		out := dt.Patch(frame[:udp], dt.OuterIPOffset+6, unix.IPPROTO_FRAGMENT)
		binary.BigEndian.PutUint16(out[dt.OuterIPOffset+4:], uint16(8+len(payload)))
		out = append(out, unix.IPPROTO_UDP, 0, byte(offset>>8), byte(offset), 0, 0, 0, id)
		return append(out, payload...)
	}
	return [][]byte{part(1, first), part(at, second)}
}
