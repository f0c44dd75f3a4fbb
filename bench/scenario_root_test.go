package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }

// Every scenario gives plausible figures, here over the baseline, of those
// with services over nftables, and of names by dnsmasq.
func TestMeasure(t *testing.T) {
	linktest.NeedRoot(t)
	t.Run("pair", func(t *testing.T) {
		measureAll(t, named(contender.All(contender.Options{}), contender.Baseline), pairScenarios)
	})
	t.Run("services", func(t *testing.T) {
		measureAll(t, named(contender.Balancing(contender.Options{}, []int{10}), "nft-vip/10"), serviceScenarios)
	})
	t.Run("names", func(t *testing.T) {
		measureAll(t, named(contender.Naming(contender.Options{}, 10), contender.NamesBaseline), nameScenarios)
	})
}

func named(all []contender.Contender, name string) contender.Contender {
	return all[slices.IndexFunc(all, func(c contender.Contender) bool { return c.Name() == name })]
}

// measureAll looks at a contender by all of the scenarios, but not for long:
// that figures are good ones is no matter of a test.
func measureAll(t *testing.T, c contender.Contender, scenarios []Scenario) {
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	t.Cleanup(func() {
		if err := c.Teardown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	pair, err := c.Setup(t.Context(), lab)
	if err != nil {
		t.Fatal(err)
	}
	if err := measure.WaitReachable(t.Context(), pair); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios {
		if err := lab.SetSegmentationOffload(t.Context(), !s.NoOffload); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		values, err := s.Measure(t.Context(), Subject{Contender: c, Lab: lab, Pair: pair}, 500*time.Millisecond)
		if errors.Is(err, errNotApplicable) {
			continue
		}
		if errors.Is(err, measure.ErrDisturbed) || errors.Is(err, measure.ErrOverloaded) {
			t.Logf("%s: %v", s.Name, err) // other tests run too
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		for _, f := range s.Figures {
			if v := values[f.Value]; v <= 0 {
				t.Errorf("%s: %s is %v %s", s.Name, f.Value, v, f.Unit)
			}
			t.Logf("%-15s %9.2f %-7s in %.1f s", f.Name, values[f.Value], f.Unit, time.Since(start).Seconds())
		}
	}
}

// A measurement that is cut short ends soon, and leaves no program behind:
// VerifyNoLeaks looks for those.
func TestInterrupted(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	subject := Subject{Lab: lab, Pair: measure.Pair{
		Client: measure.Endpoint{Namespace: lab.Hosts[0].Namespace, Addr: lab.Hosts[0].Addr},
		Server: measure.Endpoint{Namespace: lab.Hosts[1].Namespace, Addr: lab.Hosts[1].Addr},
	}}
	for _, s := range slices.Concat(pairScenarios, jumboScenarios) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		start := time.Now()
		_, err := s.Measure(ctx, subject, 20*time.Second)
		cancel()
		if err == nil {
			t.Errorf("%s: no error", s.Name)
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s ended only after %v", s.Name, took)
		}
	}
}
