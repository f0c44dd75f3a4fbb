package measure

import (
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }

func TestUnreachableIsAnError(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	client, nobody := lab.Hosts[0], lab.Hosts[1].Addr.Next()
	pair := Pair{
		Client: Endpoint{Namespace: client.Namespace, Addr: client.Addr},
		Server: Endpoint{Namespace: lab.Hosts[1].Namespace, Addr: nobody},
	}
	if err := WaitReachable(t.Context(), pair); !matches(err, "does not answer") {
		t.Errorf("echo to nobody: %v", err)
	}
	if _, err := Packets(64)(t.Context(), pair, 300*time.Millisecond); err == nil {
		t.Error("packets to nobody were counted")
	}
}
