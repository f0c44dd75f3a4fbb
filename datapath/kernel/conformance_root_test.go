package kernel

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// TestConformance is the contract of package datapath, in frames.
func TestConformance(t *testing.T) { dt.Run(t, openConformance) }

func openConformance(ctx context.Context, h dt.Host) (datapath.Datapath, func() error, error) {
	dir := filepath.Join("/sys/fs/bpf", "ovl-"+h.Name)
	d, err := Open(ctx, Options{
		VTEP: h.VTEP, Underlay: h.Underlay, Port: h.Port, Dir: dir,
		Logger: slog.New(slog.NewTextHandler(h.Log, nil)),
	})
	if err != nil {
		return nil, nil, err
	}
	return d, func() error { return Remove(dir) }, nil
}
