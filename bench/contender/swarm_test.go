package contender

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestPauseTar(t *testing.T) {
	image, err := pauseTar()
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(bytes.NewReader(image))
	h, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if "/"+h.Name != pauseProgram || h.Mode != 0o755 || h.Typeflag != tar.TypeReg {
		t.Errorf("%s, mode %o, type %q; want the executable %s", h.Name, h.Mode, h.Typeflag, pauseProgram)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := pauseELF(runtime.GOARCH); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the program in it is %x, want %x (%v)", got, want, err)
	}
	if h, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("there is more in it: %+v, %v", h, err)
	}
}

func TestPauseELF(t *testing.T) {
	for arch, p := range pauseCode {
		program, err := pauseELF(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != p.machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 {
			t.Errorf("%s: %v with %d segments for %v", arch, f.Type, len(f.Progs), f.Machine)
			continue
		}
		code := make([]byte, len(p.code))
		if _, err := f.Progs[0].ReadAt(code, int64(f.Entry-f.Progs[0].Vaddr)); err != nil || !bytes.Equal(code, p.code) {
			t.Errorf("%s: %x at the entry, want %x (%v)", arch, code, p.code, err)
		}
	}
	if _, err := pauseELF("pdp11"); err == nil || !strings.Contains(err.Error(), "pdp11") {
		t.Errorf("an architecture without a program: %v", err)
	}
}

// The program runs here, and only a signal ends it.
func TestPauseWaits(t *testing.T) {
	program, err := pauseELF(runtime.GOARCH)
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("it ended by itself: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended by %v", err)
	}
}

func TestParseContainer(t *testing.T) {
	for _, c := range []struct {
		name, inspected string
		addr, sandbox   string
		err             string
	}{
		{
			"on the network",
			`{"Id":"4f","NetworkSettings":{"SandboxKey":"/run/docker/netns/1a2b","Networks":{"bench":{"IPAddress":"10.0.1.2"}}}}`,
			"10.0.1.2", "/run/docker/netns/1a2b", "",
		},
		{"on another", `{"NetworkSettings":{"SandboxKey":"/a","Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}}`, "", "", "not on network bench"},
		{"not started", `{"NetworkSettings":{"SandboxKey":"","Networks":{"bench":{"IPAddress":""}}}}`, "", "", "not on network bench"},
		{"no address", `{"NetworkSettings":{"SandboxKey":"/a","Networks":{"bench":{"IPAddress":""}}}}`, "", "", "address"},
		{"no JSON", `page not found`, "", "", "invalid character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, sandbox, err := parseContainer([]byte(c.inspected))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || addr != netip.MustParseAddr(c.addr) || sandbox != c.sandbox {
				t.Errorf("%s in %s, %v; want %s in %s", addr, sandbox, err, c.addr, c.sandbox)
			}
		})
	}
}

func TestDockerdReason(t *testing.T) {
	for log, want := range map[string]string{
		"": "",
		"mount: /etc/docker: mount point does not exist.\n":                                                                   "mount: /etc/docker: mount point does not exist.",
		"level=info msg=\"Starting up\"\nfailed to start daemon: Devices cgroup isn't mounted\nlevel=info msg=\"stopping\"\n": "failed to start daemon: Devices cgroup isn't mounted",
	} {
		if got := dockerdReason(log); got != want {
			t.Errorf("dockerdReason(%q) = %q, want %q", log, got, want)
		}
	}
}

func TestRemoveCgroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), cgroupName(1, 1))
	for _, inside := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(dir, inside), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeCgroup(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if err := removeCgroup(t.Context(), dir); err != nil {
		t.Errorf("one that is gone already: %v", err)
	}
}

func TestCgroupNames(t *testing.T) {
	if pid := cgroupPID(cgroupName(4194303, 2)); pid != 4194303 {
		t.Errorf("cgroupPID(%s) = %d", cgroupName(4194303, 2), pid)
	}
	for _, other := range []string{"ovlbench", "ovlbench-1", "ovlbenchmark", "system.slice", ""} {
		if pid := cgroupPID(other); pid != 0 {
			t.Errorf("cgroupPID(%q) = %d: not one of bench's", other, pid)
		}
	}
}
