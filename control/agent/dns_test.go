package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
)

// answering has the agent's own server of names answer `ovlctl dns`.
func (n *node) answering(t *testing.T) {
	t.Helper()
	n.names.real = n.newNameServer()
	t.Cleanup(func() {
		if err := n.names.real.Close(); err != nil {
			t.Error(err)
		}
	})
}

// said writes a report in a line: questions with their answers, then rows.
func said(d api.DNSReport) string {
	var out []string
	for _, q := range d.Questions {
		line := q.Name + " " + q.Type + " " + q.Status + " " + q.Result
		for _, r := range q.Records {
			line += fmt.Sprintf(" [%s %s %d %s]", r.Name, r.Type, r.TTL, r.Data)
		}
		out = append(out, line)
	}
	for _, s := range d.Sources {
		line := s.Kind + " " + s.Name + " of " + s.Network
		if s.Node != "" {
			line += " on " + s.Node
		}
		line += " " + fmt.Sprint(s.Addresses)
		if s.Reason != "" {
			line += " not: " + s.Reason
		}
		if s.Answered != (s.Reason == "") {
			line += " ?"
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

func TestDNS(t *testing.T) {
	l := newLab(t, 2)
	n, other := l.nodes[0], l.nodes[1]
	n.answering(t)
	n.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.0.0.0/24")})
	n.create(api.NetworkRequest{Name: "red", Subnets: prefixes("10.0.1.0/24", "fd00:1::/64")})
	n.attach("blue", "c1") // 10.0.0.2
	n.attachAs(t, api.AttachRequest{Network: "red", NetNS: "c1", IfName: "eth1", Name: "c1r"})
	n.attach("blue", "alone")
	if _, err := n.ServiceCreate(t.Context(), api.ServiceRequest{Network: "blue", Name: "web"}); err != nil { // 10.0.0.4
		t.Fatal(err)
	}
	far := other.attach("blue", "far") // 10.0.0.5
	other.host.addNamespace("x")
	if _, err := other.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "x", Name: "back", Services: []string{"web"}, Aliases: []string{"Web", "c1r"}}); err != nil {
		t.Fatal(err)
	}
	l.eventually("host1 knows of all", func() bool { return len(n.tables().Endpoints) == 5 })
	for _, c := range []struct {
		request api.DNSRequest
		want    string
	}{
		{
			api.DNSRequest{Name: "far", Network: "blue"},
			"far. A NOERROR answered [far. A 1 10.0.0.5]; far. AAAA NOERROR negative; endpoint far of blue on host2 [10.0.0.5]",
		},
		{
			api.DNSRequest{Name: "Web.Blue", Network: "blue", Type: "a"},
			"Web.Blue. A NOERROR answered [Web.Blue. A 5 10.0.0.4]; service web of blue [10.0.0.4]; endpoint back of blue on host2 [10.0.0.6] not: the service web has this name; " +
				"backend back of blue on host2 [10.0.0.6] not: the service's VIP leads to it",
		},
		{api.DNSRequest{Name: "10.0.0.5", Network: "blue"}, "5.0.0.10.in-addr.arpa. PTR NOERROR answered [5.0.0.10.in-addr.arpa. PTR 1 far.blue.]; endpoint far of blue on host2 [10.0.0.5]"},
		{api.DNSRequest{Name: "nobody", Network: "blue", Type: "A"}, "nobody. A NXDOMAIN negative"},
		{api.DNSRequest{Name: "www.example", Network: "blue", Type: "A"}, "www.example. A SERVFAIL failed"},
		// c1 is on red, too, and asks in blue first.
		{
			api.DNSRequest{Name: "c1r", Network: "blue", Type: "A"},
			"c1r. A NOERROR answered [c1r. A 1 10.0.0.6]; endpoint back of blue on host2 [10.0.0.6]; " +
				"endpoint c1r of red on host1 [10.0.1.2 fd00:1::2] not: network blue has the name, and comes first",
		},
		{
			api.DNSRequest{Name: "c1r", Network: "red", From: "c1r", Type: "AAAA"},
			"c1r. AAAA NOERROR answered [c1r. AAAA 1 fd00:1::2]; endpoint c1r of red on host1 [10.0.1.2 fd00:1::2]; " +
				"endpoint back of blue on host2 [10.0.0.6] not: network red has the name, and comes first",
		},
		{api.DNSRequest{Name: "c1r.red", Network: "blue", From: "alone", Type: "A"}, "c1r.red. A NXDOMAIN negative"},
		{
			api.DNSRequest{Name: "c1r.red", Network: "blue", From: "c1", Type: "A"},
			"c1r.red. A NOERROR answered [c1r.red. A 1 10.0.1.2]; endpoint c1r of red on host1 [10.0.1.2 fd00:1::2]",
		},
	} {
		d, err := n.DNS(t.Context(), c.request)
		if err != nil {
			t.Errorf("%+v: %v", c.request, err)
			continue
		}
		if got := said(d); got != c.want {
			t.Errorf("%+v:\n%s\nwant\n%s", c.request, got, c.want)
		}
	}
	d, err := n.DNS(t.Context(), api.DNSRequest{Name: "far", Network: "blue"})
	if err != nil || d.From != "c1" || d.Server.String() != "10.0.0.1" || fmt.Sprint(d.Networks) != "[blue red]" {
		t.Errorf("asked were %+v, %v", d, err)
	}
	for _, c := range []struct {
		node    *node
		request api.DNSRequest
		code    api.Code
	}{
		{n, api.DNSRequest{Name: "far", Network: "green"}, api.CodeNotFound},
		{n, api.DNSRequest{Name: "far", Network: "blue", From: "nobody"}, api.CodeNotFound},
		{n, api.DNSRequest{Name: "far", Network: "blue", From: far.Name}, api.CodeElsewhere},
		{other, api.DNSRequest{Name: "far", Network: "red"}, api.CodeElsewhere},
		{n, api.DNSRequest{Name: "far", Network: "blue", Type: "NONE7"}, api.CodeInvalid},
		{n, api.DNSRequest{Name: strings.Repeat("x", 64), Network: "blue"}, api.CodeInvalid},
		{n, api.DNSRequest{Name: "a..b", Network: "blue"}, api.CodeInvalid},
		{n, api.DNSRequest{Name: "münchen", Network: "blue"}, api.CodeInvalid},
	} {
		_, err := c.node.DNS(t.Context(), c.request)
		if api.CodeOf(err) != c.code {
			t.Errorf("%+v: %v, want code %s", c.request, err, c.code)
		}
	}
}

// Status has a part about names where any are answered.
func TestStatusOfDNS(t *testing.T) {
	n := twoNetworks(t)
	status := func() *api.DNSStatus {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.DNS
	}
	if s := status(); s != nil {
		t.Errorf("names are answered for nobody: %+v", s)
	}
	n.answering(t)
	n.attach("red", "c1")
	n.attach("blue", "c2")
	s := status()
	if s == nil || fmt.Sprint(s.Networks) != "[blue red]" || len(s.Results) != 8 || len(s.Bounds) == 0 {
		t.Fatalf("status is %+v", s)
	}
	for name, r := range s.Results {
		if r.Queries > 0 || len(r.Buckets) != len(s.Bounds)+1 {
			t.Errorf("%s is %+v", name, r)
		}
	}
}
