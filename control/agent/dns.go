package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/api"
	ovldns "github.com/ovlnet/ovl/control/dns"
	"github.com/ovlnet/ovl/control/dns/zone"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// DNS asks for a name as an endpoint of this host would, and says out of which rows
// the answer is.
func (a *Agent) DNS(ctx context.Context, r api.DNSRequest) (api.DNSReport, error) {
	if err := r.Validate(); err != nil {
		return api.DNSReport{}, err
	}
	t := a.tables()
	n, err := findNetwork(t, r.Network)
	if err != nil {
		return api.DNSReport{}, err
	}
	from, err := a.whoAsks(t, n, r.From)
	if err != nil {
		return api.DNSReport{}, err
	}
	gateways := gatewaysOf(n, from)
	if len(gateways) == 0 || !a.answersFor(n) {
		return api.DNSReport{}, api.Errorf(api.CodeUnsupported, "names of network %s are not answered on this host: see `ovlctl status`", n.Name)
	}
	name, types, err := asked(r)
	if err != nil {
		return api.DNSReport{}, err
	}
	d := api.DNSReport{Name: r.Name, Network: n.Name, NetworkID: n.ID, Server: gateways[0], From: from.Name}
	for _, qtype := range types {
		m, result, err := a.naming.server.Ask(ctx, n.ID, from.Addrs[0].Addr(), name, qtype)
		if err != nil {
			return api.DNSReport{}, err
		}
		d.Questions = append(d.Questions, dnsQuestion(m, result))
	}
	v := a.look()
	networks := v.NetworksOf(n.ID, &from)
	for _, n := range networks {
		d.Networks = append(d.Networks, n.Name)
	}
	d.Sources = sources(v, networks, name)
	return d, nil
}

// whoAsks returns the endpoint of this host that ref names, or that was attached to
// the network first.
func (a *Agent) whoAsks(t *reconcile.Tables, n store.Network, ref string) (store.Endpoint, error) {
	if ref != "" {
		e, err := findEndpoint(t, n.ID, ref)
		if err == nil && e.Node != a.self.ID {
			err = api.Errorf(api.CodeElsewhere, "endpoint %s is on node %s: ask there", e.Name, nodeName(t, e.Node))
		}
		return e, err
	}
	for _, e := range t.EndpointsOf(a.self.ID) {
		if e.Network == n.ID {
			return e, nil
		}
	}
	return store.Endpoint{}, api.Errorf(api.CodeElsewhere, "network %s has no endpoint on this host: ask on one that has", n.Name)
}

// asked returns what a request asks DNS for.
func asked(r api.DNSRequest) (name string, types []uint16, err error) {
	name, types = r.Name, []uint16{dns.TypeA, dns.TypeAAAA}
	if addr, err := netip.ParseAddr(r.Name); err == nil {
		types = []uint16{dns.TypePTR}
		if name, err = dns.ReverseAddr(addr.WithZone("").String()); err != nil {
			return "", nil, api.Errorf(api.CodeInvalid, "%w", err)
		}
	}
	if _, ok := dns.IsDomainName(name); !ok {
		return "", nil, api.Errorf(api.CodeInvalid, "%q is none of DNS's names: labels have 1 to 63 bytes", r.Name)
	}
	if r.Type != "" {
		qtype, known := dns.StringToType[strings.ToUpper(r.Type)]
		if !known {
			return "", nil, api.Errorf(api.CodeInvalid, "record type %q is none: A, AAAA, SRV and PTR are answered here", r.Type)
		}
		types = []uint16{qtype}
	}
	return name, types, nil
}

// dnsQuestion returns a question and its answer as `ovlctl dns` shows them.
func dnsQuestion(m *dns.Msg, result ovldns.Result) api.DNSQuestion {
	q := api.DNSQuestion{
		Name: m.Question[0].Name, Type: dns.TypeToString[m.Question[0].Qtype],
		Status: dns.RcodeToString[m.Rcode], Result: result.String(), Records: []api.DNSRecord{},
	}
	for _, r := range m.Answer {
		h := r.Header()
		q.Records = append(q.Records, api.DNSRecord{
			Name: h.Name, Type: dns.TypeToString[h.Rrtype], TTL: h.Ttl, Data: strings.TrimPrefix(r.String(), h.String()),
		})
	}
	return q
}

// sources returns the rows that a name leads to, in the networks in which it is looked
// for; the first one where it is something answers.
func sources(v *zone.View, networks []store.Network, name string) []api.DNSSource {
	out := []api.DNSSource{}
	found := ""
	for _, n := range networks {
		x, _ := v.Explain(n.ID, name)
		for _, r := range x.Rows {
			s := api.DNSSource{
				Kind: r.Table, Name: r.Name, ID: r.ID, Network: n.Name, Node: r.Node, Addresses: orNone(r.Addrs), Weight: int(r.Weight),
				Answered: r.WhyNot == "", Reason: r.WhyNot,
			}
			if s.Answered && found != "" {
				s.Answered, s.Reason = false, "network "+found+" has the name, and comes first"
			}
			out = append(out, s)
		}
		if k := x.Answer.Kind; found == "" && k != zone.Outside && k != zone.Nothing {
			found = n.Name
		}
	}
	return out
}

// dnsStatus says what this host has answered; nil if it answers for no network.
func (a *Agent) dnsStatus(t *reconcile.Tables) *api.DNSStatus {
	out := &api.DNSStatus{Networks: []string{}, Resolvers: orNone(a.resolvers.list()), Results: make(map[string]api.DNSResult)}
	for _, n := range t.Networks {
		if a.answersFor(n) {
			out.Networks = append(out.Networks, n.Name)
		}
	}
	if len(out.Networks) == 0 {
		return nil
	}
	slices.Sort(out.Networks)
	s := a.naming.server.Stats()
	out.Connections, out.Outstanding, out.Cached = s.Connections, s.Outstanding, s.Cached
	for _, b := range ovldns.Bounds {
		out.Bounds = append(out.Bounds, b.Microseconds())
	}
	for _, r := range s.Results {
		out.Results[r.Result.String()] = api.DNSResult{Queries: r.Queries, Microseconds: uint64(r.Took.Microseconds()), Buckets: r.Buckets}
	}
	return out
}
