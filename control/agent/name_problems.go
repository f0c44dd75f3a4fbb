package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// nameProblems says which services, on networks of a node, have the name of
// endpoints: DNS answers with the service alone, which is not what the one will have meant
// who gave it second.
func nameProblems(t *reconcile.Tables, node string) []string {
	here := make(map[string]bool)
	for _, e := range t.Endpoints {
		if e.Node == node {
			here[e.Network] = true
		}
	}
	type key struct{ network, name string }
	services := make(map[key]*reconcile.Service)
	for _, v := range t.Services {
		if k := (key{v.Network, strings.ToLower(v.Name)}); here[v.Network] && (services[k] == nil || v.OlderThan(services[k])) {
			services[k] = v
		}
	}
	named := make(map[*reconcile.Service][]string)
	for _, e := range t.Endpoints {
		if !here[e.Network] {
			continue
		}
		for _, n := range namesOf(e) {
			if v := services[key{e.Network, strings.ToLower(n)}]; v != nil && !slices.Contains(named[v], e.Name) {
				named[v] = append(named[v], e.Name)
			}
		}
	}
	var out []string
	for v, endpoints := range named {
		slices.Sort(endpoints)
		who := "endpoint " + endpoints[0] + " has"
		if more := len(endpoints) - 1; more > 0 {
			who = fmt.Sprintf("endpoint %s and %d more have", endpoints[0], more)
		}
		out = append(out, fmt.Sprintf("service %s of network %s: %s this name or alias too, which is answered with the service", v.Name, networkName(t, v.Network), who))
	}
	slices.Sort(out)
	return out
}

// namesOf are all that an endpoint is found by.
func namesOf(e store.Endpoint) []string { return append([]string{e.Name}, e.Aliases...) }
