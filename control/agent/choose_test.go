package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/datapathtest"
)

// choice is a host whose datapaths say what is done to them.
type choice struct {
	chooser
	done []string
	// fails is what an implementation's step, such as "kernel open", fails
	// with; times is how often, 0 for always.
	fails map[string]error
	times map[string]int
	// lacks is what a host cannot do, by implementation.
	lacks map[string]string
	there map[string]bool
	fakes map[string]*datapathtest.Fake
}

func newChoice(mode config.DatapathMode) *choice {
	c := &choice{
		fails: map[string]error{}, times: map[string]int{}, lacks: map[string]string{}, there: map[string]bool{},
		fakes: map[string]*datapathtest.Fake{},
	}
	c.chooser = chooser{
		mode: mode, kernel: c.implementation("kernel"), userspace: c.implementation("userspace"),
		log: slog.New(slog.DiscardHandler), pause: time.Millisecond,
	}
	return c
}

func (c *choice) step(what string) error {
	c.done = append(c.done, what)
	err := c.fails[what]
	if n, limited := c.times[what]; limited {
		if n == 0 {
			return nil
		}
		c.times[what]--
	}
	return err
}

// applying is a datapath whose Apply is a step.
type applying struct {
	*datapathtest.Fake
	apply func() error
}

func (a applying) Apply(ctx context.Context, s datapath.State) error {
	return errors.Join(a.apply(), a.Fake.Apply(ctx, s))
}

func (c *choice) implementation(name string) implementation {
	return implementation{
		name: name,
		open: func(context.Context) (datapath.Datapath, error) {
			if err := c.step(name + " open"); err != nil {
				return nil, err
			}
			c.there[name] = true
			c.fakes[name] = datapathtest.NewFake()
			return applying{c.fakes[name], func() error { return c.step(name + " apply") }}, nil
		},
		cannot: func(context.Context) string { return c.lacks[name] },
		there:  func() (bool, error) { return c.there[name], nil },
		letGo:  func() error { return c.step(name + " letGo") },
		remove: func() error {
			c.there[name] = false
			return c.step(name + " remove")
		},
		essential: []string{"device eth0"},
	}
}

func (c *choice) run(t *testing.T) (OpenedDatapath, error) {
	t.Helper()
	d, err := c.choose(t.Context())
	for name, f := range c.fakes {
		if runs := err == nil && string(d.Kind) == name; f.Closed() == runs {
			t.Errorf("%s datapath closed: %v; that which runs is %s, %v", name, f.Closed(), d.Kind, err)
		}
	}
	return d, err
}

var errRefused = errors.New("operation not permitted")

