package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

func TestUserspaceHere(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 1})
	err := lab.Hosts[0].Do(func() error {
		if r := Userspace(t.Context()); r.OK != Yes || !strings.Contains(r.Reason, "userspace") {
			t.Errorf("answer is %q: %s", r.OK, r.Reason)
		}
		left, err := link.List("ovlprobe")
		if len(left) > 0 {
			t.Errorf("the probe left %v behind", left)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// With fewer capabilities it is the one that is missing that is named.
func TestPrivileges(t *testing.T) {
	linktest.NeedRoot(t)
	for _, c := range []struct {
		drop              []int
		kernel, userspace string // "" for yes
	}{
		{[]int{unix.CAP_BPF, unix.CAP_SYS_ADMIN}, "CAP_BPF", ""},
		{[]int{unix.CAP_NET_ADMIN}, "CAP_NET_ADMIN", "CAP_NET_ADMIN"},
	} {
		dropped := make(chan struct{})
		go func() { // on a thread that ends with it, and keeps what it has lost
			runtime.LockOSThread()
			defer close(dropped)
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			if err := unix.Capget(&header, &data[0]); err != nil {
				t.Error(err)
				return
			}
			for _, b := range c.drop {
				data[b/32].Effective &^= 1 << (b % 32)
			}
			if err := unix.Capset(&header, &data[0]); err != nil {
				t.Error(err)
				return
			}
			for what, try := range map[string]struct {
				err  error
				want string
			}{"kernel": {privilege(), c.kernel}, "userspace": {netAdmin(), c.userspace}} {
				if got := fmt.Sprint(try.err); (try.want == "") != (try.err == nil) || !strings.Contains(got, try.want) {
					t.Errorf("without %v, %s: %s; want %q in it", c.drop, what, got, try.want)
				}
			}
		}()
		<-dropped
	}
}
