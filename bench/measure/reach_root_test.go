package measure

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

func TestFirstReply(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	p := Pair{
		Client: Endpoint{Namespace: lab.Hosts[0].Namespace, Addr: lab.Hosts[0].Addr},
		Server: Endpoint{Namespace: lab.Hosts[1].Namespace, Addr: lab.Hosts[1].Addr},
	}
	if err := FirstReply(t.Context(), p, 2*time.Second); err != nil {
		t.Error(err)
	}
	p.Server.Addr = netip.MustParseAddr("192.0.2.99") // nobody
	start := time.Now()
	if err := FirstReply(t.Context(), p, 300*time.Millisecond); err == nil {
		t.Error("an address that nobody has answers")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it gave up only after %v", took)
	}
}
