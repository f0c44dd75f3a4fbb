package datapathtest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovlnet/ovl/datapath"
)

// FlowList is flows to VIPs, in any order: all that there have to be. How long they
// have been idle does not matter.
type FlowList struct {
	Of   []netip.Addr
	Want []datapath.Flow
	// Most, if there is one, is how many there may be of which nothing else is
	// wanted.
	Most int
}

// check says what is wrong with the flows that a datapath lists.
func (l FlowList) check(listed []datapath.Flow) error {
	listed = slices.DeleteFunc(listed, func(f datapath.Flow) bool { return !slices.Contains(l.Of, f.VIP.Addr()) })
	if l.Most > 0 {
		if len(listed) > l.Most {
			return fmt.Errorf("%d flows listed, want %d at most", len(listed), l.Most)
		}
		return nil
	}
	var have, want []string
	for _, f := range listed {
		have = append(have, describeFlow(f))
	}
	for _, f := range l.Want {
		want = append(want, describeFlow(f))
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		return fmt.Errorf("flows listed:\n    %s\nbut want:\n    %s", strings.Join(have, "\n    "), strings.Join(want, "\n    "))
	}
	return nil
}

func describeFlow(f datapath.Flow) string {
	return fmt.Sprintf("network %d protocol %d %s (as %d) by %s to %s %s: %s, sent %d packets %d bytes, received %d packets %d bytes",
		f.VNI, f.Protocol, f.Client, f.SourcePort, f.VIP, f.Backend, f.BackendID, f.State,
		f.Sent.Packets, f.Sent.Bytes, f.Received.Packets, f.Received.Bytes)
}

// sourcePort is the client's port that a datapath has chosen for the backend to
// see; 0 if it knows no such flow.
func (f flow) sourcePort(listed []datapath.Flow) uint16 {
	for _, l := range listed {
		if l.Protocol == f.protocol && l.Client == f.from.addrPort() && l.VIP == f.to.addrPort() {
			return l.SourcePort
		}
	}
	return 0
}
