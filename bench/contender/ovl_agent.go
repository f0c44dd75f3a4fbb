package contender

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// agent is an `ovlctl up` on one host.
type agent struct {
	instance string
	host     *linktest.Host
	binary   string
	datapath string
	log      string
	daemon   *daemon
}

// start runs the agent and returns when it answers.
func (a *agent) start(ctx context.Context, join ...string) error {
	args := append([]string{"up", "--instance", a.instance, "--name", a.instance, "--datapath", a.datapath,
		"--advertise", a.host.Addr.String()}, join...)
	var err error
	if a.daemon, err = startDaemon(ctx, a.host, a.log, a.binary, args...); err != nil {
		return err
	}
	return a.poll(ctx, startTime, func([]byte) bool { return true }, "status")
}

// waitPeers returns when the agent sees n live peers.
func (a *agent) waitPeers(ctx context.Context, n int) error {
	return a.poll(ctx, startTime, func(out []byte) bool {
		var peers []struct{ State string }
		if json.Unmarshal(out, &peers) != nil {
			return false
		}
		alive := 0
		for _, p := range peers {
			if p.State == "alive" {
				alive++
			}
		}
		return alive == n
	}, "peers", "-o", "json")
}

// attach puts a namespace on the network.
func (a *agent) attach(ctx context.Context, ns *linktest.Namespace) (measure.Endpoint, error) {
	out, err := a.ctl(ctx, "attach", ovlNetwork, "--netns", ns.Name, "-o", "json")
	if err != nil {
		return measure.Endpoint{}, err
	}
	var e struct{ Addresses []netip.Prefix }
	if err := json.Unmarshal(out, &e); err != nil || len(e.Addresses) == 0 {
		return measure.Endpoint{}, fmt.Errorf("attach printed no addresses: %s", out)
	}
	end := measure.Endpoint{Namespace: ns, Addr: e.Addresses[0].Addr()}
	for _, a := range e.Addresses {
		if a.Addr().Is6() {
			end.Addr6 = a.Addr()
		}
	}
	return end, nil
}

// ctl asks the agent and returns what ovlctl prints.
func (a *agent) ctl(ctx context.Context, args ...string) ([]byte, error) {
	cmd := a.host.Command(ctx, a.binary, append([]string{"--instance", a.instance}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("ovlctl %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// startTime bounds how long agents take to come up and to find each other.
const startTime = 10 * time.Second

// poll asks again until the answer is the one that is waited for, or the limit
// is reached.
func (a *agent) poll(ctx context.Context, limit time.Duration, done func([]byte) bool, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		out, err := a.ctl(ctx, args...)
		if err == nil && done(out) {
			return nil
		}
		if sleepErr := a.daemon.sleep(ctx, 50*time.Millisecond); sleepErr != nil {
			return errors.Join(fmt.Errorf("waiting for ovlctl %s: %w", args[0], sleepErr), err, a.daemon.lastWords())
		}
	}
}

// stop takes the instance down and waits for its process.
func (a *agent) stop(ctx context.Context) error {
	_, err := a.ctl(ctx, "down", "--force")
	if a.daemon != nil {
		a.daemon.wait()
	}
	errs := []error{err}
	for _, name := range instanceNamespaces(a.instance) {
		errs = append(errs, fmt.Errorf("ovlctl down left network namespace %s", name), link.RemoveNamed(name))
	}
	for _, dir := range instancePaths(a.instance) {
		if _, err := os.Stat(dir); err == nil {
			errs = append(errs, fmt.Errorf("ovlctl down left %s", dir), os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}
