package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/kernel"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/probe"
	"github.com/ovlnet/ovl/datapath/userspace/hold"
)

// OpenDatapath has a chooser bring up one of the two.
func (Linux) OpenDatapath(ctx context.Context, o DatapathOptions) (OpenedDatapath, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := chooser{
		mode: o.Mode, first: o.First, log: o.Logger, pause: kernelPause,
		kernel: linuxKernel(o), userspace: linuxUserspace(o),
	}
	return c.choose(ctx)
}

// RemoveDatapath removes both. What lets go of most comes first; one that
// cannot be removed does not save the other.
func (Linux) RemoveDatapath(p DatapathPlaces) error {
	return errors.Join(removeKernel(p.BPF), removeUserspace(p))
}

// OpenHolder is hold.Keep.
func (Linux) OpenHolder(ctx context.Context, path string, log *slog.Logger) (Holder, error) {
	return hold.Keep(ctx, path, log)
}

// RunHolder is the process that keeps descriptors between two agents. It is
// what `ovlctl hold` runs.
func RunHolder(ctx context.Context, path string) error { return hold.Run(ctx, path) }

// HolderCommand is how the agent calls ovlctl to become the holder.
const HolderCommand = hold.Command

func linuxKernel(o DatapathOptions) implementation {
	return implementation{
		name: "kernel",
		open: func(ctx context.Context) (datapath.Datapath, error) {
			// A nil *Datapath in an interface would not be nil.
			d, err := kernel.Open(ctx, kernel.Options{
				VTEP:     o.Underlay.Addr,
				Underlay: o.Underlay.Name,
				Port:     o.Port,
				Dir:      o.Places.BPF,
				Logger:   o.Logger,
			})
			if err != nil {
				return nil, err
			}
			return d, nil
		},
		cannot: func(ctx context.Context) string { return no(probe.Kernel(ctx, o.Places.BPF)) },
		there: func() (bool, error) {
			if _, err := os.Lstat(o.Places.BPF); err == nil {
				return true, nil
			}
			return link.Exists(kernel.VXLANDevice) // the bpffs may be out of sight
		},
		remove: func() error { return removeKernel(o.Places.BPF) },
		essential: []string{
			"device " + kernel.VXLANDevice, "device " + o.Underlay.Name,
		},
	}
}

// no is the reason of an answer that says no.
func no(r probe.Result) string {
	if r.OK == probe.No {
		return r.Reason
	}
	return ""
}

// removeKernel is kernel.Remove, for an agent too that may not use bpf(2) any
// more: without their pins, programs and maps go as well, a little later. It
// touches nothing where the pins are out of sight, as nobody could remove the
// programs then, and they would take packets away from whatever comes next.
func removeKernel(dir string) error {
	there, err := link.Exists(kernel.VXLANDevice)
	if err != nil {
		return err
	}
	if parent := filepath.Dir(dir); there && !inBPFFS(parent) {
		return fmt.Errorf("the kernel datapath of an earlier agent is pinned in a BPF file system that is not at %s here: mount it there, or restart the host", parent)
	}
	err = kernel.Remove(dir)
	if err == nil || !errors.Is(err, os.ErrPermission) {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	return kernel.Remove(dir)
}

func inBPFFS(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.BPF_FS_MAGIC
}
