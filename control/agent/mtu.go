package agent

// tunnelOverhead is what the tunnel adds to an inner IP packet over an IPv4
// underlay, in bytes: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20 (RFC 7348
// section 5).
const tunnelOverhead = 50

// maxMTU is the largest inner IP packet that this host's underlay takes.
func (a *Agent) maxMTU() int { return a.underlay.MTU - tunnelOverhead }
