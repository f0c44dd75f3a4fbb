package api_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/api/apitest"
)

// TestServiceRoundTrip does all that there is to services through client, socket
// and server.
func TestServiceRoundTrip(t *testing.T) {
	fake := &apitest.Fake{}
	c := api.NewClient(serve(t, fake))
	ctx := t.Context()
	for _, name := range []string{"red", "blue"} {
		if _, err := c.NetworkCreate(ctx, api.NetworkRequest{Name: name, IPv6: true}); err != nil {
			t.Fatal(err)
		}
		made, err := c.ServiceCreate(ctx, api.ServiceRequest{
			Name: "web", Network: name, VIPs: addrs("10.0.0.99"), Ports: []api.ServicePort{{Port: 80, Target: 8080}, {Protocol: "udp", Port: 53}},
			Affinity: api.Duration(time.Minute), TableSize: 1021, Health: &api.HealthCheck{Type: api.HealthHTTP, Port: 80},
			Labels: map[string]string{"a": "b"},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []api.ServicePort{{Protocol: "tcp", Port: 80, Target: 8080}, {Protocol: "udp", Port: 53, Target: 53}}
		if len(made.VIPs) != 2 || !reflect.DeepEqual(made.Ports, want) || made.Affinity.String() != "1m0s" || made.TableSize != 1021 ||
			made.Health.Path != "/" || made.Health.Interval.String() != "2s" || made.Labels["a"] != "b" {
			t.Errorf("created %+v, health %+v", made, made.Health)
		}
	}
	if _, err := c.ServiceInspect(ctx, api.ServiceRef{Service: "web"}); api.CodeOf(err) != api.CodeAmbiguous {
		t.Errorf("a name on two networks: %v", err)
	}
	ref := api.ServiceRef{Service: "web", Network: "red"}
	if _, err := c.ServiceRemove(ctx, api.ServiceRef{Service: "web", Network: "blue"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Attach(ctx, api.AttachRequest{Network: "red", NetNS: "c1", Services: []string{"web"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Attach(ctx, api.AttachRequest{Network: "red", NetNS: "c2", Services: []string{"nix"}}); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("attach to a service that is not there: %v", err)
	}
	if _, err := c.Attach(ctx, api.AttachRequest{Network: "red", NetNS: "c2"}); err != nil {
		t.Fatal(err)
	}
	ports, affinity := []api.ServicePort{}, api.Duration(0)
	updated, err := c.ServiceUpdate(ctx, api.ServiceUpdate{
		ServiceRef: ref, Ports: &ports, Affinity: &affinity, NoHealth: true, Add: []api.ServiceMember{{Endpoint: "c2", Weight: 3}},
	})
	if err != nil || len(updated.Ports) != 0 || updated.Affinity != 0 || updated.Health != nil || len(updated.Backends) != 2 ||
		updated.Backends[1].Share != 0.75 || updated.Labels["a"] != "b" {
		t.Errorf("updated: %+v, %v", updated, err)
	}
	drained, err := c.ServiceDrain(ctx, api.ServiceDrain{ServiceRef: ref, Endpoint: "c1"})
	if err != nil || drained.Backends[0].State != api.BackendDraining || drained.Backends[1].Share != 1 {
		t.Errorf("drained: %+v, %v", drained, err)
	}
	for _, get := range []struct {
		name string
		call func(api.Backend) (any, error)
	}{
		{"ServiceList", func(b api.Backend) (any, error) { return b.ServiceList(ctx, "") }},
		{"ServiceList of one", func(b api.Backend) (any, error) { return b.ServiceList(ctx, "red") }},
		{"ServiceInspect", func(b api.Backend) (any, error) { return b.ServiceInspect(ctx, ref) }},
		{"NetworkInspect", func(b api.Backend) (any, error) { return b.NetworkInspect(ctx, "red") }},
		{"Flows", func(b api.Backend) (any, error) { return b.Flows(ctx, api.FlowsRequest{}) }},
		{"Flows of one", func(b api.Backend) (any, error) {
			return b.Flows(ctx, api.FlowsRequest{Network: "red", Service: "web", Limit: 1})
		}},
	} {
		got, err := get.call(c)
		if err != nil {
			t.Errorf("%s: %v", get.name, err)
			continue
		}
		want, _ := get.call(fake)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", get.name, got, want)
		}
	}
	if f, err := c.Flows(ctx, api.FlowsRequest{Limit: 1}); err != nil || f.Total != 2 || len(f.Flows) != 1 {
		t.Errorf("a limit of 1: %+v, %v", f, err)
	}
	updated, err = c.ServiceUpdate(ctx, api.ServiceUpdate{ServiceRef: ref, Remove: []string{"c1"}})
	if err != nil || len(updated.Backends) != 1 {
		t.Errorf("removed a backend: %+v, %v", updated, err)
	}
	if err := c.NetworkRemove(ctx, "blue"); err != nil {
		t.Error(err)
	}
}

// TestDurationText: durations are written as people write them.
func TestDurationText(t *testing.T) {
	b, err := json.Marshal(api.ServiceRequest{Name: "web", Network: "red", Affinity: api.Duration(90 * time.Second)})
	if err != nil || string(b) != `{"Name":"web","Network":"red","Affinity":"1m30s"}` {
		t.Errorf("%s, %v", b, err)
	}
	var r api.ServiceRequest
	if err := json.Unmarshal([]byte(`{"Affinity":"ten"}`), &r); err == nil || !strings.Contains(err.Error(), "not a duration") {
		t.Errorf("ten: %v", err)
	}
}

func TestServiceRequestValidate(t *testing.T) {
	many := make([]api.ServicePort, 65)
	for i := range many {
		many[i].Port = uint16(i + 1)
	}
	check := func(h api.HealthCheck) api.ServiceRequest { return api.ServiceRequest{Health: &h} }
	seconds := func(n int) api.Duration { return api.Duration(n) * api.Duration(time.Second) }
	for _, tt := range []struct {
		name string
		req  api.ServiceRequest
		want string // part of the error; empty: valid
	}{
		{"least", api.ServiceRequest{}, ""},
		{"dnsrr", api.ServiceRequest{Mode: api.ServiceDNSRR, Health: &api.HealthCheck{Type: api.HealthTCP, Port: 1}}, ""},
		{"name", api.ServiceRequest{Name: "a b"}, `service name "a b" is not`},
		{"network", api.ServiceRequest{Network: "-"}, "network name"},
		{"mode", api.ServiceRequest{Mode: "anycast"}, `mode "anycast" of service web is neither vip nor dnsrr`},
		{"dnsrr with VIP", api.ServiceRequest{Mode: api.ServiceDNSRR, VIPs: addrs("10.0.0.9")}, "cannot have VIPs in mode dnsrr"},
		{"dnsrr with ports", api.ServiceRequest{Mode: api.ServiceDNSRR, Ports: many[:1]}, "cannot have ports in mode dnsrr"},
		{"dnsrr with affinity", api.ServiceRequest{Mode: api.ServiceDNSRR, Affinity: seconds(1)}, "cannot have affinity in mode dnsrr"},
		{"dnsrr with table", api.ServiceRequest{Mode: api.ServiceDNSRR, TableSize: 1021}, "cannot have a table size in mode dnsrr"},
		{"both families", api.ServiceRequest{VIPs: addrs("10.0.0.9", "fd00::9")}, ""},
		{"two VIPs", api.ServiceRequest{VIPs: addrs("10.0.0.9", "10.0.0.8")}, "one of each address family"},
		{"group", api.ServiceRequest{VIPs: addrs("224.0.0.9")}, "not one that an endpoint can have"},
		{"sctp", api.ServiceRequest{Ports: []api.ServicePort{{Protocol: "sctp", Port: 80}}}, `protocol "sctp" of port 80 is neither tcp nor udp`},
		{"port 0", api.ServiceRequest{Ports: []api.ServicePort{{Target: 80}}}, "port 0 is not in 1..65535"},
		{"one port of two protocols", api.ServiceRequest{Ports: []api.ServicePort{{Port: 80}, {Port: 80, Protocol: "udp"}}}, ""},
		{"port twice", api.ServiceRequest{Ports: []api.ServicePort{{Port: 80}, {Port: 80, Protocol: "tcp", Target: 8080}}}, "port 80/tcp is given twice"},
		{"64 ports", api.ServiceRequest{Ports: many[:64]}, ""},
		{"65 ports", api.ServiceRequest{Ports: many}, "65 ports are too many"},
		{"affinity", api.ServiceRequest{Affinity: seconds(24 * 3600)}, ""},
		{"long affinity", api.ServiceRequest{Affinity: seconds(24*3600 + 1)}, "affinity 24h0m1s is not in whole seconds of 1s..24h0m0s"},
		{"negative affinity", api.ServiceRequest{Affinity: seconds(-1)}, "affinity -1s"},
		{"half a second", api.ServiceRequest{Affinity: api.Duration(1500 * time.Millisecond)}, "whole seconds"},
		{"table", api.ServiceRequest{TableSize: 65521}, ""},
		{"no such table", api.ServiceRequest{TableSize: 1000}, "table size 1000 is none of"},
		{"health", check(api.HealthCheck{Type: api.HealthHTTP, Port: 80, Path: "/up?x=1", Interval: seconds(5), Timeout: seconds(5), Rise: 1, Fall: 1}), ""},
		{"short interval", check(api.HealthCheck{Type: api.HealthTCP, Port: 80, Interval: seconds(1)}), ""},
		{"health type", check(api.HealthCheck{Type: "icmp", Port: 80}), `health check "icmp" is neither tcp nor http`},
		{"health port", check(api.HealthCheck{Type: api.HealthTCP}), "port 0 of the health check"},
		{"path of tcp", check(api.HealthCheck{Type: api.HealthTCP, Port: 80, Path: "/"}), "does not go with"},
		{"path", check(api.HealthCheck{Type: api.HealthHTTP, Port: 80, Path: "up"}), `path "up" of the health check`},
		{"path with a line", check(api.HealthCheck{Type: api.HealthHTTP, Port: 80, Path: "/\r\nX: y"}), "of the health check"},
		{"interval", check(api.HealthCheck{Type: api.HealthTCP, Port: 80, Interval: api.Duration(time.Millisecond)}), "interval 1ms"},
		{"time-out", check(api.HealthCheck{Type: api.HealthTCP, Port: 80, Interval: seconds(1), Timeout: seconds(2)}), "time-out 2s"},
		{"rise", check(api.HealthCheck{Type: api.HealthTCP, Port: 80, Rise: -1}), "rise -1"},
		{"fall", check(api.HealthCheck{Type: api.HealthTCP, Port: 80, Fall: 101}), "fall 101"},
		{"label", api.ServiceRequest{Labels: map[string]string{"a b": ""}}, "label key"},
	} {
		if tt.req.Name == "" {
			tt.req.Name = "web"
		}
		if tt.req.Network == "" {
			tt.req.Network = "red"
		}
		wantInvalid(t, tt.name, tt.req.Validate(), tt.want)
	}
}

func TestServiceUpdateValidate(t *testing.T) {
	ref := api.ServiceRef{Service: "web"}
	ports := []api.ServicePort{{}}
	affinity := api.Duration(1)
	labels := map[string]string{"": "x"}
	for _, tt := range []struct {
		name string
		req  interface{ Validate() error }
		want string
	}{
		{"nothing", api.ServiceUpdate{ServiceRef: ref}, ""},
		{"no service", api.ServiceUpdate{}, "service name is empty"},
		{"network", api.ServiceUpdate{ServiceRef: api.ServiceRef{Service: "web", Network: "a b"}}, "network name"},
		{"ports", api.ServiceUpdate{ServiceRef: ref, Ports: &ports}, "port 0"},
		{"affinity", api.ServiceUpdate{ServiceRef: ref, Affinity: &affinity}, "affinity 1ns"},
		{"health", api.ServiceUpdate{ServiceRef: ref, Health: &api.HealthCheck{}}, "health check"},
		{"health or not", api.ServiceUpdate{ServiceRef: ref, NoHealth: true, Health: &api.HealthCheck{Type: "tcp", Port: 1}}, "have none"},
		{"labels", api.ServiceUpdate{ServiceRef: ref, Labels: &labels}, "label key"},
		{"no endpoint", api.ServiceUpdate{ServiceRef: ref, Remove: []string{""}}, "endpoint name is empty"},
		{"both ways", api.ServiceUpdate{ServiceRef: ref, Remove: []string{"a"}, Add: []api.ServiceMember{{Endpoint: "a"}}}, "endpoint a is given twice"},
		{"many", api.ServiceUpdate{ServiceRef: ref, Remove: make([]string, 1001)}, "1001 endpoints are too many"},
		{"drain", api.ServiceDrain{ServiceRef: ref, Endpoint: "a"}, ""},
		{"drain nothing", api.ServiceDrain{ServiceRef: ref}, "endpoint name is empty"},
		{"flows", api.FlowsRequest{}, ""},
		{"flows of", api.FlowsRequest{Service: "a b"}, "service name"},
		{"flows on", api.FlowsRequest{Network: "a b"}, "network name"},
		{"limit", api.FlowsRequest{Limit: api.MaxFlows + 1}, "limit 100001"},
		{"attach", api.AttachRequest{Network: "red", PID: 1, Services: []string{"a", "a"}}, "service a is given twice"},
		{"attach to none", api.AttachRequest{Network: "red", PID: 1, Services: []string{""}}, "service name is empty"},
	} {
		wantInvalid(t, tt.name, tt.req.Validate(), tt.want)
	}
}

func wantInvalid(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want != "" && (api.CodeOf(err) != api.CodeInvalid || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v (%s), want %q", name, err, api.CodeOf(err), want)
	}
}
