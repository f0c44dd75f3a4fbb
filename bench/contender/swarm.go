package contender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// swarm is real Docker Swarm: a dockerd on each host, the first one the
// manager, and a container on each, on an attachable overlay network.
//
// What happens, in order: every host gets a dockerd that touches nothing
// outside of its own namespaces (swarm_dockerd.go) and an image whose only
// program waits (swarm_image.go); the hosts join; the network is made; the
// containers hold the network namespaces in which the measuring programs run.
type swarm struct {
	logs    string
	daemons []*dockerd
}

// Names inside a lab's swarm, which is a cluster of its own.
const (
	swarmNetwork = "bench"
	swarmImage   = "pause"
	swarmPort    = 2377
)

func (*swarm) Name() string { return "swarm" }

func (s *swarm) Setup(ctx context.Context, lab *linktest.Lab) (measure.Pair, error) {
	var err error
	if s.logs, err = makeLogs(s.Name()); err != nil {
		return measure.Pair{}, err
	}
	for i, h := range lab.Hosts {
		d, err := startDockerd(ctx, h, s.logs, cgroupName(os.Getpid(), i+1))
		if err != nil {
			return measure.Pair{}, fmt.Errorf("host %d: %w", i+1, err)
		}
		s.daemons = append(s.daemons, d)
	}
	for i, d := range s.daemons {
		if err := d.prepare(ctx); err != nil {
			return measure.Pair{}, fmt.Errorf("host %d: %w", i+1, err)
		}
	}
	if err := s.join(ctx); err != nil {
		return measure.Pair{}, err
	}
	if err := s.createNetwork(ctx); err != nil {
		return measure.Pair{}, err
	}
	var ends [2]measure.Endpoint
	for i := range ends {
		c, err := s.daemons[i].run(ctx)
		if err == nil {
			ends[i], err = c.endpoint(ctx)
		}
		if err != nil {
			return measure.Pair{}, fmt.Errorf("host %d: %w", i+1, err)
		}
	}
	return measure.Pair{Client: ends[0], Server: ends[1]}, nil
}

func (s *swarm) Teardown(ctx context.Context) error {
	var errs []error
	for _, d := range s.daemons {
		errs = append(errs, d.stop(ctx))
	}
	errs = append(errs, removeLogs(s.logs))
	s.logs, s.daemons = "", nil
	return errors.Join(errs...)
}

// Attach does what `docker run -d` does, less the time that the command line
// itself takes: create, and start.
func (s *swarm) Attach(ctx context.Context, _ *linktest.Lab) (measure.Endpoint, func(context.Context) error, error) {
	c, err := s.daemons[1].run(ctx)
	if c == nil {
		return measure.Endpoint{}, nil, err
	}
	if err != nil {
		return measure.Endpoint{}, c.remove, err
	}
	e, err := c.endpoint(ctx)
	return e, c.remove, err
}

// join makes the first host a manager and all others its workers.
func (s *swarm) join(ctx context.Context) error {
	manager := s.daemons[0]
	listen := net.JoinHostPort("0.0.0.0", strconv.Itoa(swarmPort))
	err := manager.call(ctx, http.MethodPost, "/swarm/init", map[string]any{
		"ListenAddr": listen, "AdvertiseAddr": manager.host.Addr.String(),
	}, nil)
	if err != nil {
		return err
	}
	var made struct{ JoinTokens struct{ Worker string } }
	if err := manager.call(ctx, http.MethodGet, "/swarm", nil, &made); err != nil {
		return err
	}
	for _, worker := range s.daemons[1:] {
		err := worker.call(ctx, http.MethodPost, "/swarm/join", map[string]any{
			"ListenAddr": listen, "AdvertiseAddr": worker.host.Addr.String(),
			"RemoteAddrs": []string{netip.AddrPortFrom(manager.host.Addr, swarmPort).String()},
			"JoinToken":   made.JoinTokens.Worker,
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// createNetwork makes the overlay network. The driver's MTU is the
// underlay's: it takes off what the tunnel adds.
func (s *swarm) createNetwork(ctx context.Context) error {
	manager := s.daemons[0]
	var mtu int
	err := manager.host.Do(func() error {
		dev, err := net.InterfaceByName(linktest.UnderlayDevice)
		if err != nil {
			return fmt.Errorf("%s: %w", linktest.UnderlayDevice, err)
		}
		mtu = dev.MTU
		return nil
	})
	if err != nil {
		return err
	}
	return manager.call(ctx, http.MethodPost, "/networks/create", map[string]any{
		"Name": swarmNetwork, "Driver": "overlay", "Attachable": true, "CheckDuplicate": true,
		"Options": map[string]string{"com.docker.network.driver.mtu": strconv.Itoa(mtu)},
	}, nil)
}

// container runs on the swarm's network.
type container struct {
	on *dockerd
	id string
}

// run creates a container and starts it. The container is to be removed also
// after an error, unless it is nil.
func (d *dockerd) run(ctx context.Context) (*container, error) {
	var created struct{ ID string }
	err := d.call(ctx, http.MethodPost, "/containers/create", map[string]any{
		"Image": swarmImage, "Cmd": []string{pauseProgram},
		"HostConfig": map[string]any{"NetworkMode": swarmNetwork},
	}, &created)
	if err != nil {
		return nil, err
	}
	c := &container{on: d, id: created.ID}
	return c, d.call(ctx, http.MethodPost, "/containers/"+c.id+"/start", nil, nil)
}

// endpoint asks for the container's address and namespace.
func (c *container) endpoint(ctx context.Context) (measure.Endpoint, error) {
	var out json.RawMessage
	if err := c.on.call(ctx, http.MethodGet, "/containers/"+c.id+"/json", nil, &out); err != nil {
		return measure.Endpoint{}, err
	}
	addr, sandbox, err := parseContainer(out)
	if err != nil {
		return measure.Endpoint{}, fmt.Errorf("container %s: %w", c.id, err)
	}
	return measure.Endpoint{Namespace: &linktest.Namespace{Name: c.id, NetnsPath: c.on.path(sandbox)}, Addr: addr}, nil
}

// parseContainer reads the address and the path of the network namespace out
// of what dockerd says of a container.
func parseContainer(inspected []byte) (addr netip.Addr, sandbox string, err error) {
	var c struct {
		NetworkSettings struct {
			SandboxKey string
			Networks   map[string]struct{ IPAddress string }
		}
	}
	if err := json.Unmarshal(inspected, &c); err != nil {
		return netip.Addr{}, "", err
	}
	n, ok := c.NetworkSettings.Networks[swarmNetwork]
	if !ok || c.NetworkSettings.SandboxKey == "" {
		return netip.Addr{}, "", fmt.Errorf("is not on network %s", swarmNetwork)
	}
	if addr, err = netip.ParseAddr(n.IPAddress); err != nil {
		return netip.Addr{}, "", fmt.Errorf("address on network %s: %w", swarmNetwork, err)
	}
	return addr, c.NetworkSettings.SandboxKey, nil
}

func (c *container) remove(ctx context.Context) error {
	return c.on.call(ctx, http.MethodDelete, "/containers/"+c.id+"?force=1", nil, nil)
}
