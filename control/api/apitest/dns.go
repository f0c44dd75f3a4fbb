package apitest

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovlnet/ovl/control/api"
)

// DNS implements api.Backend. It knows the names of services and endpoints, of
// records A and AAAA, and answers all that it finds.
func (f *Fake) DNS(_ context.Context, r api.DNSRequest) (api.DNSReport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.network(r.Network)
	if err != nil {
		return api.DNSReport{}, err
	}
	d := api.DNSReport{Name: r.Name, Network: n.Name, NetworkID: n.id, Server: n.Subnets[0].Addr().Next()}
	on := f.on(n.id)
	if r.From != "" {
		e, err := f.endpoint(r.From, n.id)
		if err != nil {
			return api.DNSReport{}, err
		}
		on = []api.Endpoint{e}
	}
	if len(on) == 0 {
		return api.DNSReport{}, api.Errorf(api.CodeElsewhere, "network %s has no endpoint on this host", n.Name)
	}
	d.From, d.Networks = on[0].Name, []string{n.Name}
	for _, v := range f.of(n.id) {
		if v.Name == r.Name {
			d.Sources = append(d.Sources, api.DNSSource{
				Kind: "service", Name: v.Name, ID: v.ID, Network: n.Name, Addresses: v.VIPs, Answered: true,
			})
		}
	}
	served := len(d.Sources) > 0
	for _, e := range f.on(n.id) {
		if e.Name != r.Name {
			continue
		}
		s := api.DNSSource{Kind: "endpoint", Name: e.Name, ID: e.ID, Network: n.Name, Node: e.Node, Answered: !served}
		for _, p := range e.Addresses {
			s.Addresses = append(s.Addresses, p.Addr())
		}
		if served {
			s.Reason = "the service " + r.Name + " has this name"
		}
		d.Sources = append(d.Sources, s)
	}
	for _, typ := range strings.Split(cmp.Or(strings.ToUpper(r.Type), "A,AAAA"), ",") {
		d.Questions = append(d.Questions, question(d.Sources, r.Name, typ))
	}
	return d, nil
}

func question(sources []api.DNSSource, name, typ string) api.DNSQuestion {
	q := api.DNSQuestion{Name: name + ".", Type: typ, Status: "NOERROR", Result: "answered"}
	if len(sources) == 0 {
		q.Status, q.Result = "NXDOMAIN", "negative"
	}
	for _, s := range sources {
		ofType := func(a netip.Addr) bool { return a.Is4() && typ == "A" || a.Is6() && typ == "AAAA" }
		for _, a := range s.Addresses {
			if s.Answered && ofType(a) {
				q.Records = append(q.Records, api.DNSRecord{Name: q.Name, Type: typ, TTL: 1, Data: a.String()})
			}
		}
	}
	slices.SortFunc(q.Records, func(x, y api.DNSRecord) int { return cmp.Compare(x.Data, y.Data) })
	return q
}
