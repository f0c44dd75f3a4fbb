package member

import (
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// packetSize is what one gossip packet may hold: 1500 less IPv6 and UDP
// headers is 1452, and 52 are left to underlays that are tunnels themselves.
const packetSize = 1400

// eventOverhead is what Serf adds to a payload when it encodes an event: field
// names, Lamport time, our event name. Of packetSize, AES-GCM takes 29 bytes
// (version, nonce, tag) and memberlist's compound and user headers 5. What is
// then left beside the largest event is room for a membership message or two in
// the same packet. An event that did not fit would not be fragmented, it would
// wait in the queue for ever.
const eventOverhead = 64

// serfConfig tunes Serf's settings for a local network, up to a few hundred
// hosts: a change reaches all in some tenths of a second, a death is known
// after about four seconds.
func serfConfig(o SerfOptions, watch *admission, events chan<- serf.Event) (*serf.Config, error) {
	logger := newLogAdapter(o.Logger)

	ml := memberlist.DefaultLANConfig()
	keyring, err := memberlist.NewKeyring(nil, o.Key)
	if err != nil {
		return nil, fmt.Errorf("gossip key: %w", err)
	}
	if len(o.Key) == 0 {
		return nil, fmt.Errorf("gossip key: there is none, and ovl does not gossip in the clear")
	}
	ml.Keyring = keyring
	ml.BindAddr, ml.BindPort = o.Local.Addr.String(), int(o.Local.GossipPort)
	ml.AdvertiseAddr, ml.AdvertisePort = ml.BindAddr, ml.BindPort
	ml.UDPBufferSize = packetSize
	ml.GossipInterval = 50 * time.Millisecond
	ml.ProbeInterval = 1 * time.Second
	ml.ProbeTimeout = 500 * time.Millisecond
	ml.SuspicionMult = 3
	ml.PushPullInterval = 15 * time.Second
	ml.TCPTimeout = 3 * time.Second
	// A host that comes back with a new address takes its old place once it
	// was seen to fail; without this it would have to wait for a leave that
	// never comes.
	ml.DeadNodeReclaimTime = 1 * time.Millisecond
	ml.LogOutput, ml.Logger = nil, logger

	c := serf.DefaultConfig()
	c.MemberlistConfig = ml
	c.NodeName = o.Local.ID
	c.Tags = o.Local.tags()
	c.EventCh = events
	c.Merge = watch
	c.UserEventSizeLimit = MaxPayload + eventOverhead
	// Every event counts and is small: nothing is coalesced.
	c.CoalescePeriod, c.UserCoalescePeriod = 0, 0
	// Serf's way to resolve a conflict of names is to shut the loser down
	// without a word. Ours: see admission.
	c.EnableNameConflictResolution = false
	c.DisableCoordinates = true
	c.BroadcastTimeout = 1 * time.Second
	c.LeavePropagateDelay = 500 * time.Millisecond
	// A failed member is kept, and tried again, until someone removes it.
	c.ReconnectInterval = 3 * time.Second
	c.ReconnectTimeout = math.MaxInt64
	// One that left is remembered so long that a partitioned host that
	// returns still hears of it.
	c.TombstoneTimeout = 30 * 24 * time.Hour
	c.LogOutput, c.Logger = nil, logger
	return c, nil
}
