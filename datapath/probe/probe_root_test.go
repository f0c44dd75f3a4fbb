package probe

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// The other tests of the datapath run on this kernel, so the answer is yes.
func TestKernelHere(t *testing.T) {
	linktest.NeedRoot(t)
	mount := t.TempDir()
	if err := link.MountBPFFS(mount); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(mount, "ovl")
	if r := Kernel(t.Context(), dir); r.OK != Yes {
		t.Errorf("answer is %q: %s", r.OK, r.Reason)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the probe left its folder behind: %v", err)
	}
}
