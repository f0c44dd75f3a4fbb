package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }

// Every scenario gives a plausible figure over each contender that needs
// nothing but the kernel.
func TestMeasure(t *testing.T) {
	linktest.NeedRoot(t)
	for _, c := range []Contender{underlay{}, kernelVXLAN{}} {
		t.Run(c.Name(), func(t *testing.T) {
			lab := linktest.New(t, linktest.Options{Hosts: 2})
			pair, err := c.Setup(t.Context(), lab)
			if err != nil {
				t.Fatal(err)
			}
			if err := waitReachable(t.Context(), pair); err != nil {
				t.Fatal(err)
			}
			for _, s := range scenarios {
				if err := lab.SetSegmentationOffload(t.Context(), !s.NoOffload); err != nil {
					t.Fatal(err)
				}
				v, err := s.Measure(t.Context(), pair, s.duration(time.Second))
				if err != nil {
					t.Errorf("%s: %v", s.Name, err)
				} else if v <= 0 {
					t.Errorf("%s: %v %s", s.Name, v, s.Unit)
				}
			}
		})
	}
}

func TestUnreachableIsAnError(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	pair, err := underlay{}.Setup(t.Context(), lab)
	if err != nil {
		t.Fatal(err)
	}
	pair.Server.Addr = pair.Server.Addr.Next() // nobody's
	if err := waitReachable(t.Context(), pair); !matches(err, "does not answer") {
		t.Errorf("echo to nobody: %v", err)
	}
	if _, err := packetRate(t.Context(), pair, time.Second); err == nil {
		t.Error("packets to nobody were counted")
	}
}

// A measurement that is cut short ends soon, and leaves no program behind:
// VerifyNoLeaks looks for those.
func TestInterrupted(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	pair, err := underlay{}.Setup(t.Context(), lab)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		start := time.Now()
		_, err := s.Measure(ctx, pair, 20*time.Second)
		cancel()
		if err == nil {
			t.Errorf("%s: no error", s.Name)
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s ended only after %v", s.Name, took)
		}
	}
}

func TestLeftoversOfAKilledBench(t *testing.T) {
	linktest.NeedRoot(t)
	const dead = 1<<22 + 1 // above any PID
	dir := "/run/ovl-" + instanceName(dead, 1)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := checkLeftovers(); !matches(err, instanceName(dead, 1)) {
		t.Errorf("the leftover is not named: %v", err)
	}
	if err := removeInstance(t.Context(), options{ovlctl: "/nonexistent"}, instanceName(dead, 1)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}
