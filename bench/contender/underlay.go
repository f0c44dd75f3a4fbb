package contender

import (
	"context"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// underlay is no overlay at all: the hosts talk with their own addresses. It
// shows what the machine and the measuring programs can do.
type underlay struct{}

func (underlay) Name() string { return "underlay" }

func (underlay) Setup(_ context.Context, lab *linktest.Lab) (measure.Pair, error) {
	end := func(i int) measure.Endpoint {
		return measure.Endpoint{Namespace: lab.Hosts[i].Namespace, Addr: lab.Hosts[i].Addr}
	}
	return measure.Pair{Client: end(0), Server: end(1)}, nil
}

func (underlay) Teardown(context.Context) error { return nil }
