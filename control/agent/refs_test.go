package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

func refTables() *reconcile.Tables {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	return &reconcile.Tables{
		Networks: map[string]store.Network{
			"aaaa1111": {ID: "aaaa1111", Name: "blue", Created: at(2)},
			"aaaa2222": {ID: "aaaa2222", Name: "blue", Created: at(1)},
			"bbbb3333": {ID: "bbbb3333", Name: "red", Created: at(3)},
		},
		Endpoints: map[string]store.Endpoint{
			"cccc1111": {ID: "cccc1111", Name: "web", Network: "aaaa2222", Created: at(2)},
			"cccc2222": {ID: "cccc2222", Name: "web", Network: "bbbb3333", Created: at(3)},
			"cccc3333": {ID: "cccc3333", Name: "web", Network: "aaaa2222", Created: at(1)},
			"dddd4444": {ID: "dddd4444", Name: "db", Network: "bbbb3333", Created: at(4)},
		},
	}
}

func TestFindNetwork(t *testing.T) {
	for _, c := range []struct {
		ref, id string
		code    api.Code
	}{
		{"blue", "aaaa2222", ""}, // the older of two
		{"red", "bbbb3333", ""},
		{"aaaa1111", "aaaa1111", ""},
		{"aaaa1", "aaaa1111", ""},
		{"aaaa", "", api.CodeAmbiguous},
		{"bbb", "", api.CodeNotFound}, // too short for an ID
		{"green", "", api.CodeNotFound},
		{"", "", api.CodeInvalid},
	} {
		n, err := findNetwork(refTables(), c.ref)
		if n.ID != c.id || api.CodeOf(err) != c.code {
			t.Errorf("%q is network %q, %v; want %q, %q", c.ref, n.ID, err, c.id, c.code)
		}
	}
}

func TestFindEndpoint(t *testing.T) {
	for _, c := range []struct {
		network, ref, id string
		code             api.Code
		text             string
	}{
		{"", "db", "dddd4444", "", ""},
		{"", "web", "", api.CodeAmbiguous, "blue and red"},
		{"aaaa2222", "web", "cccc3333", "", ""},
		{"bbbb3333", "web", "cccc2222", "", ""},
		{"aaaa2222", "db", "", api.CodeNotFound, "network blue"},
		{"", "cccc1", "cccc1111", "", ""},
		{"", "cccc", "", api.CodeAmbiguous, "IDs"},
		{"", "dddd4444", "dddd4444", "", ""},
		{"", "nobody", "", api.CodeNotFound, "nobody"},
	} {
		e, err := findEndpoint(refTables(), c.network, c.ref)
		if e.ID != c.id || api.CodeOf(err) != c.code {
			t.Errorf("%q in %q is endpoint %q, %v; want %q, %q", c.ref, c.network, e.ID, err, c.id, c.code)
		}
		if err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: %q does not say %q", c.ref, err, c.text)
		}
	}
}

func TestDeviceName(t *testing.T) {
	id := newID()
	if name := deviceName(id); len(name) > 15 || !isDeviceName(name) {
		t.Errorf("device of %s is %q", id, name)
	}
	for _, other := range []string{"ovl-vxlan", "ovl", "ovl12345", "ovl12345abcdeF", "ovlabcdefghij", "eth0"} {
		if isDeviceName(other) {
			t.Errorf("%q counts as a device of ours", other)
		}
	}
	if m := derivedMAC(id); !m.IsUnicast() || m[0] != 2 || m != derivedMAC(id) || m == derivedMAC(newID()) {
		t.Errorf("derived MAC is %v", m)
	}
}
