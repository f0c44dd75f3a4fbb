package measure

import (
	"fmt"
	"os"
)

// congestion is the algorithm of iperf3's streams: cubic, the kernel's own
// choice.
const congestion = "cubic"

// setCongestion has connections of e begin with reno from now on. A machine
// may be set to bbr, which paces what it sends, and whose timers would be most
// of what is measured. iperf3 chooses another algorithm only once it is
// connected, and bbr's pacing stays with the connection; wrk cannot choose at
// all. Every namespace may have reno; for answers of one segment there is no
// difference to cubic.
func setCongestion(e Endpoint) error {
	return e.Namespace.Do(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte("reno"), 0); err != nil {
			return fmt.Errorf("congestion control at %s: %w", e.Addr, err)
		}
		return nil
	})
}
