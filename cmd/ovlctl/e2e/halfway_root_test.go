package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
)

// TestNamespaceVanishesHalfWay deletes namespaces at every moment of an
// attach. Whatever that is told, in the end there is nothing: no device, no
// row on any host, and the address can be had again.
func TestNamespaceVanishesHalfWay(t *testing.T) {
	c := newRunning(t, 2)
	h1, h2 := c.hosts[0], c.hosts[1]
	h1.must("network", "create", "shop")
	told := map[string]int{}
	for i := range 16 {
		ns := c.lab.Endpoint(fmt.Sprintf("gone%d", i))
		done := make(chan string, 1)
		go func() { done <- attachAgain(h2, "shop", ns.Name, "10.0.0.2") }()
		time.Sleep(time.Duration(i) * 4 * time.Millisecond)
		if err := ns.Delete(); err != nil {
			t.Fatal(err)
		}
		answer := <-done
		told[answer]++
		if strings.Contains(answer, "\n") || strings.Contains(answer, "taken") {
			t.Errorf("attach was told %q", answer)
		}
		within(t, "nothing is left of it", time.Now(), time.Second, func() error {
			for _, h := range c.hosts {
				if devices, err := h.devices(); err != nil || len(devices) > 0 {
					return fmt.Errorf("%s has the devices %v: %w", h.name, devices, err)
				}
				var list []api.Endpoint
				if h.query(&list, "endpoint", "ls"); len(list) > 0 {
					return fmt.Errorf("%s lists %+v", h.name, list)
				}
			}
			return nil
		})
	}
	t.Logf("answers: %v", told)
	h1.must("network", "rm", "shop")
}

// attachAgain attaches a namespace with an address whose last owner may just
// be letting go of it, and returns what was refused, without the namespace.
func attachAgain(h *host, network, netns, ip string) string {
	for begin := time.Now(); ; {
		_, stderr, err := h.ctl("attach", network, "--netns", netns, "--name", "gone", "--ip", ip)
		if err == nil {
			return "attached"
		}
		if !strings.Contains(stderr, "taken") || time.Since(begin) > time.Second {
			return strings.ReplaceAll(strings.TrimSpace(stderr), netns, "NETNS")
		}
	}
}

// TestKilledHalfWay kills the agent at every moment of an attach. When it is
// back there is the whole endpoint, or nothing of it.
func TestKilledHalfWay(t *testing.T) {
	c := newRunning(t, 2)
	h1, h2 := c.hosts[0], c.hosts[1]
	h1.must("network", "create", "shop")
	peer := h1.attach("shop", "peer")
	whole := 0
	for i := range 8 {
		ns := c.lab.Endpoint(fmt.Sprintf("c%d", i))
		done := make(chan error, 1)
		go func() {
			_, _, err := h2.ctl("attach", "shop", "--netns", ns.Name, "--name", fmt.Sprintf("c%d", i))
			done <- err
		}()
		time.Sleep(time.Duration(i) * 5 * time.Millisecond)
		h2.kill()
		answer := <-done
		h2.up()

		var list []api.Endpoint
		h2.query(&list, "endpoint", "ls")
		there := 0
		for _, e := range list {
			if e.Node == h2.name {
				there++
			}
		}
		devices, err := h2.devices()
		if err != nil || len(devices) != there {
			t.Errorf("after %d ms: devices %v, but %d endpoints: %v", i*5, devices, there, err)
		}
		switch {
		case answer == nil && there != whole+1:
			t.Errorf("after %d ms: attach has said that all is well, but %d endpoints are there and not %d", i*5, there, whole+1)
		case there == whole+1:
			whole++
			// The peer may not have heard of it before, nobody has been told
			// that it is there.
			within(t, "the endpoint reaches its peer", time.Now(), 5*time.Second, func() error {
				_, received, err := ping(ns, peer.addr(), 1)
				if err == nil && received != 1 {
					err = errors.New("no reply")
				}
				return err
			})
		}
	}
	t.Logf("%d of 8 were whole", whole)
}
