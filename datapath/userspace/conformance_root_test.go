package userspace

import (
	"context"
	"flag"
	"log/slog"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

var (
	frames = flag.Uint64("frames", 100_000, "how many random frames TestRandomFrames sends from each side")
	seed   = flag.Uint64("seed", 1, "which; 0 takes others each time")
)

// TestConformance is the contract of package datapath, in frames.
func TestConformance(t *testing.T) { dt.Run(t, openConformance) }

func openConformance(ctx context.Context, h dt.Host) (datapath.Datapath, func() error, error) {
	o := Options{
		VTEP: h.VTEP, Underlay: h.Underlay, Port: h.Port,
		Readers: 1, // so that packets are taken in the order in which they come
		Logger:  slog.New(slog.NewTextHandler(h.Log, nil)),
	}
	d, err := Open(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	return d, func() error { return Remove(o) }, nil
}

// TestRandomFrames: whatever comes in, nothing gets out that may not, and the
// books add up.
func TestRandomFrames(t *testing.T) { dt.RunRandom(t, openConformance, *frames, *seed) }
