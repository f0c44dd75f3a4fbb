package contender

import (
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Services of a crowd get into the tables of both agents, and the one that is
// measured works beside them.
func TestServices(t *testing.T) {
	linktest.NeedRoot(t)
	binary := buildOvlctl(t)
	for _, datapath := range []string{"kernel", "userspace"} {
		t.Run(datapath, func(t *testing.T) {
			c := &ovl{binary: binary, datapath: datapath, first: 1, services: testServices}
			_, pair := setUpIn(t, c, 3)
			for i, a := range c.agents {
				list, err := a.client().ServiceList(t.Context(), ovlNetwork)
				if err != nil || len(list) != testServices {
					t.Errorf("agent %d lists %d services, %v; want %d", i+1, len(list), err, testServices)
				}
			}
			testVIP(t, c, pair)
			testDrain(t, c, pair)
			testVIP(t, c, pair)
		})
	}
}
