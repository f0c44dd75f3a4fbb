package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// privilege looks for what the bpf system call and tc ask for. CAP_BPF is
// there since Linux 5.8; CAP_SYS_ADMIN implies it.
func privilege() error {
	has, err := capabilities()
	switch {
	case err != nil:
		return err
	case !has(unix.CAP_BPF) && !has(unix.CAP_SYS_ADMIN):
		return missingf("neither CAP_BPF nor CAP_SYS_ADMIN")
	case !has(unix.CAP_NET_ADMIN):
		return missingf("no CAP_NET_ADMIN")
	}
	return nil
}

// capabilities returns how to look up one that the process can use.
func capabilities() (has func(capability int) bool, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	return func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }, nil
}

// bpffs looks whether dir is, or would be made, in a BPF file system.
func bpffs(dir string) error {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		var st unix.Statfs_t
		err := unix.Statfs(at, &st)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != "/" && at != ".":
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", at, err)
		case st.Type != unix.BPF_FS_MAGIC:
			return missingf("%s is not in one: mount -t bpf bpf /sys/fs/bpf", dir)
		}
		return nil
	}
}

// createMap makes a map of the kind that the forwarding table is.
func createMap() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "ovl_probe", Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return err
	}
	return m.Close()
}

// loadProgram has the smallest tc program verified.
func loadProgram() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "ovl_probe",
		Type:         ebpf.SchedCLS,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		return err
	}
	return p.Close()
}

// helpers are the youngest ones that the programs call: bpf_redirect_peer is
// there since Linux 5.10.
func helpers() error {
	for _, h := range []asm.BuiltinFunc{asm.FnSkbAdjustRoom, asm.FnRedirectPeer} {
		if err := features.HaveProgramHelper(ebpf.SchedCLS, h); err != nil {
			return fmt.Errorf("%v: %w", h, err)
		}
	}
	return nil
}

// release is the running kernel's version.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown version"
	}
	text, _, _ := bytes.Cut(u.Release[:], []byte{0})
	return string(text)
}

// lockdown says so if the kernel is locked down (Linux 5.4, kernel_lockdown(7)).
func lockdown() string {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	return lockdownMode(string(text))
}

// lockdownMode reads the mode in brackets out of "none [integrity]
// confidentiality".
func lockdownMode(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	mode, _, found := strings.Cut(rest, "]")
	if !found || mode == "none" {
		return ""
	}
	return " (it is locked down: " + mode + ")"
}
