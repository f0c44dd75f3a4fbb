package datapathtest

import (
	"fmt"

	"github.com/ovlnet/ovl/datapath"
)

// CheckBalance returns an error unless what has come to a host is what has
// gone, by its counters. It holds whenever no packet is under way.
func CheckBalance(s datapath.Stats) error {
	packets, bytes := s.Balance()
	if packets == 0 && bytes == 0 {
		return nil
	}
	ports, peers := s.AllPorts(), s.AllPeers()
	return fmt.Errorf("%d packets and %d bytes more have come than gone: ports %+v, peers %+v", packets, bytes, ports, peers)
}
