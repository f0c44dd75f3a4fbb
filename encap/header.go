package encap

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderLen is the length of a VXLAN header in bytes.
const HeaderLen = 8

// FlagVNI is the I flag, alone in the first 32 bits: the VNI is valid. A
// header without it, or with any other flag, is not one of ours.
const FlagVNI uint32 = 1 << 27

var (
	// ErrTruncated is wrapped where the packet ends inside a header.
	ErrTruncated = errors.New("truncated")
	// ErrFlags is wrapped where a VXLAN header's flags or reserved bits are
	// not what plain VXLAN has.
	ErrFlags = errors.New("bad VXLAN flags")
)

// Header is the VXLAN header, RFC 7348 section 5, in network byte order:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|R|R|R|R|I|R|R|R|                    Reserved                   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                VXLAN Network Identifier (VNI) |    Reserved   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Header struct {
	VNI VNI
}

// Put writes the header to the first HeaderLen bytes of b, which panics if
// they are not there. Of the VNI, the low 24 bits count. Reserved bits are
// zero.
func (h Header) Put(b []byte) {
	_ = b[HeaderLen-1]
	binary.BigEndian.PutUint32(b, FlagVNI)
	binary.BigEndian.PutUint32(b[4:], uint32(h.VNI)<<8)
}

// ParseHeader reads the header at the start of b, a UDP payload; the inner
// frame follows at b[HeaderLen:]. The VNI may be any of 24 bits, those below
// MinVNI included.
//
// The error wraps ErrTruncated, or ErrFlags unless exactly the I flag is set
// and all reserved bits are clear. RFC 7348 has the receiver ignore reserved
// bits, but extensions have given them meanings: with VXLAN-GPE's P flag and
// next protocol the payload is no Ethernet frame, with its O flag it is for
// the tunnel's end, and with VXLAN-GBP's G flag it carries a group policy that
// a receiver who does not know it would not enforce. Linux's vxlan driver
// drops whatever it was not configured to understand, bits beside the VNI
// included (vxlan_rcv), and so does ovl: a header is plain or it is dropped.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, errHeaderTruncated
	}
	flags, vni := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if flags != FlagVNI || vni&0xff != 0 {
		return Header{}, errHeaderFlags
	}
	return Header{VNI: VNI(vni >> 8)}, nil
}

// Made once: a flood of malformed packets must not become one of garbage.
var (
	errHeaderTruncated = fmt.Errorf("VXLAN header: %w", ErrTruncated)
	errHeaderFlags     = fmt.Errorf("VXLAN header: %w: not the I flag alone", ErrFlags)
)
