package linktest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/goleak"

	"github.com/ovlnet/ovl/datapath/link"
)

// settle is how long a leak may take to go away by itself: the kernel removes
// devices, and goroutines end, a little after the call that causes it.
const settle = 3 * time.Second

// VerifyNoLeaks is a TestMain: it runs the tests, and if they passed, fails
// when they left goroutines, descriptors, named network namespaces of this
// process or devices in its namespace behind. It does not return. m is the
// *testing.M; the type keeps package testing out of programs that build labs.
//
//	func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }
func VerifyNoLeaks(m interface{ Run() int }) { os.Exit(runAndVerify(m, os.Stderr)) }

func runAndVerify(m interface{ Run() int }, w io.Writer) int {
	openPoller()
	goroutines := goleak.IgnoreCurrent()
	before := held()
	code := m.Run()
	if code != 0 {
		return code
	}
	err := goleak.Find(goroutines)
	leaked := before.leaked(held())
	for end := time.Now().Add(settle); len(leaked) > 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		leaked = before.leaked(held())
	}
	if len(leaked) > 0 {
		err = errors.Join(err, errors.New(strings.Join(leaked, "\n")))
	}
	if err != nil {
		fmt.Fprintf(w, "tests passed, but leaked:\n%v\n", err) //nolint:errcheck // nowhere else to tell
		return 1
	}
	return 0
}

// openPoller makes the runtime open the descriptors that it keeps for good.
func openPoller() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close() //nolint:errcheck // nothing was written
		w.Close() //nolint:errcheck // nothing was written
	}
}

// holdings is what a process holds of the machine: "descriptor socket" to 3,
// "device veth0" to 1, and so on.
type holdings map[string]int

// held counts what this process holds now.
func held() holdings {
	h := holdings{}
	fds, _ := filepath.Glob("/proc/self/fd/*") // the pattern is well-formed
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil { // the listing's own is gone
			h["descriptor "+descriptorKind(target)]++
		}
	}
	names, _ := os.ReadDir(link.NamedDir) // not there means none
	for _, n := range names {
		if namesProcess(n.Name(), os.Getpid()) {
			h["network namespace "+n.Name()]++
		}
	}
	devices, _ := net.Interfaces() // a failure shows no devices, never a leak
	for _, d := range devices {
		h["device "+d.Name]++
	}
	return h
}

// leaked returns a line for each holding that grew since h.
func (h holdings) leaked(now holdings) []string {
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(now)) {
		if n := now[what] - h[what]; n > 0 {
			lines = append(lines, fmt.Sprintf("%s (%d)", what, n))
		}
	}
	return lines
}

// descriptorKind reduces the target of a /proc/self/fd link to what stays the
// same from one such descriptor to the next: "socket:[1234]" to "socket".
func descriptorKind(target string) string {
	if kind, inode, ok := strings.Cut(target, ":"); ok && strings.HasPrefix(inode, "[") && kind != "anon_inode" {
		return kind
	}
	return target
}

// namesProcess reports whether pid stands in name as a number by itself. A
// namespace that another process makes meanwhile is not this one's leak.
func namesProcess(name string, pid int) bool {
	numbers := strings.FieldsFunc(name, func(r rune) bool { return r < '0' || r > '9' })
	return slices.Contains(numbers, strconv.Itoa(pid))
}
