package member

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/hashicorp/serf/serf"
)

// The tags of a member in Serf. Serf's own name of a member is our node ID:
// two hosts with one name can then be members side by side, as ovl wants, and
// the ID's uniqueness is watched by Serf. Keys are short because all tags
// together have 512 bytes, and Serf panics if they outgrow them later.
const (
	tagName        = "n"
	tagAddr        = "a"
	tagSyncPort    = "s"
	tagIncarnation = "i"
	tagProtocol    = "p"
)

// Validate refuses what cannot be said of a host in 512 bytes of tags.
func (l Local) Validate() error {
	switch {
	case l.ID == "" || len(l.ID) > MaxNameLen:
		return fmt.Errorf("node ID %q: must have 1 to %d characters", l.ID, MaxNameLen)
	case l.Name == "" || len(l.Name) > MaxNameLen:
		return fmt.Errorf("node name %q: must have 1 to %d characters", l.Name, MaxNameLen)
	case strings.ContainsFunc(l.Name, func(r rune) bool { return !isNameRune(r) }):
		return fmt.Errorf("node name %q: only letters, digits, '-', '_' and '.' can be part of one", l.Name)
	case !l.Addr.IsValid() || l.Addr.IsUnspecified() || l.Addr.IsMulticast():
		return fmt.Errorf("node %s: %s is not an address that others can reach", l.Name, l.Addr)
	case l.SyncPort == 0:
		return fmt.Errorf("node %s: sync port 0 is not in 1..65535", l.Name)
	}
	return nil
}

func isNameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' || r == '.'
}

// tags says l in Serf's form. The VTEP is a tag although Serf knows an address
// as well: theirs is where packets come from, ours is where VXLAN goes.
func (l Local) tags() map[string]string {
	return map[string]string{
		tagName:        l.Name,
		tagAddr:        l.Addr.String(),
		tagSyncPort:    strconv.Itoa(int(l.SyncPort)),
		tagIncarnation: strconv.FormatUint(l.Incarnation, 10),
		tagProtocol:    strconv.Itoa(l.Protocol),
	}
}

// fromSerf reads a member back. Tags come from other hosts: nothing about
// them is taken for granted but that their sender holds the cluster's key.
func fromSerf(m serf.Member) (Member, error) {
	bad := func(what string, err error) (Member, error) {
		return Member{}, fmt.Errorf("member %q at %s: %s: %w", m.Name, net.IP(m.Addr), what, err)
	}
	out := Member{Local: Local{ID: m.Name, Name: m.Tags[tagName], GossipPort: m.Port}, Status: fromSerfStatus(m.Status)}
	protocol, err := strconv.Atoi(m.Tags[tagProtocol])
	if err != nil {
		return bad("protocol version", err)
	}
	out.Protocol = protocol
	addr, err := netip.ParseAddr(m.Tags[tagAddr])
	if err != nil {
		return bad("address", err)
	}
	out.Addr = addr.Unmap()
	port, err := strconv.ParseUint(m.Tags[tagSyncPort], 10, 16)
	if err != nil {
		return bad("sync port", err)
	}
	out.SyncPort = uint16(port)
	if out.Incarnation, err = strconv.ParseUint(m.Tags[tagIncarnation], 10, 64); err != nil {
		return bad("incarnation", err)
	}
	return out, out.Validate()
}

// fromSerfStatus maps Serf's states. One that is about to leave is alive until
// it has left.
func fromSerfStatus(s serf.MemberStatus) Status {
	switch s {
	case serf.StatusFailed:
		return Failed
	case serf.StatusLeft:
		return Left
	default:
		return Alive
	}
}
