package measure

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// resolver answers for every name, unless it is told not to.
type resolver struct {
	silent atomic.Bool
	code   atomic.Int32
	asked  atomic.Int64
}

func (r *resolver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	r.asked.Add(1)
	if r.silent.Load() {
		return
	}
	m := new(dns.Msg).SetRcode(q, int(r.code.Load()))
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(10, 0, 0, 1)}}
	_ = w.WriteMsg(m)
}

// Names are asked for as often as it says, and only right answers are taken.
func TestNames(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{})
	client, server := lab.Hosts[0], lab.Hosts[1]
	var conn net.PacketConn
	err := server.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", netip.AddrPortFrom(server.Addr, dnsPort).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &resolver{}
	s := &dns.Server{PacketConn: conn, Handler: r}
	started, ended := make(chan struct{}), make(chan error, 1)
	s.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- s.ActivateAndServe() }()
	<-started
	defer func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	at := Endpoint{Namespace: client.Namespace, Addr: client.Addr}
	n := Names{
		Client: at, Other: at, Resolver: server.Addr, Asked: []string{"a", "bb", "ccc"},
		CPU: func() (time.Duration, error) { return time.Duration(r.asked.Load()) * time.Microsecond, nil },
	}
	const d = 300 * time.Millisecond

	if err := AwaitNames(t.Context(), n, patience); err != nil {
		t.Fatal(err)
	}
	v, err := QueryRate(t.Context(), n, d)
	if err != nil || v["rate"] <= 0 {
		t.Errorf("rate: %v, %v", v, err)
	}
	t.Logf("%v", v)
	before := r.asked.Load()
	v, err = QueryTimes(t.Context(), n, d)
	t.Logf("%v, %v", v, err)
	if sent := r.asked.Load() - before; sent < int64(d.Seconds()*queryRate)/2 {
		t.Errorf("%d queries were sent in %v", sent, d) // a few are lost where nothing keeps up
	}
	if err == nil && (v["p50"] <= 0 || v["p99"] < v["p50"] || v["other"] <= 0 || v["cpu"] < 0.5 || v["cpu"] > 3) {
		t.Errorf("times: %v", v)
	}

	r.code.Store(dns.RcodeServerFailure)
	for _, look := range []func() error{
		func() error { _, err := QueryRate(t.Context(), n, d); return err },
		func() error { _, err := QueryTimes(t.Context(), n, d); return err },
	} {
		if err := look(); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
			t.Errorf("an error is taken for an answer: %v", err)
		}
	}
	r.silent.Store(true)
	for _, look := range []func() error{
		func() error { return AwaitNames(t.Context(), n, d) },
		func() error { _, err := QueryRate(t.Context(), n, d); return err },
		func() error { _, err := QueryTimes(t.Context(), n, d); return err },
	} {
		if err := look(); err == nil {
			t.Error("no answer is taken for one")
		}
	}
}
