package contender

import (
	"context"
	"net/netip"
	"strconv"
)

// Balanced is a Contender with services.
type Balanced interface {
	Contender
	// VIP is the address of a service with one backend, the pair's server, to
	// be sent to at any of the ports in measure.Ports.
	VIP() netip.Addr
}

// Drainer is a Balanced whose services change while it runs.
type Drainer interface {
	Balanced
	// Drain keeps new flows to the VIP from its only backend, or with undo
	// gives it new flows again, by the means that its users have. A packet
	// may still go the old way when it has returned.
	Drain(ctx context.Context, undo bool) error
}

// Balancing returns contenders with services, to stand side by side: each name
// with each of sizes as the number of services in its tables, one of which is
// measured; the userspace datapath and the previous ovlctl with the last of sizes only.
// They are called NAME/SERVICES.
func Balancing(o Options, sizes []int) []Contender {
	var out []Contender
	for _, n := range sizes {
		out = append(out, &nftables{services: n})
	}
	first := 1
	add := func(name, binary, datapath string, services int) {
		out = append(out, &ovl{name: name, binary: binary, datapath: datapath, first: first, services: services})
		first += 2
	}
	for _, n := range sizes {
		add("", o.Ovlctl, "kernel", n)
	}
	last := sizes[len(sizes)-1]
	add("ovl-userspace", o.Ovlctl, "userspace", last)
	if o.Previous != "" {
		add("previous", o.Previous, "kernel", last)
	}
	return out
}

// balancedName is the name of a contender with that many services.
func balancedName(name string, services int) string { return name + "-vip/" + strconv.Itoa(services) }
