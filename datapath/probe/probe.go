// Package probe says which datapath this host can run, and why.
//
// The true test of the kernel datapath is to bring it up; what comes back from
// the kernel then is mostly EPERM or EINVAL. Kernel is asked after such a
// failure and tries, from the simplest on, what everything else stands on. The
// first thing that cannot be done is the reason.
//
//	privilege ─▶ bpffs ─▶ map ─▶ tc program ─▶ helpers
//
// Userspace (userspace.go) does the same for the other one, and is asked before
// a datapath that works makes room for it as well.
package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Answer is what a probe found.
type Answer string

// The three answers.
const (
	Yes Answer = "yes"
	No  Answer = "no"
	// Unknown: the attempt failed in a way that says nothing about what the
	// host can do.
	Unknown Answer = "could not tell"
)

// Result is an answer and what it rests on, one line for `ovlctl status`.
type Result struct {
	OK     Answer
	Reason string
}

// Kernel reports whether this host can run the kernel datapath, with its
// programs and maps pinned in the folder bpffsDir. It leaves nothing behind.
func Kernel(ctx context.Context, bpffsDir string) Result {
	return judge(ctx, []check{
		{"privilege", privilege},
		{"BPF file system", func() error { return bpffs(bpffsDir) }},
		{"BPF map", createMap},
		{"BPF program for tc", loadProgram},
		{"bpf_redirect_peer and bpf_skb_adjust_room", helpers},
	})
}

// check is one thing that the kernel datapath cannot do without.
type check struct {
	what string
	try  func() error
}

// errMissing is wrapped where a check can say no by itself.
var errMissing = errors.New("missing")

// missing makes an error that means no, without adding to the text.
type missing struct{ text string }

func (m missing) Error() string        { return m.text }
func (m missing) Is(target error) bool { return target == errMissing }

func missingf(format string, args ...any) error { return missing{fmt.Sprintf(format, args...)} }

// judge runs checks until one fails.
func judge(ctx context.Context, checks []check) Result {
	for _, c := range checks {
		if err := ctx.Err(); err != nil {
			return Result{Unknown, fmt.Sprintf("%s: not tried: %v", c.what, err)}
		}
		err := c.try()
		switch {
		case err == nil:
			continue
		case errors.Is(err, errMissing):
			return Result{No, fmt.Sprintf("%s: %v", c.what, err)}
		case errors.Is(err, ebpf.ErrNotSupported):
			return Result{No, fmt.Sprintf("%s: kernel %s cannot do it: %v", c.what, release(), err)}
		case errors.Is(err, unix.EPERM):
			return Result{No, fmt.Sprintf("%s: the kernel forbids it%s: %v", c.what, lockdown(), err)}
		default:
			return Result{Unknown, fmt.Sprintf("%s: %v", c.what, err)}
		}
	}
	return Result{Yes, "kernel " + release() + " can do all that the kernel datapath needs"}
}
