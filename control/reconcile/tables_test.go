package reconcile

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/store"
)

func TestReader(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{Owner: store.OwnerOf})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func(table, key string, value any) {
		t.Helper()
		if _, err := s.Put(table, key, value); err != nil {
			t.Fatal(err)
		}
	}
	put(store.TableNetwork, "n1", store.Network{ID: "n1", Name: "blue", VNI: 4096})
	put(store.TableEndpoint, "e1", store.Endpoint{ID: "e1", Name: "web", Network: "n1", Node: s.NodeID()})
	put(store.TableNode, s.NodeID(), map[string]any{"id": 7})

	var r Reader
	first := r.Read(s.Snapshot())
	if first.Version != s.Snapshot().Version() || first.Networks["n1"].Name != "blue" || first.Endpoints["e1"].Network != "n1" {
		t.Errorf("tables are %+v", first)
	}
	if len(first.Nodes) != 0 || len(first.Alarms) != 1 || !strings.Contains(first.Alarms[0].Text, s.NodeID()) {
		t.Errorf("a row that cannot be read: nodes %v, alarms %v", first.Nodes, first.Alarms)
	}

	put(store.TableNetwork, "n1", store.Network{ID: "n1", Name: "green", VNI: 4096})
	put(store.TableNode, s.NodeID(), store.Node{ID: s.NodeID(), Name: "host"})
	if _, err := s.Delete(store.TableEndpoint, "e1"); err != nil {
		t.Fatal(err)
	}
	second := r.Read(s.Snapshot())
	if second.Networks["n1"].Name != "green" || len(second.Endpoints) != 0 || len(second.Nodes) != 1 || len(second.Alarms) != 0 {
		t.Errorf("tables after changes are %+v", second)
	}
	if len(r.endpoints.known) != 0 {
		t.Errorf("rows that are gone are remembered: %v", r.endpoints.known)
	}
	if first.Networks["n1"].Name != "blue" || len(first.Endpoints) != 1 {
		t.Errorf("the tables that were read before have changed: %+v", first)
	}
}

func TestEndpointsOf(t *testing.T) {
	w := newWorld()
	w.endpoint("b", "blue", "1", "02:00:00:00:00:0b", "10.0.0.3/24")
	w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
	w.endpoint("c", "blue", "2", "02:00:00:00:00:0c", "10.0.0.4/24")
	var got []string
	for _, e := range w.EndpointsOf("1") {
		got = append(got, e.Name)
	}
	// The world makes each younger than the one before.
	if want := []string{"b", "a"}; !slices.Equal(got, want) {
		t.Errorf("endpoints of node 1: %v, want %v", got, want)
	}
}
