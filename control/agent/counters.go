package agent

import (
	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
)

// counters returns the host's own, with every reason to drop.
func counters(s datapath.Stats) api.Counters {
	peers := s.AllPeers()
	c := api.Counters{
		Sent:     traffic(peers.Sent),
		Received: traffic(peers.Received),
		Drops:    make(map[string]api.Traffic),
		Drift:    s.Drift,
	}
	for _, reason := range datapath.DropReasons() {
		c.Drops[reason.String()] = traffic(s.Drops[reason])
	}
	return c
}

func endpointCounters(c datapath.PortCounter) api.EndpointCounters {
	return api.EndpointCounters{
		Sent:     traffic(c.Sent),
		Received: traffic(c.Received),
		Answered: traffic(c.Answered),
		Dropped:  traffic(c.Dropped),
		Copied:   traffic(c.Copied),
	}
}

func traffic(c datapath.Counter) api.Traffic { return api.Traffic{Packets: c.Packets, Bytes: c.Bytes} }
