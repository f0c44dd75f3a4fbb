package agent

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// findNetwork returns the network that ref names: by name, whole ID, or a
// prefix of the ID that fits only one. Of several with one name it is the
// oldest; the others are found by ID.
func findNetwork(t *reconcile.Tables, ref string) (store.Network, error) {
	if ref == "" {
		return store.Network{}, api.Errorf(api.CodeInvalid, "no network was named")
	}
	var byID []store.Network
	for _, n := range t.NetworksByAge() {
		if n.Name == ref {
			return n, nil
		}
		if fitsID(n.ID, ref) {
			byID = append(byID, n)
		}
	}
	switch len(byID) {
	case 0:
		return store.Network{}, api.Errorf(api.CodeNotFound, "network %q does not exist", ref)
	case 1:
		return byID[0], nil
	}
	return store.Network{}, api.Errorf(api.CodeAmbiguous, "%q fits the IDs of networks %s and %s", ref, byID[0].Name, byID[1].Name)
}

// findEndpoint returns the endpoint that ref names in the network with that
// ID, or in all networks when it is "". A name that exists on several
// networks is ambiguous.
func findEndpoint(t *reconcile.Tables, network, ref string) (store.Endpoint, error) {
	if ref == "" {
		return store.Endpoint{}, api.Errorf(api.CodeInvalid, "no endpoint was named")
	}
	var byName, byID []store.Endpoint
	for _, e := range t.EndpointsByAge(network) {
		switch {
		case e.Name == ref:
			// Of two with one name in one network the older has it.
			if !slices.ContainsFunc(byName, func(o store.Endpoint) bool { return o.Network == e.Network }) {
				byName = append(byName, e)
			}
		case fitsID(e.ID, ref):
			byID = append(byID, e)
		}
	}
	found := byName
	if len(found) == 0 {
		found = byID
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0 && network != "":
		return store.Endpoint{}, api.Errorf(api.CodeNotFound, "endpoint %q does not exist on network %s", ref, networkName(t, network))
	case len(found) == 0:
		return store.Endpoint{}, api.Errorf(api.CodeNotFound, "endpoint %q does not exist", ref)
	case len(byName) > 1:
		return store.Endpoint{}, api.Errorf(api.CodeAmbiguous, "endpoint %q exists on networks %s and %s: say which with --network",
			ref, networkName(t, found[0].Network), networkName(t, found[1].Network))
	}
	return store.Endpoint{}, api.Errorf(api.CodeAmbiguous, "%q fits the IDs of endpoints %s and %s", ref, found[0].Name, found[1].Name)
}

// findService returns the service that ref names in the network with that ID, or
// in all networks when it is "". A name that exists on several networks is
// ambiguous.
func findService(t *reconcile.Tables, network, ref string) (*reconcile.Service, error) {
	if ref == "" {
		return nil, api.Errorf(api.CodeInvalid, "no service was named")
	}
	var byName, byID []*reconcile.Service
	for _, v := range t.Services {
		switch {
		case network != "" && v.Network != network:
		case v.Name == ref:
			// Of two with one name in one network the older has it.
			i := slices.IndexFunc(byName, func(o *reconcile.Service) bool { return o.Network == v.Network })
			if i < 0 {
				byName = append(byName, v)
			} else if v.OlderThan(byName[i]) {
				byName[i] = v
			}
		case fitsID(v.ID, ref):
			byID = append(byID, v)
		}
	}
	found := byName
	if len(found) == 0 {
		found = byID
	}
	slices.SortFunc(found, func(a, b *reconcile.Service) int {
		return cmp.Or(cmp.Compare(networkName(t, a.Network), networkName(t, b.Network)), cmp.Compare(a.Name, b.Name))
	})
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0 && network != "":
		return nil, api.Errorf(api.CodeNotFound, "service %q does not exist on network %s", ref, networkName(t, network))
	case len(found) == 0:
		return nil, api.Errorf(api.CodeNotFound, "service %q does not exist", ref)
	case len(byName) > 1:
		return nil, api.Errorf(api.CodeAmbiguous, "service %q exists on networks %s and %s: say which with --network",
			ref, networkName(t, found[0].Network), networkName(t, found[1].Network))
	}
	return nil, api.Errorf(api.CodeAmbiguous, "%q fits the IDs of services %s and %s", ref, found[0].Name, found[1].Name)
}

// fitsID reports whether ref is id or enough of its beginning.
func fitsID(id, ref string) bool {
	return id == ref || len(ref) >= api.MinRef && strings.HasPrefix(id, ref)
}

// networkName returns the name of a network for messages; its ID where it has
// no row.
func networkName(t *reconcile.Tables, id string) string {
	if n, ok := t.Networks[id]; ok {
		return n.Name
	}
	return id
}

// nodeName is networkName for nodes.
func nodeName(t *reconcile.Tables, id string) string {
	if n, ok := t.Nodes[id]; ok {
		return n.Name
	}
	return id
}
