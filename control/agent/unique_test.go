package agent

import (
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
)

// Names that differ in case are one, and so refused twice.
func TestNamesWithoutCase(t *testing.T) {
	n := twoNetworks(t)
	n.attach("blue", "Web")
	n.host.addNamespace("c1")
	_, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "c1", Name: "wEB"})
	wantCode(t, err, api.CodeExists)
	if err == nil || !strings.Contains(err.Error(), "endpoint Web exists") {
		t.Errorf("error is %v", err)
	}
	if _, err := n.Attach(t.Context(), api.AttachRequest{Network: "red", NetNS: "c1", Name: "wEB", Aliases: []string{"Web"}}); err != nil {
		t.Errorf("on another network: %v", err)
	}
	_, err = n.NetworkCreate(t.Context(), api.NetworkRequest{Name: "BLUE"})
	wantCode(t, err, api.CodeExists)
	if _, err := n.ServiceCreate(t.Context(), api.ServiceRequest{Network: "blue", Name: "front"}); err != nil {
		t.Fatal(err)
	}
	_, err = n.ServiceCreate(t.Context(), api.ServiceRequest{Network: "blue", Name: "Front"})
	wantCode(t, err, api.CodeExists)
}

// A namespace whose name is none of DNS's gives its endpoint another one.
func TestDefaultNameIsAnswered(t *testing.T) {
	n := twoNetworks(t)
	for netns, own := range map[string]bool{"c1": true, "7": false, "tasks": false, "a..b": false, "_http": false} {
		if e := n.attach("blue", netns); (e.Name == netns) != own {
			t.Errorf("the endpoint of namespace %s is called %s", netns, e.Name)
		}
	}
}

// twoNetworks is a node with the networks blue and red, which has both families.
func twoNetworks(t *testing.T) *node {
	t.Helper()
	n := newLab(t, 1).nodes[0]
	n.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.0.0.0/24")})
	n.create(api.NetworkRequest{Name: "red", Subnets: prefixes("10.0.1.0/24", "fd00:1::/64")})
	return n
}
