package userspace

import (
	"errors"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link"
)

// TestApplyRepairs: the same State finds nothing to do, and puts right what
// somebody else has changed.
func TestApplyRepairs(t *testing.T) {
	b := newBed(t)
	b.apply(t)
	b.ping(t)
	b.apply(t)
	if drift := b.stats(t).Drift; drift != 0 {
		t.Errorf("drift of %d where nothing has changed", drift)
	}
	b.on(t, func() error { return link.RemoveRedirect(portA) })
	b.apply(t)
	if drift := b.stats(t).Drift; drift != 1 {
		t.Errorf("drift of %d, want 1", drift)
	}
	b.ping(t)
	b.on(t, func() error { return link.RemoveTAP(tapFor(portB)) })
	for end := time.Now().Add(5 * time.Second); !b.dp.ports[portB].failed.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a TAP that is gone is not noticed")
		}
	}
	b.apply(t)
	b.ping(t)
}

// TestApplyGoesOn: a port without a device fails alone, and by name.
func TestApplyGoesOn(t *testing.T) {
	b := newBed(t)
	missing := datapath.Port{Device: "port-none", MAC: mac("02:00:00:00:00:0d")}
	b.state.Networks[0].Ports = append(b.state.Networks[0].Ports, missing)
	b.state.Sort()
	err := b.Do(func() error { return b.dp.Apply(t.Context(), b.state) })
	var object *datapath.ObjectError
	if !errors.Is(err, datapath.ErrNoDevice) || !errors.As(err, &object) || object.Object != datapath.PortObject("port-none") {
		t.Errorf("error %v, want one about port-none that wraps ErrNoDevice", err)
	}
	b.ping(t)
}

// TestApplyRemoves: what a State has no more is gone, and counted still.
func TestApplyRemoves(t *testing.T) {
	b := newBed(t)
	b.apply(t)
	b.ping(t)
	before := b.stats(t)
	b.state.Networks[0].Ports = b.state.Networks[0].Ports[:1]
	b.apply(t)
	after := b.stats(t)
	if _, there := after.Ports[portB]; there || after.Networks[4096] != before.Networks[4096] {
		t.Errorf("network counted %+v, then %+v; ports %v", before.Networks[4096], after.Networks[4096], after.Ports)
	}
	b.state.Networks = nil
	b.apply(t)
	if left := b.devices(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if n := len(b.held.files); n != 2 {
		t.Errorf("%d descriptors held, want those of the tunnel", n)
	}
	b.apply(t)
	if got := b.stats(t).Past.Ports; got != before.Networks[4096] {
		t.Errorf("of what is gone %+v is counted, want %+v", got, before.Networks[4096])
	}
}

// TestRestart: the next process goes on where the last one ended: with frames that
// came meanwhile, and with what was counted.
func TestRestart(t *testing.T) {
	b := newBed(t)
	b.apply(t)
	b.ping(t)
	before := b.stats(t)
	b.on(t, func() error { return b.dp.Close() })
	// Nobody reads now. The answers come when somebody does.
	ping := b.a.Command(t.Context(), "ping", "-c", "20", "-i", "0.01", "-W", "5", addrB)
	if err := ping.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	b.open(t)
	b.apply(t)
	if err := ping.Wait(); err != nil {
		t.Errorf("ping over a restart: %v", err)
	}
	after := b.stats(t)
	if n := after.Ports[portA].Sent.Packets - before.Ports[portA].Sent.Packets; n < 20 {
		t.Errorf("%d packets more were counted than before, want 20 and more", int64(n))
	}
	if err := dt.CheckBalance(after); err != nil {
		t.Error(err)
	}
}

// TestStrays: TAPs that a process left behind and nobody wants are taken away.
func TestStrays(t *testing.T) {
	b := newBed(t)
	b.apply(t)
	b.on(t, func() error { return b.dp.Close() })
	b.open(t)
	b.state.Networks[0].Ports = b.state.Networks[0].Ports[1:]
	b.apply(t)
	var there bool
	b.on(t, func() (err error) {
		there, err = link.Exists(tapFor(portA))
		return err
	})
	if there {
		t.Error("the TAP of a port that is gone is still there")
	}
}
