package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/cluster/trust"
	"github.com/ovlnet/ovl/control/store"
)

var (
	// ErrSelf is returned where the address leads back to this host.
	ErrSelf = errors.New("is this host itself")
	// ErrOutdated is returned where the cluster has seen more of this host
	// than it remembers: an older copy of its state was put back. Peers would
	// take what it writes for what it wrote before, and leave it out; the
	// addresses that it has handed out since then it would hand out again.
	ErrOutdated = errors.New("the state of this host is older than what its peers have seen of it")
)

// Join makes this host a member of the cluster that a host at one of addrs is
// a member of. They are tried in turn until one answers; each is HOST or
// HOST:PORT, the port that of sync (default 7947). Before the first word of
// gossip, a hello over TLS finds out whether the other host holds the
// cluster's secret and speaks the same protocol. When Join returns nil, this
// host has everything that the seed had.
//
// The error is one line and says for each address what is wrong there:
// errors.Is finds trust.ErrStranger (a wrong token), rpc.ErrUnreachable,
// rpc.ErrNotSync, ErrSelf or ErrOutdated, errors.As an *rpc.Error with CodeProtocol,
// CodeNameInUse, CodeIDInUse or CodeFamily.
func (c *Cluster) Join(ctx context.Context, addrs []string) error {
	if len(addrs) == 0 {
		return errors.New("join: no address of a host of the cluster was given")
	}
	var errs joinError
	for _, text := range addrs {
		targets, err := resolve(ctx, text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		targets = c.likely(targets)
		for _, target := range targets {
			err = c.joinAt(ctx, target)
			if err == nil {
				return nil
			}
		}
		errs = append(errs, c.explain(text, targets, err))
	}
	return errs
}

// joinAt joins through one seed. The state comes before the gossip, so that a
// host that cannot have it is not a member; what is written meanwhile comes
// with the exchange that the seed's Joined event begins.
func (c *Cluster) joinAt(ctx context.Context, addr netip.AddrPort) error {
	seed, err := c.hello(ctx, addr, false)
	if err != nil {
		return err
	}
	if seed.Nonce == c.nonce {
		return ErrSelf
	}
	if at := seed.Gossip.Addr(); at.Is4() != c.local.Addr.Is4() {
		return otherFamily(seed.Name, at, c.local.Addr)
	}
	theirs, err := c.exchange(ctx, seed.ID, addr)
	if err != nil {
		return err
	}
	if seen, made := theirs[c.local.ID].Seq, c.store.Vector()[c.local.ID].Seq; seen > made {
		err := fmt.Errorf("%w: node %s has seen its write %d, the state on disk ends with %d: run `ovlctl down` and join as a new node",
			ErrOutdated, seed.Name, seen, made)
		c.disowned(err)
		return err
	}
	if _, err := c.members.Join(ctx, []netip.AddrPort{seed.Gossip}); err != nil {
		return fmt.Errorf("%s answers, but its gossip port %s does not: %w", addr, seed.Gossip, err)
	}
	// The seed has the node row; the others would wait for their next round.
	if row, ok := c.store.Snapshot().Get(store.TableNode, c.local.ID); ok {
		c.Spread(ctx, []store.Row{row})
	}
	return nil
}

// resolve turns what an operator types into addresses.
func resolve(ctx context.Context, text string) ([]netip.AddrPort, error) {
	host, port := strings.TrimSpace(text), uint64(DefaultSyncPort)
	if h, p, err := net.SplitHostPort(host); err == nil {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return nil, fmt.Errorf("join %s: port %q is not in 1..65535", text, p)
		}
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" {
		return nil, fmt.Errorf("join %q: no host is named", text)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a, uint16(port))}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("join %s: the name cannot be resolved: %w", text, err)
	}
	var out []netip.AddrPort
	for _, a := range found {
		out = append(out, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	return out, nil
}

// likely leaves out, of a name's addresses, those of the family that no host of
// this one's cluster has, unless there are no others.
func (c *Cluster) likely(addrs []netip.AddrPort) []netip.AddrPort {
	same := slices.DeleteFunc(slices.Clone(addrs), c.foreign)
	if len(same) > 0 {
		return same
	}
	return addrs
}

// foreign reports whether an address is not of the underlay's family.
func (c *Cluster) foreign(at netip.AddrPort) bool {
	return at.Addr().Unmap().Is4() != c.local.Addr.Is4()
}

// explain says what an operator can do about a seed that was not joined.
func (c *Cluster) explain(text string, tried []netip.AddrPort, err error) error {
	var refused *rpc.Error
	switch {
	case errors.Is(err, rpc.ErrUnreachable) && slices.ContainsFunc(tried, c.foreign):
		has := c.local.Addr
		return fmt.Errorf("join %s: no agent answers at %s, and this host has an underlay of %s (%s): a cluster has one family, name another address of this host with --advertise: %w",
			text, tried[0].Addr(), family(has), has, err)
	case errors.Is(err, trust.ErrStranger):
		return fmt.Errorf("join %s: the token is not of that host's cluster: %w", text, err)
	case errors.Is(err, rpc.ErrNotSync):
		return fmt.Errorf("join %s: something answers there, but not ovl's sync port: give the port of --sync-port (default %d): %w",
			text, DefaultSyncPort, err)
	case errors.As(err, &refused):
		return fmt.Errorf("join %s: %w", text, err)
	case errors.Is(err, rpc.ErrUnreachable):
		return fmt.Errorf("join %s: no agent answers there: %w", text, err)
	default:
		return fmt.Errorf("join %s: %w", text, err)
	}
}

// joinError is what went wrong at each address, on one line.
type joinError []error

func (e joinError) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap lets errors.Is and errors.As look at every address.
func (e joinError) Unwrap() []error { return e }
