package measure

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// A change that is seen late took long, however soon the call returned.
func TestChanges(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	p := Pair{
		Client: Endpoint{Namespace: lab.Hosts[0].Namespace, Addr: lab.Hosts[0].Addr},
		Server: Endpoint{Namespace: lab.Hosts[1].Namespace, Addr: lab.Hosts[1].Addr},
	}
	nft := func(script string) error {
		cmd := lab.Hosts[1].Command(context.Background(), "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	}
	if err := nft("table ip test {\nchain input {\ntype filter hook input priority 0; policy accept;\n}\n}\n"); err != nil {
		t.Fatal(err)
	}
	set := func(there bool) error {
		if there {
			return nft("flush chain ip test input\n")
		}
		return nft(fmt.Sprintf("add rule ip test input tcp dport %d reject with tcp reset\n", responderPort))
	}
	const late = 100 * time.Millisecond
	failed := make(chan error, 2*changes)
	values, err := Changes(t.Context(), p, func(_ context.Context, undo bool) error {
		time.AfterFunc(late, func() { failed <- set(undo) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * changes {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if ms := values["time"]; ms < float64(late.Milliseconds()) {
		t.Errorf("what happens after %v took %v ms", late, ms)
	}
	if _, err := Changes(t.Context(), p, func(ctx context.Context, _ bool) error { return context.Canceled }); err == nil {
		t.Error("a change that fails has a time")
	}
}
