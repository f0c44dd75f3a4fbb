// Package offload does in software what network devices do for a kernel:
// checksums, cutting large packets into segments, and merging segments again.
// It works on frames in memory and does no I/O.
package offload

// Frame is an Ethernet frame, and what the device that it goes to has still to
// do with it.
type Frame struct {
	Header
	// Data begins with the Ethernet header. At least Headroom bytes of the same
	// array precede it, and are nobody's.
	Data []byte
}

// Headroom is how many bytes before a frame may be written to: room for a VXLAN
// header, where a device had its own.
const Headroom = HeaderLen

// MaxFrame is the longest frame that a device hands over, in bytes: an IP packet
// of 64 KiB behind an Ethernet header and two tags.
const MaxFrame = 14 + 2*4 + 65535

// HeaderLen is the length of a Header on its way to or from a device.
const HeaderLen = 10

// Header is struct virtio_net_hdr of virtio 1.0 without its last field, as TAP
// devices have it before a frame (IFF_VNET_HDR). The zero value is that of a
// frame with which nothing is to be done. Offsets count from the Ethernet header.
type Header struct {
	Flags   uint8
	GSOType uint8
	// HdrLen is the length of all headers of a packet that is to be cut.
	HdrLen uint16
	// GSOSize is how many bytes of payload each segment has but the last.
	GSOSize uint16
	// CsumStart is from where on the checksum is to be made that goes to
	// CsumStart + CsumOffset, where the sum of the pseudo-header is.
	CsumStart, CsumOffset uint16
}

// Flags and GSO types, linux/virtio_net.h.
const (
	NeedsCsum = 1 // Flags: the checksum is still to be made
	DataValid = 2 // Flags: the checksum is known to be right

	GSONone  = 0
	GSOTCPv4 = 1
	GSOTCPv6 = 4
	GSOUDP   = 5    // UDP segments (Linux 6.2), of either family
	GSOECN   = 0x80 // with one of TCP's: the first segment only has CWR
)