func TestChoose(t *testing.T) {
	port := &datapath.ObjectError{Object: "port ovl0000000001", Err: datapath.ErrNoDevice}
	underlay := &datapath.ObjectError{Object: "device eth0", Err: errRefused}
	for _, tt := range []struct {
		name  string
		mode  config.DatapathMode
		set   func(*choice)
		kind  datapath.Kind // "" for an error
		text  string        // in the reason, or the error
		steps string
	}{
		{
			"auto takes the kernel", config.DatapathAuto, nil, datapath.Kernel, "eBPF",
			"kernel open, userspace letGo, kernel apply, userspace remove",
		}, {
			"a port that is gone is nothing", config.DatapathAuto,
			func(c *choice) { c.fails["kernel apply"] = errors.Join(port, fmt.Errorf("x: %w", port)) }, datapath.Kernel, "",
			"kernel open, userspace letGo, kernel apply, userspace remove",
		}, {
			"auto falls back where loading is refused, and says why", config.DatapathAuto,
			func(c *choice) { c.fails["kernel open"], c.lacks["kernel"] = errRefused, "no CAP_BPF" }, datapath.Userspace, "no kernel datapath: no CAP_BPF",
			"kernel open, kernel remove, userspace open, userspace apply",
		}, {
			"auto falls back where attaching is refused", config.DatapathAuto,
			func(c *choice) { c.fails["kernel apply"] = errors.Join(port, underlay) }, datapath.Userspace, "device eth0",
			"kernel open, userspace letGo, kernel apply, kernel remove, userspace open, userspace apply",
		}, {
			"auto stays with what runs when something passes", config.DatapathAuto,
			func(c *choice) {
				c.there["kernel"], c.fails["kernel open"], c.times["kernel open"] = true, errRefused, 2
			}, datapath.Kernel, "eBPF",
			"kernel open, kernel open, kernel open, userspace letGo, kernel apply, userspace remove",
		}, {
			"but not when that does not pass", config.DatapathAuto,
			func(c *choice) { c.there["kernel"], c.fails["kernel open"] = true, errRefused }, datapath.Userspace, "not permitted",
			"kernel open, kernel open, kernel open, kernel remove, userspace open, userspace apply",
		}, {
			"nor when the host cannot at all", config.DatapathAuto,
			func(c *choice) {
				c.there["kernel"], c.fails["kernel open"], c.lacks["kernel"] = true, errRefused, "no CAP_BPF"
			}, datapath.Userspace, "no CAP_BPF",
			"kernel open, kernel remove, userspace open, userspace apply",
		}, {
			"auto on a host that can run neither", config.DatapathAuto,
			func(c *choice) {
				c.fails["kernel open"], c.fails["userspace open"] = errRefused, errors.New("no tun")
			}, "", "no tun",
			"kernel open, kernel remove, userspace open",
		}, {
			"kernel where it cannot be", config.DatapathKernel,
			func(c *choice) { c.fails["kernel open"], c.lacks["kernel"] = errRefused, "no CAP_BPF" }, "", "kernel datapath: not supported on this host: no CAP_BPF (",
			"kernel open, kernel remove",
		}, {
			"kernel where there was userspace", config.DatapathKernel,
			func(c *choice) { c.there["userspace"] = true }, datapath.Kernel, "--datapath kernel",
			"kernel open, userspace letGo, kernel apply, userspace remove",
		}, {
			"userspace", config.DatapathUserspace, nil, datapath.Userspace, "--datapath userspace",
			"userspace open, userspace apply",
		}, {
			"userspace where it cannot be", config.DatapathUserspace,
			func(c *choice) { c.lacks["userspace"] = "no /dev/net/tun" }, "", "no /dev/net/tun",
			"",
		}, {
			"userspace where it was", config.DatapathUserspace,
			func(c *choice) { c.there["userspace"], c.lacks["userspace"] = true, "not asked" }, datapath.Userspace, "--datapath userspace",
			"userspace open, userspace apply",
		}, {
			"userspace where there was the kernel", config.DatapathUserspace,
			func(c *choice) { c.there["kernel"] = true }, datapath.Userspace, "--datapath userspace",
			"kernel remove, userspace open, userspace apply",
		}, {
			"the kernel goes on where userspace cannot be", config.DatapathUserspace,
			func(c *choice) { c.there["kernel"], c.lacks["userspace"] = true, "no /dev/net/tun" }, "", "no /dev/net/tun",
			"",
		}, {
			"the kernel comes back where userspace fails", config.DatapathUserspace,
			func(c *choice) { c.there["kernel"], c.fails["userspace apply"] = true, errRefused }, "", "userspace datapath: ",
			"kernel remove, userspace open, userspace apply, userspace letGo, userspace remove, kernel open, kernel apply",
		}, {
			"the kernel that does not go away", config.DatapathUserspace,
			func(c *choice) { c.there["kernel"], c.fails["kernel remove"] = true, errRefused }, "", "remove the kernel datapath",
			"kernel remove",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChoice(tt.mode)
			if tt.set != nil {
				tt.set(c)
			}
			d, err := c.run(t)
			text := d.Reason
			if err != nil {
				text = err.Error()
			}
			if (tt.kind == "") != (err != nil) || err == nil && d.Kind != tt.kind || !strings.Contains(text, tt.text) {
				t.Errorf("chosen is %q because %q, %v; want %q and %q", d.Kind, d.Reason, err, tt.kind, tt.text)
			}
			if strings.Contains(d.Reason, "\n") {
				t.Errorf("the reason has several lines: %q", d.Reason)
			}
			if got := strings.Join(c.done, ", "); got != tt.steps {
				t.Errorf("steps are\n%s, want\n%s", got, tt.steps)
			}
		})
	}
}

// Where the host lacks something, the error says so to those who decide on it.
func TestChooseNotSupported(t *testing.T) {
	c := newChoice(config.DatapathKernel)
	c.fails["kernel open"], c.lacks["kernel"] = errRefused, "no CAP_BPF"
	if _, err := c.run(t); !errors.Is(err, datapath.ErrNotSupported) || !errors.Is(err, errRefused) {
		t.Errorf("error is %v", err)
	}
}

// An agent that is told to stop takes nothing away.
func TestChooseStopped(t *testing.T) {
	c := newChoice(config.DatapathAuto)
	c.there["kernel"], c.fails["kernel open"] = true, context.Canceled
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.choose(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if !slices.Equal(c.done, []string{"kernel open"}) {
		t.Errorf("steps are %v", c.done)
	}
}

// The row of a node names its datapath, what it opens carries what is on disk
// from the start, and endpoints hand it what it can take.
func TestUserspaceAgent(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.host.setSoftware(true)
	n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	l.eventually("the kernel gets large packets", func() bool { return n.host.segmentSize("a", "eth0") == gsoSoftware })
	n.stop()
	n.cfg.Datapath = config.DatapathUserspace
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if ports := n.host.first.Networks; len(ports) != 1 || len(ports[0].Ports) != 2 || len(gatewayPorts(n.host.first)) != 1 {
		t.Errorf("it was opened to carry %+v", n.host.first)
	}
	s, err := n.Status(t.Context())
	if err != nil || s.Datapath.Kind != datapath.Userspace || s.Datapath.Reason != "a test" {
		t.Errorf("status says %+v, %v", s.Datapath, err)
	}
	if row := n.tables().Nodes[n.self.ID]; row.Datapath != datapath.Userspace {
		t.Errorf("the row says %s", row.Datapath)
	}
	l.eventually("a TAP gets what it can take", func() bool { return n.host.segmentSize("a", "eth0") == gsoDefault })
}
