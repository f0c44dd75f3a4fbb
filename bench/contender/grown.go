package contender

import (
	"net/netip"
	"strconv"
)

// grownSubnet is large enough for the endpoints of every size.
var grownSubnet = netip.MustParsePrefix("10.0.0.0/14")

// Growing returns contenders of several sizes, to stand side by side: each
// name with each of sizes as the number of remote endpoints in its tables,
// beside the two that are measured. The remotes are on the lab's third host.
// They are called NAME/REMOTES.
func Growing(o Options, sizes []int) []Contender {
	var out []Contender
	for _, n := range sizes {
		out = append(out, &kernelVXLAN{grows: true, remotes: n})
	}
	for i, n := range sizes {
		out = append(out, &ovl{binary: o.Ovlctl, first: 2*i + 1, grows: true, remotes: n})
	}
	return out
}

// grownName is the name of a contender, with its size if it has one.
func grownName(name string, grows bool, remotes int) string {
	if !grows {
		return name
	}
	return name + "/" + strconv.Itoa(remotes)
}
