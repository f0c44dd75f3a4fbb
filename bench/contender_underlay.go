package main

import (
	"context"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// underlay is no overlay at all: the hosts talk with their own addresses. It
// shows what the machine and the measuring programs can do.
type underlay struct{}

func (underlay) Name() string { return "underlay" }

func (underlay) Setup(_ context.Context, lab *linktest.Lab) (Pair, error) {
	end := func(i int) Endpoint {
		return Endpoint{Namespace: lab.Hosts[i].Namespace, Addr: lab.Hosts[i].Addr}
	}
	return Pair{Client: end(0), Server: end(1)}, nil
}

func (underlay) Teardown(context.Context) error { return nil }
