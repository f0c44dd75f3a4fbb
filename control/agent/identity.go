package agent

import (
	"errors"
	"fmt"

	"github.com/ovlnet/ovl/control/cluster/trust"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/control/store"
)

// metaSecret is where the store keeps the cluster's secret. It is written
// when the node has become a member, so that a join that failed can be tried
// again with another token.
const metaSecret = "cluster-secret"

// admission is how this node comes to its cluster.
type admission struct {
	secret trust.Secret
	// founds: nobody is there yet, the secret is new.
	founds bool
	// joins: this node is not a member yet; without an answer from one of
	// the hosts to join there is nothing to run.
	joins bool
}

// errNoToken and its like are refusals of what the operator asked for.
var (
	errNoToken  = errors.New("joining needs a token: `ovlctl token create` on a member prints one, give it with --token or --token-file")
	errNoJoin   = errors.New("a token alone does not say where the cluster is: add --join ADDR, or leave both out to found a cluster")
	errHalfway  = errors.New("this host was cut off while it joined a cluster: give --join and --token once more, or `ovlctl down` to begin anew")
	errElseward = errors.New("this host is a member of another cluster than the token's: `ovlctl down` leaves it, then join")
)

// admit decides which cluster the node is of: that on its disk, else that of
// the token, else a new one.
func admit(s *store.Store, c config.Config) (admission, error) {
	var given trust.Secret
	if c.Token != "" {
		var err error
		if given, err = trust.ParseToken(c.Token); err != nil {
			return admission{}, err
		}
	}
	kept, member, err := s.GetMeta(metaSecret)
	if err != nil {
		return admission{}, fmt.Errorf("cluster secret: %w", err)
	}
	switch {
	case member:
		secret, err := trust.SecretFromBytes(kept)
		if err != nil {
			return admission{}, fmt.Errorf("%w: %w", store.ErrDamaged, err)
		}
		if c.Token != "" && given != secret {
			return admission{}, errElseward
		}
		return admission{secret: secret}, nil
	case c.Token != "" && len(c.Join) > 0:
		return admission{secret: given, joins: true}, nil
	case c.Token != "":
		return admission{}, errNoJoin
	case len(c.Join) > 0:
		return admission{}, errNoToken
	}
	for origin := range s.Vector() {
		if origin != s.NodeID() {
			return admission{}, errHalfway
		}
	}
	return admission{secret: trust.NewSecret(), founds: true}, nil
}

// keep makes the membership durable.
func (m admission) keep(s *store.Store) error {
	if !m.founds && !m.joins {
		return nil
	}
	if err := s.SetMeta(metaSecret, m.secret[:]); err != nil {
		return fmt.Errorf("cluster secret: %w", err)
	}
	return nil
}
