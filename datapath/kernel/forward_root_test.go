package kernel

import (
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

const testVNI = 4096

// hooksToTest are both ways of attaching; the kernel that the tests run on has
// both.
var hooksToTest = map[string]Hook{"tcx": HookTCX, "clsact": HookClsact}

// hooksOn leaves out, over IPv6, what differs in nothing that a hook does.
func hooksOn(o linktest.Options) map[string]Hook {
	if o.IPv6 {
		return map[string]Hook{"any": HookAuto}
	}
	return hooksToTest
}

func TestPingFirstPacket(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 3}, testPingFirstPacket)
}

func testPingFirstPacket(t *testing.T, o linktest.Options) {
	for name, hook := range hooksOn(o) {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, o, hook)
			eps := []*bedEndpoint{
				b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64"),
				b.attach(0, testVNI, "10.0.0.3/24", "fd00::3/64"),
				b.attach(1, testVNI, "10.0.0.4/24", "fd00::4/64"),
				b.attach(2, testVNI, "10.0.0.5/24", "fd00::5/64"),
			}
			b.connect()
			for _, from := range eps {
				for _, to := range eps {
					if from == to {
						continue
					}
					for _, a := range to.port.Addrs {
						run(t, from.Namespace, "ping", "-n", "-c", "2", "-l", "2", "-W", "2", a.String())
					}
				}
			}
		})
	}
}
