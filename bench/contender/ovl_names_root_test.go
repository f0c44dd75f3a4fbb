package contender

import (
	"slices"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// The names of a crowd are answered on the client's host, to both who ask there.
func TestNames(t *testing.T) {
	linktest.NeedRoot(t)
	all := Naming(Options{Ovlctl: buildOvlctl(t)}, 50)
	c := all[slices.IndexFunc(all, func(c Contender) bool { return c.Name() == "ovl" })].(Named)
	setUpIn(t, c, 3)
	n := c.Names()
	if v, err := measure.QueryRate(t.Context(), n, 200*time.Millisecond); err != nil || len(n.Asked) != 50 {
		t.Errorf("rate: %v, %v", v, err)
	}
	if used, err := n.CPU(); err != nil || used == 0 {
		t.Errorf("CPU time is %v, %v", used, err)
	}
}
