package contender

import (
	"fmt"
	"time"

	"github.com/ovlnet/ovl/bench/crowd"
	"github.com/ovlnet/ovl/bench/measure"
)

// Named is a Contender that answers for names on the host of its pair's client.
type Named interface {
	Contender
	// Names is what there is to ask, and whom.
	Names() measure.Names
}

// Naming returns contenders that answer for that many names, to stand side by side.
func Naming(o Options, names int) []Contender {
	return []Contender{
		&dnsmasq{names: names},
		&ovl{binary: o.Ovlctl, first: 1, named: true, remotes: names},
		&ovl{name: "ovl-userspace", binary: o.Ovlctl, datapath: "userspace", first: 3, named: true, remotes: names},
	}
}

// NamesBaseline is whom the others are held against.
const NamesBaseline = "dnsmasq"

// crowdNames are those of a crowd's endpoints.
func crowdNames(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = crowd.EndpointName(i)
	}
	return out
}

// cpuOf tells the time that a program has used so far. The daemon is known once it
// has started.
func cpuOf(d *daemon) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		used, err := processCPU(d.cmd.Process.Pid)
		if err != nil {
			return 0, fmt.Errorf("CPU time of who answers: %w", err)
		}
		return used, nil
	}
}
