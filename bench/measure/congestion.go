package measure

import (
	"fmt"
	"os"
)

// congestion is the algorithm of iperf3's streams: cubic, the kernel's own
// choice.
const congestion = "cubic"

// setCongestion has connections of a pair begin with reno from now on. A
// machine may be set to bbr, which paces what it sends, and whose timers would
// be most of what is measured. iperf3 chooses another algorithm only once it is
// connected, and bbr's pacing stays with the connection; wrk cannot choose at
// all. Every namespace may have reno; for answers of one segment there is no
// difference to cubic.
func setCongestion(p Pair) error {
	for _, e := range []Endpoint{p.Client, p.Server} {
		err := e.Namespace.Do(func() error {
			return os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte("reno"), 0)
		})
		if err != nil {
			return fmt.Errorf("congestion control at %s: %w", e.Addr, err)
		}
	}
	return nil
}
