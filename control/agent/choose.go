package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/datapath"
)

const (
	// kernelTries is how often the kernel datapath of an earlier agent is
	// tried to be taken over before that counts as impossible: what moves the
	// packets of a host should not change for something that passes.
	kernelTries = 3
	kernelPause = 300 * time.Millisecond
)

// chooser decides which datapath a host runs, by bringing one up, and lets the
// other give way. The order keeps the time in which nothing is forwarded
// short, and takes nothing away before its successor is known to work as far
// as that can be known:
//
//	to kernel      load ─▶ userspace lets go of the UDP port ─▶ apply, attach
//	               ─▶ what is left of userspace goes
//	to userspace   ask whether it can work ─▶ kernel's programs and vxlan
//	               device go ─▶ open ─▶ apply
//
// Only one at a time has the port. What endpoints send in between waits in
// their TAPs, or is lost. An agent chooses once, at its start.
type chooser struct {
	mode              config.DatapathMode
	first             datapath.State
	kernel, userspace implementation
	log               *slog.Logger
	// pause is kernelPause, less in tests.
	pause time.Duration
}

// implementation is a kind of datapath as a chooser needs it. Linux has the
// real ones.
type implementation struct {
	name string
	// open takes over what an earlier agent has left, and attaches nothing.
	open func(context.Context) (datapath.Datapath, error)
	// cannot says in one line why this host cannot run it, or "" if it can or
	// that cannot be told.
	cannot func(context.Context) string
	// there reports whether an earlier agent has left it.
	there func() (bool, error)
	// letGo gives up what the other needs to work.
	letGo func() error
	// remove takes away all that was left.
	remove func() error
	// essential are the objects in errors of Apply without which it carries
	// nothing; what goes wrong with others is the reconciler's to repair.
	essential []string
}

// choose returns the one that runs, and why.
func (c chooser) choose(ctx context.Context) (OpenedDatapath, error) {
	switch c.mode {
	case config.DatapathKernel:
		d, err := c.toKernel(ctx)
		return OpenedDatapath{d, datapath.Kernel, "asked for with --datapath kernel"}, err
	case config.DatapathUserspace:
		d, err := c.toUserspace(ctx)
		return OpenedDatapath{d, datapath.Userspace, "asked for with --datapath userspace"}, err
	}
	d, err := c.toKernel(ctx)
	if err == nil {
		return OpenedDatapath{d, datapath.Kernel, "this host runs eBPF programs"}, nil
	}
	if ctx.Err() != nil {
		return OpenedDatapath{}, err
	}
	why := oneLine(err)
	if lacks := c.kernel.cannot(ctx); lacks != "" {
		why = "no kernel datapath: " + lacks
	}
	c.log.Warn("taking the userspace datapath", "reason", why, "err", err)
	d, userErr := c.toUserspace(ctx)
	if userErr != nil {
		return OpenedDatapath{}, fmt.Errorf("%w; %w", err, userErr)
	}
	return OpenedDatapath{d, datapath.Userspace, why}, nil
}

// toKernel brings up the kernel datapath. One that was not there before leaves
// nothing when it fails.
func (c chooser) toKernel(ctx context.Context) (datapath.Datapath, error) {
	before, err := c.kernel.there()
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		d, err := c.up(ctx, c.kernel, c.userspace.letGo)
		if err == nil {
			if err := c.userspace.remove(); err != nil {
				c.log.Warn("not all of the userspace datapath could be removed", "err", err)
			}
			return d, nil
		}
		if !before {
			return nil, errors.Join(err, c.kernel.remove())
		}
		if try == kernelTries || errors.Is(err, datapath.ErrNotSupported) || !sleep(ctx, c.pause) {
			return nil, err
		}
		c.log.Warn("kernel datapath not taken over, trying again", "err", err)
	}
}

// toUserspace brings up the userspace datapath. If that fails, and it was what
// the operator wanted, the kernel datapath that had to go comes back: the host
// goes on as before.
func (c chooser) toUserspace(ctx context.Context) (datapath.Datapath, error) {
	moves, err := c.kernel.there()
	if err != nil {
		return nil, err
	}
	ran, err := c.userspace.there()
	if err != nil {
		return nil, err
	}
	if !ran { // before anything is touched; and a host without endpoints would not notice
		if why := c.userspace.cannot(ctx); why != "" {
			return nil, fmt.Errorf("%s datapath: %w: %s", c.userspace.name, datapath.ErrNotSupported, why)
		}
	}
	if moves {
		if err := c.kernel.remove(); err != nil {
			return nil, fmt.Errorf("remove the kernel datapath: %w", err)
		}
	}
	d, err := c.up(ctx, c.userspace, nil)
	if err != nil && moves && c.mode == config.DatapathUserspace {
		return nil, errors.Join(err, c.restoreKernel(context.WithoutCancel(ctx)))
	}
	return d, err
}

// restoreKernel has the kernel forward again, with no agent.
func (c chooser) restoreKernel(ctx context.Context) error {
	err := errors.Join(c.userspace.letGo(), c.userspace.remove())
	d, upErr := c.up(ctx, c.kernel, nil)
	if upErr != nil {
		return errors.Join(err, upErr)
	}
	return errors.Join(err, d.Close())
}

// up opens an implementation and has it carry the first State; between comes
// what makes room for it. After an error it is closed.
func (c chooser) up(ctx context.Context, i implementation, between func() error) (datapath.Datapath, error) {
	d, err := i.open(ctx)
	if err != nil {
		return nil, i.explain(ctx, err)
	}
	if between != nil {
		err = between()
	}
	if err == nil {
		err = i.whole(d.Apply(ctx, c.first))
	}
	if err != nil {
		return nil, errors.Join(i.explain(ctx, err), d.Close())
	}
	return d, nil
}

// explain says of a failure what the host lacks, if it is that.
func (i implementation) explain(ctx context.Context, err error) error {
	why := ""
	if ctx.Err() == nil {
		why = i.cannot(ctx)
	}
	if why == "" {
		return fmt.Errorf("%s datapath: %w", i.name, err)
	}
	return fmt.Errorf("%s datapath: %w: %s (%w)", i.name, datapath.ErrNotSupported, why, err)
}

// whole returns what of an error of Apply keeps the datapath from carrying
// anything.
func (i implementation) whole(err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var rest []error
		for _, e := range joined.Unwrap() {
			rest = append(rest, i.whole(e))
		}
		return errors.Join(rest...)
	}
	if object := (*datapath.ObjectError)(nil); errors.As(err, &object) && !slices.Contains(i.essential, object.Object) {
		return nil
	}
	return err
}

// oneLine is an error's text for status and log.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// sleep reports whether it slept the whole time.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
