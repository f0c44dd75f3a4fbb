package taptest

import (
	"errors"
	"os"
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/datapath/userspace/tap"
)

func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }

// port is what a Device and a Port have in common.
type port interface {
	Read(*tap.Batch) error
	Write(*tap.Writer, offload.Header, ...[]byte) error
	Close() error
}

var (
	_ port = (*tap.Device)(nil)
	_ port = (*Port)(nil)
)

func TestPort(t *testing.T) {
	p := New(100)
	h := offload.Header{Flags: offload.NeedsCsum, CsumStart: 34}
	for i := range 70 {
		p.In <- offload.Frame{Header: h, Data: []byte{byte(i), 2, 3}}
	}
	b := tap.NewBatch()
	for i := 0; i < 70; {
		if err := p.Read(b); err != nil {
			t.Fatal(err)
		}
		for _, f := range b.Frames() {
			if f.Header != h || string(f.Data) != string([]byte{byte(i), 2, 3}) {
				t.Errorf("frame %d: %+v", i, f)
			}
			i++
		}
	}
	for range cap(p.Out) {
		if err := p.Write(tap.NewWriter(), h, []byte("a"), nil, []byte("bc")); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Write(nil, h); !errors.Is(err, tap.ErrFull) {
		t.Errorf("write to a full port: %v", err)
	}
	if f := <-p.Out; f.Header != h || string(f.Data) != "abc" || cap(f.Data) < 3 {
		t.Errorf("written: %+v", f)
	}
	errs := make(chan error)
	go func() { errs <- p.Read(b) }()
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	if err := <-errs; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read while it is closed: %v", err)
	}
	if err := p.Write(nil, h); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write when closed: %v", err)
	}
}
