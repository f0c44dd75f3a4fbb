package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// without is the argument that makes this binary run what follows with a system
// call refused, as the default seccomp profiles of containers do it: the name of
// one of refusable, then the program.
const without = "without-syscall"

// refusable are the system calls that can be refused.
func refusable() map[string]uint32 {
	return map[string]uint32{"bpf": unix.SYS_BPF, "mount": unix.SYS_MOUNT}
}

// execWithout becomes the program in args with a system call refused; it
// returns only an error.
func execWithout(name string, args []string) error {
	number, ok := refusable()[name]
	if !ok {
		return fmt.Errorf("no system call %q to refuse", name)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	// A filter is the thread's that sets it, and of what that executes.
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: number},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return unix.Exec(path, args, os.Environ())
}
