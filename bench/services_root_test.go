package main

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// lost is a contender whose VIP leads nowhere.
type lost struct{ contender.Contender }

func (lost) VIP() netip.Addr                   { return netip.MustParseAddr("192.0.2.99") }
func (lost) Drain(context.Context, bool) error { return nil }

// What is measured through a VIP goes there, and not to the backend.
func TestVIPThatLeadsNowhere(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	subject := Subject{Contender: lost{}, Lab: lab, Pair: measure.Pair{
		Client: measure.Endpoint{Namespace: lab.Hosts[0].Namespace, Addr: lab.Hosts[0].Addr},
		Server: measure.Endpoint{Namespace: lab.Hosts[1].Namespace, Addr: lab.Hosts[1].Addr},
	}}
	for _, s := range serviceScenarios {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		values, err := s.Measure(ctx, subject, 500*time.Millisecond)
		cancel()
		if err == nil {
			t.Errorf("%s: %v", s.Name, values)
		}
	}
}
