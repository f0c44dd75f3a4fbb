package hold

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// started starts a real holder, which ends with the test.
func started(t *testing.T, path string) *Client {
	t.Helper()
	if err := Start(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	c := dial(t, path)
	t.Cleanup(func() { endAt(t, path) })
	return c
}

// endAt ends the holder at path, if there is one.
func endAt(t *testing.T, path string) {
	c, err := Dial(path)
	if errors.Is(err, ErrNone) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	if err := errors.Join(c.Quit(), c.Close()); err != nil {
		t.Error(err)
	}
	await(t, "the holder ends", func() bool { return ended(t, c.PID()) })
}

// ended reports whether a process runs no more; init may not have noticed yet.
func ended(t *testing.T, pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(stat), ") Z ")
}

// The holder is a process on its own.
func TestStart(t *testing.T) {
	path := socketPath(t)
	c := started(t, path)
	if err := Start(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if again := dial(t, path); again.PID() != c.PID() {
		t.Error("a second Start has replaced a holder that was well")
	}
	pid := c.PID()
	if pid == os.Getpid() {
		t.Fatal("it is this process")
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')'):]))
	if ppid, session := fields[2], fields[4]; ppid == fmt.Sprint(os.Getpid()) || session != fmt.Sprint(pid) {
		t.Errorf("its parent is %s and its session %s, want none of this process's", ppid, session)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != "/" || err != nil {
		t.Errorf("its folder is %s, %v", cwd, err)
	}
	for fd := range 3 {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); to != "/dev/null" || err != nil {
			t.Errorf("its descriptor %d is %s, %v", fd, to, err)
		}
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// What is at the path and is no holder, or one that is dead, is replaced.
func TestStartOverStale(t *testing.T) {
	path := socketPath(t)
	first := started(t, path)
	if err := unix.Kill(first.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.Lost()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the socket should have been left: %v", err)
	}
	if second := started(t, path); second.PID() == first.PID() {
		t.Error("the dead one is there")
	}
}

// One of another version is ended, and one of this takes its place.
func TestStartOverOtherVersion(t *testing.T) {
	path := socketPath(t)
	asked := other(t, path)
	c := started(t, path)
	if op := <-asked; operation(op) != quit {
		t.Errorf("it was asked for %q", op)
	}
	if got := names(t, c); len(got) != 0 {
		t.Errorf("the new one has %v", got)
	}
}

// End leaves neither a process nor a socket, and has nothing against there
// being none.
func TestEnd(t *testing.T) {
	path := socketPath(t)
	c := started(t, path)
	for range 2 {
		if err := End(path); err != nil {
			t.Error(err)
		}
	}
	<-c.Lost()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket: %v", err)
	}
	c = started(t, path)
	if err := unix.Kill(c.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-c.Lost()
	if err := End(path); err != nil {
		t.Errorf("end one that is dead: %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket of one that is dead: %v", err)
	}
}

func TestStartFails(t *testing.T) {
	if err := Start(t.Context(), "/proc/nowhere/ovl.hold"); err == nil {
		t.Error("a holder listens where nobody can")
	}
	// Run by hand it does nothing but say what it is for.
	out, err := exec.Command("/proc/self/exe", Command, "/x").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "agent") {
		t.Errorf("by hand: %v: %s", err, out)
	}
	t.Setenv(envStage, stageFork)
	if err := Start(t.Context(), socketPath(t)); err == nil || !strings.Contains(err.Error(), "to be one") {
		t.Errorf("Start in a binary that does not know %q: %v", Command, err)
	}
}

// The agent goes on when its holder is killed, and everything is held again.
func TestKeep(t *testing.T) {
	path := socketPath(t)
	k, err := Keep(t.Context(), path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endAt(t, path) })
	r, w := pipe(t)
	closed, _ := pipe(t)
	if err := errors.Join(k.Put("r", r), k.Put("w", w), k.Put("closed", closed), k.Drop("w")); err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	if err := k.Put("closed", closed); !errors.Is(err, os.ErrClosed) {
		t.Errorf("put of what is closed: %v", err)
	}
	first := dial(t, path)
	if err := unix.Kill(first.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.Lost()
	if err := k.Put("late", w); err != nil {
		t.Errorf("put while there may be no holder: %v", err)
	}
	await(t, "another holder has everything", func() bool {
		all, err := k.All()
		for _, f := range all {
			_ = f.Close()
		}
		return err == nil && all["r"] != nil && all["closed"] != nil && all["late"] != nil && len(all) == 3
	})
	if err := errors.Join(k.Close(), k.Close()); err != nil {
		t.Error(err)
	}

	// The next agent finds it.
	next, err := Keep(t.Context(), path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, next); !slices.Equal(got, []string{"closed", "late", "r"}) {
		t.Errorf("the next agent finds %v", got)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}

// As many endpoints as that have a descriptor each.
func TestManyDescriptors(t *testing.T) {
	path := socketPath(t)
	c := started(t, path)
	r, _ := pipe(t)
	const many = 3000
	for i := range many {
		if err := c.Put(fmt.Sprintf("tap%d", i), r); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, c); len(got) != many {
		t.Errorf("%d of %d came back", len(got), many)
	}
}

// A holder that ends while somebody connects is none any more, which is what who
// wants it to end has asked for.
func TestEndDying(t *testing.T) {
	for name, end := range map[string]func(*net.UnixListener){
		"before it takes the connection": func(l *net.UnixListener) {
			time.Sleep(50 * time.Millisecond) // connections wait in the backlog
			_ = l.Close()
		},
		"before it says anything": func(l *net.UnixListener) {
			c, err := l.Accept()
			if err == nil {
				_ = c.Close()
			}
			_ = l.Close()
		},
	} {
		path := socketPath(t)
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		ended := make(chan struct{})
		go func() { defer close(ended); end(l) }()
		if err := End(path); err != nil {
			t.Errorf("one that ends %s: %v", name, err)
		}
		<-ended
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket of one that ends %s: %v", name, err)
		}
	}
}
