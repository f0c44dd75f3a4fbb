package contender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Bulk TCP really goes through every contender that needs nothing but the
// kernel, whoever cuts it into segments. A wrong segment size or packet type
// on the way leaves pings alone and lets TCP crawl from one retransmission to
// the next. So it does over IPv6.
func TestBulkTCP(t *testing.T) {
	linktest.NeedRoot(t)
	missing := []string{"underlay", "limit", "vxlan", "external"}
	for _, c := range All(Options{}) {
		i := slices.Index(missing, c.Name())
		if i < 0 {
			continue
		}
		missing = slices.Delete(missing, i, i+1)
		t.Run(c.Name(), func(t *testing.T) {
			lab, pair := setUpIn(t, c, 2)
			pair6, ok := pair.IPv6()
			if !ok {
				t.Fatal("its endpoints have no IPv6 addresses")
			}
			for _, offload := range []bool{true, false} {
				if err := lab.SetSegmentationOffload(t.Context(), offload); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(sendBulk(pair), sendBulk(pair6)); err != nil {
					t.Errorf("segmentation offload %v: %v", offload, err)
				}
			}
		})
	}
	if len(missing) > 0 {
		t.Errorf("not among all contenders: %v", missing)
	}
}

// sendBulk returns an error unless 64 MiB get to the server in 5 s: every
// contender does many times that, and none that crawls does.
func sendBulk(p measure.Pair) error {
	const size, patience = 64 << 20, 5 * time.Second
	deadline := time.Now().Add(patience)
	var l net.Listener
	err := p.Server.Namespace.Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(p.Server.Addr.String(), "0"))
		return err
	})
	if err != nil {
		return err
	}
	defer l.Close()
	var client net.Conn
	err = p.Client.Namespace.Do(func() (err error) {
		client, err = net.DialTimeout("tcp", l.Addr().String(), patience)
		return err
	})
	if err != nil {
		return err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		defer client.Close()
		_ = client.SetWriteDeadline(deadline)
		_, _ = client.Write(make([]byte, size)) // the server counts
	}()
	defer func() { <-sent }()
	server, err := l.Accept()
	if err != nil {
		return err
	}
	defer server.Close()
	if err := server.SetReadDeadline(deadline); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, server); n != size {
		return fmt.Errorf("%d of %d bytes arrived within %v: %w", n, size, patience, err)
	}
	return nil
}

// setUpIn builds a contender in a lab of that many hosts, and takes it down
// with the test.
func setUpIn(t *testing.T, c Contender, hosts int) (*linktest.Lab, measure.Pair) {
	t.Helper()
	lab := linktest.New(t, linktest.Options{Hosts: hosts})
	t.Cleanup(func() {
		if err := c.Teardown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	pair, err := c.Setup(t.Context(), lab)
	if err != nil {
		t.Fatal(err)
	}
	if err := measure.WaitReachable(t.Context(), pair); err != nil {
		t.Fatal(err)
	}
	return lab, pair
}
