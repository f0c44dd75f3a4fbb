package datapathtest

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestServiceCases: every case has a name of its own, and frames that are what
// they say.
func TestServiceCases(t *testing.T) {
	for _, family := range []Family{IPv4, IPv6} {
		s := newSite(family)
		for _, g := range serviceGroups() {
			names := map[string]bool{}
			for _, c := range g.cases(s) {
				if names[c.Name] {
					t.Errorf("%s: two cases are called %q", g.name, c.Name)
				}
				names[c.Name] = true
				for _, step := range c.Steps {
					for _, f := range step.Out {
						p := gopacket.NewPacket(f.Bytes, layers.LayerTypeEthernet, gopacket.Default)
						if p.ErrorLayer() != nil {
							t.Errorf("%s: %s: %v\n%s", g.name, c.Name, p.ErrorLayer().Error(), describe("out", f.Bytes))
						}
					}
				}
			}
			t.Logf("%s: %d cases", g.name, len(names))
		}
		if s.lastPort > 50000 {
			t.Errorf("%d client ports are more than there are", s.lastPort)
		}
	}
}
