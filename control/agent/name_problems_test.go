package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
)

// A service wins over endpoints of its name, and status says so.
func TestStatusOfNames(t *testing.T) {
	n := twoNetworks(t)
	problems := func() string {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(s.Problems)
	}
	for _, s := range []api.ServiceRequest{{Network: "blue", Name: "Web"}, {Network: "red", Name: "c1"}} {
		if _, err := n.ServiceCreate(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	n.attach("blue", "c1")
	if got := problems(); got != "[]" {
		t.Errorf("problems are %s", got)
	}
	n.host.addNamespace("c2")
	alias := n.attachAs(t, api.AttachRequest{Network: "blue", NetNS: "c2", Aliases: []string{"wEb"}})
	if got, want := problems(), "[service Web of network blue: endpoint c2 has this name or alias too, which is answered with the service]"; got != want {
		t.Errorf("problems are %s, want %s", got, want)
	}
	n.attach("blue", "web")
	if got, want := problems(), "[service Web of network blue: endpoint c2 and 1 more have this name or alias too, which is answered with the service]"; got != want {
		t.Errorf("problems are %s, want %s", got, want)
	}
	n.detach(t, alias)
	if got := problems(); !strings.Contains(got, "endpoint web has") {
		t.Errorf("problems are %s", got)
	}
}
