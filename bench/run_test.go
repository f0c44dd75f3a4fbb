package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
)

// nameOnly is a contender that has a name, and falls over if it is asked for
// anything else.
type nameOnly struct {
	contender.Contender
	name string
}

func (n nameOnly) Name() string { return n.name }

func standsOf(names ...string) []*stand {
	var out []*stand
	for _, name := range names {
		out = append(out, &stand{Subject: Subject{Contender: nameOnly{name: name}}, ready: true})
	}
	return out
}

// counting is a scenario that sees 1, 2, 3 … and notes of whom. From a count
// on, if there is one, it fails.
func counting(turns, failsFrom int, looks *[]string) Scenario {
	return Scenario{
		Name: "counting", Figures: []Figure{{Value: "n", Name: "counting"}}, Turns: turns,
		Measure: func(_ context.Context, s Subject, _ time.Duration) (measure.Values, error) {
			*looks = append(*looks, s.Contender.Name())
			if failsFrom > 0 && len(*looks) >= failsFrom {
				return nil, errors.New("it fell over")
			}
			return measure.Values{"n": float64(len(*looks))}, nil
		},
	}
}

func TestRound(t *testing.T) {
	for name, c := range map[string]struct {
		turns, failsFrom int
		looks            []string
		base, ovl        []float64
	}{
		"once":           {0, 0, []string{"base", "ovl", "base", "ovl"}, []float64{1, 3}, []float64{2, 4}},
		"there and back": {2, 0, []string{"base", "ovl", "ovl", "base", "base", "ovl", "ovl", "base"}, []float64{2.5, 6.5}, []float64{2.5, 6.5}},
		"three times":    {3, 0, []string{"base", "ovl", "ovl", "base", "base", "ovl", "base", "ovl", "ovl", "base", "base", "ovl"}, []float64{4, 10}, []float64{3, 9}},
		// Who fails once is looked at no more.
		"it fails the second time": {2, 3, []string{"base", "ovl", "ovl", "base"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var looks []string
			stands := standsOf("base", "ovl")
			l := newLook(counting(c.turns, c.failsFrom, &looks), "base")
			told := 0
			for range 2 {
				if err := l.measure(t.Context(), options{}, stands, func(*stand, int, string, error) { told++ }); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(looks, c.looks) {
				t.Errorf("looked at %v, want %v", looks, c.looks)
			}
			f := l.figures[0]
			if !slices.Equal(f.Values["base"], c.base) || !slices.Equal(f.Values["ovl"], c.ovl) {
				t.Errorf("values are %v", f.Values)
			}
			if told != len(c.looks) {
				t.Errorf("told of %d looks of %d", told, len(c.looks))
			}
		})
	}
}
