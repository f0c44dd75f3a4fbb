package store_test

import (
	"encoding/json"
	"testing"

	"github.com/ovlnet/ovl/control/store"
)

func TestOwnerOf(t *testing.T) {
	for _, c := range []struct {
		table string
		value any
		want  string
	}{
		{store.TableNode, store.Node{ID: nodeA}, "k/e"},
		{store.TableEndpoint, store.Endpoint{Node: nodeA}, nodeA},
		{store.TableHealth, store.Health{Node: nodeA}, nodeA},
		{store.TableHealth, store.Health{}, "nobody"},
		{store.TableNetwork, store.Network{}, ""},
		{store.TableService, store.Service{}, ""},
		{store.TableBackend, store.Backend{Node: nodeA}, ""},
	} {
		b, err := json.Marshal(c.value)
		if err != nil {
			t.Fatal(err)
		}
		if got := store.OwnerOf(store.Row{Table: c.table, Key: "k/e", Value: b}); got != c.want {
			t.Errorf("%s %s belongs to %q, want %q", c.table, b, got, c.want)
		}
	}
}

func TestBackendKey(t *testing.T) {
	if v, e, ok := store.SplitBackendKey(store.BackendKey("v", "e")); !ok || v != "v" || e != "e" {
		t.Errorf("%q %q %v", v, e, ok)
	}
	for _, key := range []string{"", "v", "v/", "/e", "v/e/f"} {
		if _, _, ok := store.SplitBackendKey(key); ok {
			t.Errorf("%q is taken for a key", key)
		}
	}
}
