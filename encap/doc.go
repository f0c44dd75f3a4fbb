// Package encap is the wire format of the overlay, pure: bytes in, bytes out,
// no I/O and no allocation per packet. It is what VXLAN (RFC 7348) is over an
// underlay of IPv4 or IPv6, as ovl sends it:
//
//	Ethernet 14 │ IPv4 20 or IPv6 40 │ UDP 8 │ VXLAN 8 │ inner Ethernet frame
//	└──────────────────── Outer.Put ─────────────────┘
//	                                         └ Header ┘
//
// What flows through, in order, seen from the sender: an inner frame's flow is
// hashed (FlowHash) and becomes the outer source port (SourcePort), and over
// IPv6 the flow label; its ECN field is copied (EncapECN); Outer.Put writes the headers before it. At the
// receiver, ParseHeader takes the VXLAN header, and DecapECN says what becomes
// of the inner ECN field. InnerMTU tells how large an inner packet may be for
// all this to fit the underlay.
//
// The eBPF programs do the same in C (bpf/tunnel.h, bpf/underlay.h); what this
// package says of ranges and of reserved bits holds for both.
package encap
