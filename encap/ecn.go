package encap

// ECN is the congestion notification field: the low two bits of the IPv4 TOS
// byte or of the IPv6 traffic class, RFC 3168 section 5.
type ECN uint8

// The code points.
const (
	NotECT ECN = 0b00 // the transport does not do ECN
	ECT1   ECN = 0b01
	ECT0   ECN = 0b10
	CE     ECN = 0b11 // congestion was experienced
)

// EncapECN returns the outer field for an inner one: a plain copy, the normal
// mode of RFC 6040 section 4.1. The DSCP is not copied: what an endpoint
// writes there must not choose its class on the underlay.
func EncapECN(inner ECN) ECN { return inner & CE }

// DecapECN returns what the inner field becomes when the outer header goes
// away, RFC 6040 section 4.2 (figure 4). drop is true for the one case where
// the packet must not go on: congestion was marked, and the inner transport
// would not understand it.
//
//	            outer: Not-ECT  ECT(0)   ECT(1)   CE
//	inner Not-ECT      Not-ECT  Not-ECT  Not-ECT  drop
//	inner ECT(0)       ECT(0)   ECT(0)   ECT(1)   CE
//	inner ECT(1)       ECT(1)   ECT(1)   ECT(1)   CE
//	inner CE           CE       CE       CE       CE
func DecapECN(inner, outer ECN) (out ECN, drop bool) {
	inner, outer = inner&CE, outer&CE
	switch {
	case inner == NotECT:
		return NotECT, outer == CE
	case outer == CE:
		return CE, false
	case inner == ECT0 && outer == ECT1:
		return ECT1, false
	default:
		return inner, false
	}
}
