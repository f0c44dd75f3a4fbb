package main

import (
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
)

// TestEndpointElsewhere: no zeros where there is nothing to know.
func TestEndpointElsewhere(t *testing.T) {
	var b strings.Builder
	endpointTable(&b, api.Endpoint{Name: "web", Node: "host-b"})
	if s := b.String(); !strings.Contains(s, "counted on host-b only") || strings.Contains(s, "Sent:") {
		t.Errorf("an endpoint of another host:\n%s", s)
	}
}
