package agent

import (
	"testing"

	"github.com/ovlnet/ovl/control/api"
)

// TestSegmentSizeFollowsUnderlay: endpoints send larger packets while the
// kernel segments, and what the device can take as soon as that does it.
func TestSegmentSizeFollowsUnderlay(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.host.setSoftware(true)
	n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	l.eventually("an endpoint hands over large packets", func() bool {
		return n.host.segmentSize("a", "eth0") == gsoSoftware
	})
	n.host.setSoftware(false)
	l.eventually("it follows the underlay", func() bool {
		return n.host.segmentSize("a", "eth0") == gsoDefault
	})
	// One that is attached meanwhile is no exception.
	n.attach("blue", "b")
	l.eventually("a new one is set as well", func() bool {
		return n.host.segmentSize("b", "eth0") == gsoDefault
	})
}
