package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// resolve is the argument that makes this binary look up names as any Go program
// does, without the C library: questions follow, as "TYPE NAME", or "PTR ADDRESS".
const resolve = "resolve"

// resolved is what came of one question.
type resolved struct {
	Values []string
	// None: there is no such name, or nothing of that type.
	None bool
	// Error is any other.
	Error string
}

// resolveAll prints what comes of each question, in their order.
func resolveAll(out io.Writer, questions []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var all []resolved
	for _, q := range questions {
		qtype, name, _ := strings.Cut(q, " ")
		found, err := resolveOne(ctx, qtype, name)
		r := resolved{Values: found}
		var dnsErr *net.DNSError
		switch {
		case errors.As(err, &dnsErr) && dnsErr.IsNotFound:
			r.None = true
		case err != nil:
			r.Error = err.Error()
		}
		all = append(all, r)
	}
	return json.NewEncoder(out).Encode(all)
}

func resolveOne(ctx context.Context, qtype, name string) (found []string, err error) {
	r := &net.Resolver{PreferGo: true}
	switch qtype {
	case "A", "AAAA":
		network := map[string]string{"A": "ip4", "AAAA": "ip6"}[qtype]
		addrs, err := r.LookupNetIP(ctx, network, name)
		for _, a := range addrs {
			found = append(found, a.Unmap().String())
		}
		return found, err
	case "PTR":
		return r.LookupAddr(ctx, name)
	case "SRV":
		// The name as it is.
		_, all, err := r.LookupSRV(ctx, "", "", name)
		for _, s := range all {
			found = append(found, srvValue(s.Target, s.Port))
		}
		return found, err
	}
	return nil, fmt.Errorf("no type %q", qtype)
}
