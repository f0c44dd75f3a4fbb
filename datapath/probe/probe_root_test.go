package probe

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// This kernel runs the other tests of the datapath, so the answer must be yes
// where the BPF file system is mounted.
func TestKernelHere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/bpf", &st); err != nil || st.Type != unix.BPF_FS_MAGIC {
		t.Skip("no bpffs at /sys/fs/bpf")
	}
	if r := Kernel(t.Context(), "/sys/fs/bpf/ovl-probe-test"); r.OK != Yes {
		t.Errorf("answer is %q: %s", r.OK, r.Reason)
	}
	if _, err := os.Stat("/sys/fs/bpf/ovl-probe-test"); !os.IsNotExist(err) {
		t.Errorf("the probe left its folder behind: %v", err)
	}
}
