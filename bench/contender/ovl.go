package contender

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ovlnet/ovl/bench/crowd"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// ovl is the real thing: an `ovlctl up` on each of the first two hosts, a
// network, and an attached namespace on each. Where it is to grow, a third
// host brings remote endpoints (ovl_grown.go, ovl_names.go) or services
// (ovl_services.go).
type ovl struct {
	// name is "ovl" if it is empty.
	name   string
	binary string
	// datapath is "kernel" if it is empty.
	datapath string
	// first is the number of its first instance: contenders that stand side
	// by side have numbers of their own.
	first int
	// grows: it is measured with that many remotes, which may be 0.
	grows   bool
	remotes int
	// services is how many there are; with none, it is not measured with them.
	services int
	// named: its remotes are asked for by their names.
	named bool
	asked measure.Names

	logs   string
	agents []*agent
	spare  *linktest.Namespace
	crowd  *crowd.Process
	filled time.Duration
	vip    netip.Addr
	// backend is the name of the endpoint that services lead to.
	backend string
}

// ovlNetwork is the network's name; each lab is a cluster of its own.
const ovlNetwork = "bench"

func (o *ovl) Name() string {
	name := cmp.Or(o.name, "ovl")
	if o.services > 0 {
		return balancedName(name, o.services)
	}
	return grownName(name, o.grows, o.remotes)
}

func (o *ovl) Setup(ctx context.Context, lab *linktest.Lab) (measure.Pair, error) {
	if _, err := os.Stat(o.binary); err != nil {
		return measure.Pair{}, err
	}
	var err error
	if o.logs, err = makeLogs(strings.ReplaceAll(o.Name(), "/", "-")); err != nil {
		return measure.Pair{}, err
	}
	token, err := o.startAgents(ctx, lab.Hosts[:2])
	if err != nil {
		return measure.Pair{}, err
	}
	subnets := []string{"--subnet", "10.0.0.0/24", "--subnet", "fd51::/64"}
	if o.grows || o.named || o.services > 0 {
		subnets = []string{"--subnet", grownSubnet.String()}
	}
	if _, err := o.agents[0].ctl(ctx, append([]string{"network", "create", ovlNetwork}, subnets...)...); err != nil {
		return measure.Pair{}, err
	}
	var ends [2]measure.Endpoint
	for i, a := range o.agents {
		if ends[i], err = a.attach(ctx, lab.Endpoint(fmt.Sprintf("ovl%d", i+1))); err != nil {
			return measure.Pair{}, err
		}
	}
	o.spare = lab.Endpoint("ovl-spare")
	if o.remotes > 0 {
		if err := o.fill(ctx, lab, token); err != nil {
			return measure.Pair{}, err
		}
	}
	pair := measure.Pair{Client: ends[0], Server: ends[1]}
	if o.named {
		return pair, o.offerNames(ctx, lab, pair.Client)
	}
	if o.services > 0 {
		return pair, o.serve(ctx, lab, token, pair)
	}
	return pair, nil
}

// startAgents makes a cluster of the hosts and returns its token.
func (o *ovl) startAgents(ctx context.Context, hosts []*linktest.Host) (token string, err error) {
	var join []string
	for i, h := range hosts {
		a := &agent{instance: instanceName(os.Getpid(), o.first+i), host: h, binary: o.binary, datapath: cmp.Or(o.datapath, "kernel")}
		a.log = filepath.Join(o.logs, a.instance+".log")
		o.agents = append(o.agents, a)
		if err := a.start(ctx, join...); err != nil {
			return "", fmt.Errorf("agent %d: %w", i+1, err)
		}
		if i > 0 {
			continue
		}
		out, err := a.ctl(ctx, "token", "create")
		if err != nil {
			return "", err
		}
		token = strings.TrimSpace(string(out))
		join = []string{"--join", h.Addr.String(), "--token", token}
	}
	for _, a := range o.agents {
		if err := a.waitPeers(ctx, len(hosts)-1); err != nil {
			return "", err
		}
	}
	return token, nil
}

// Attach is `ovlctl attach` of a namespace, which returns when the other hosts
// have the endpoint, too, or after half a second.
func (o *ovl) Attach(ctx context.Context, _ *linktest.Lab) (measure.Endpoint, func(context.Context) error, error) {
	a := o.agents[1]
	e, err := a.attach(ctx, o.spare)
	if err != nil {
		return measure.Endpoint{}, nil, err
	}
	return e, func(ctx context.Context) error {
		_, err := a.ctl(ctx, "detach", o.spare.Name, "--network", ovlNetwork)
		return err
	}, nil
}

func (o *ovl) Teardown(ctx context.Context) error {
	var errs []error
	if o.crowd != nil {
		errs = append(errs, o.crowd.Stop())
	}
	for _, a := range o.agents {
		errs = append(errs, a.stop(ctx))
	}
	return errors.Join(append(errs, removeLogs(o.logs))...)
}
