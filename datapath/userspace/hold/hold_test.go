package hold

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketPath is one whose name is short enough for a socket's.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hold")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "ovl.hold")
}

// inProcess runs a holder in this process.
func inProcess(t *testing.T, set func(*holder)) (path string, ended <-chan error) {
	t.Helper()
	path = socketPath(t)
	f, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	h := newHolder(l.(*net.UnixListener), path)
	h.look = 5 * time.Millisecond
	if set != nil {
		set(h)
	}
	done := make(chan error, 1)
	go func() { done <- h.run(t.Context()) }() // ends before the test's cleanups
	return path, done
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pipe returns one whose ends are closed with the test.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func names(t *testing.T, c interface {
	All() (map[string]*os.File, error)
}) []string {
	t.Helper()
	all, err := c.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		_ = f.Close()
	}
	return slices.Sorted(maps.Keys(all))
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not within 20 s", what)
}

// What was written while nobody had it but the holder is there for the next.
func TestPutAndAll(t *testing.T) {
	path, _ := inProcess(t, nil)
	c := dial(t, path)
	r, w := pipe(t)
	if err := errors.Join(c.Put("r", r), c.Put("other", w)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := w.WriteString("kept"); err != nil {
		t.Fatalf("the pipe has nobody to read it: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}

	next := dial(t, path)
	all, err := next.All()
	if err != nil || len(all) != 2 {
		t.Fatalf("all is %v, %v", all, err)
	}
	b := make([]byte, 16)
	n, err := all["r"].Read(b)
	if string(b[:n]) != "kept" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	for _, f := range all {
		_ = f.Close()
	}
	if got := names(t, next); !slices.Equal(got, []string{"other", "r"}) {
		t.Errorf("after they were taken the holder has %v", got)
	}
}

// A name that is put again is another descriptor, and what was under it is
// closed, as is what is dropped.
func TestReplaceAndDrop(t *testing.T) {
	path, _ := inProcess(t, nil)
	c := dial(t, path)
	r1, w1 := pipe(t)
	r2, w2 := pipe(t)
	if err := errors.Join(c.Put("w", w1), c.Put("w", w2)); err != nil {
		t.Fatal(err)
	}
	_, _ = w1.Close(), w2.Close()
	atEnd := func(r *os.File) bool {
		_ = r.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := r.Read(make([]byte, 1))
		return errors.Is(err, io.EOF)
	}
	if !atEnd(r1) {
		t.Error("what was replaced is still open")
	}
	if atEnd(r2) {
		t.Error("what replaced it is closed")
	}
	if err := errors.Join(c.Drop("w"), c.Drop("w")); err != nil {
		t.Error(err)
	}
	if !atEnd(r2) {
		t.Error("what was dropped is still open")
	}
}

// A descriptor that does not block does not in other hands either.
func TestKeepsNonblocking(t *testing.T) {
	path, _ := inProcess(t, nil)
	c := dial(t, path)
	r, _ := pipe(t)
	if err := c.Put("r", r); err != nil {
		t.Fatal(err)
	}
	all, err := c.All()
	if err != nil {
		t.Fatal(err)
	}
	defer all["r"].Close()
	for _, f := range []*os.File{r, all["r"]} {
		if err := f.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Errorf("%s blocks: %v", f.Name(), err)
		}
	}
}

// Quit comes back when everything is closed and the path is free.
func TestQuit(t *testing.T) {
	path, ended := inProcess(t, nil)
	c := dial(t, path)
	s, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Put("s", f), f.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if again, err := net.ListenPacket("udp", s.LocalAddr().String()); err == nil {
		_ = again.Close()
		t.Error("the port is free while its socket is held")
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	again, err := net.ListenPacket("udp", s.LocalAddr().String())
	if err != nil {
		t.Fatalf("the port after Quit: %v", err)
	}
	_ = again.Close()
	if _, err := Dial(path); !errors.Is(err, ErrNone) {
		t.Errorf("dial after Quit: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := c.Quit(); err != nil {
		t.Errorf("a second Quit: %v", err)
	}
}

func TestEndsWhenItsSocketIsGone(t *testing.T) {
	path, ended := inProcess(t, nil)
	c := dial(t, path)
	r, _ := pipe(t)
	if err := errors.Join(c.Put("r", r), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-c.Lost()
}

// It ends when idle, but not while it holds something or somebody is there,
// and leaves another's socket where it is.
func TestEndsWhenIdle(t *testing.T) {
	path, ended := inProcess(t, func(h *holder) { h.idle = 50 * time.Millisecond })
	c := dial(t, path)
	r, _ := pipe(t)
	stays := func(why string) {
		t.Helper()
		select {
		case err := <-ended:
			t.Fatalf("it ended although %s: %v", why, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
	stays("somebody is there")
	if err := c.Put("r", r); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	stays("it holds something")
	c = dial(t, path)
	if err := errors.Join(c.Drop("r"), c.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it left its socket: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	path, _ := inProcess(t, nil)
	c := dial(t, path)
	r, _ := pipe(t)
	for _, name := range []string{"", strings.Repeat("x", maxName+1)} {
		if err := c.Put(name, r); err == nil || !strings.Contains(err.Error(), "1 to 128") {
			t.Errorf("name of %d bytes: %v", len(name), err)
		}
	}
	if err := c.Put(strings.Repeat("x", 2*maxPacket), r); err == nil {
		t.Error("a name that is cut off was taken")
	}
	if err := c.Put(strings.Repeat("x", maxName), r); err != nil {
		t.Error(err)
	}
	_ = r.Close()
	if err := c.Put("r", r); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed file: %v", err)
	}
	if got := names(t, c); len(got) != 1 {
		t.Errorf("held are %v", got)
	}
	if _, err := Dial(path + "x"); !errors.Is(err, ErrNone) {
		t.Errorf("dial of nothing: %v", err)
	}
}

// Only the owner of the socket gets at it.
func TestPermissions(t *testing.T) {
	path, _ := inProcess(t, nil)
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
}

// Whatever comes, the holder goes on and loses nothing that it has.
func TestHostileBytes(t *testing.T) {
	path, _ := inProcess(t, nil)
	c := dial(t, path)
	r, w := pipe(t)
	if err := c.Put("r", r); err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"x", "p", "pname", "\x00", "o", strings.Repeat("a", 5000), "d", "dnothing"} {
		for _, fds := range [][]int{nil, {int(w.Fd())}, {int(w.Fd()), int(w.Fd())}, slices.Repeat([]int{int(w.Fd())}, 100)} {
			raw, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
			if err != nil {
				t.Fatal(err)
			}
			var rights []byte
			if fds != nil {
				rights = unix.UnixRights(fds...)
			}
			if _, _, err := raw.WriteMsgUnix([]byte(b), rights, nil); err != nil {
				t.Errorf("%.5q with %d descriptors: %v", b, len(fds), err)
			}
			_ = raw.SetReadDeadline(time.Now().Add(5 * time.Second))
			for range 2 { // the greeting, and what it says to that
				if n, err := raw.Read(make([]byte, maxPacket)); n == 0 || err != nil {
					t.Errorf("%.5q with %d descriptors: answer of %d bytes, %v", b, len(fds), n, err)
				}
			}
			_ = raw.Close()
		}
	}
	if got := names(t, c); !slices.Equal(got, []string{"name", "r"}) {
		t.Errorf("held are %v", got)
	}
}

// One that connects and reads nothing is one of few, and harms nobody else.
func TestCrowd(t *testing.T) {
	path, _ := inProcess(t, nil)
	c := dial(t, path)
	for range maxConns + 4 {
		raw, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
	}
	r, _ := pipe(t)
	if err := c.Put("r", r); err != nil {
		t.Error(err)
	}
}

// other is a holder of another version, which knows nothing but quit.
func other(t *testing.T, path string) (asked <-chan byte) {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ops := make(chan byte, 8)
	go func() {
		defer close(ops)
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			greeting := hello()
			greeting[len(magic)] = version + 1
			_, _ = c.Write(append(greeting, "and more"...))
			for {
				p, err := receive(c)
				if err != nil {
					break
				}
				ops <- p.tag
				if operation(p.tag) == quit {
					_ = l.Close() // takes the path away, and so comes first
				}
				_ = send(c, byte(done), "", -1)
			}
			_ = c.Close()
		}
	}()
	return ops
}

func TestOtherVersion(t *testing.T) {
	path := socketPath(t)
	asked := other(t, path)
	c := dial(t, path)
	r, _ := pipe(t)
	_, err := c.All()
	for _, err := range []error{err, c.Put("r", r), c.Drop("r")} {
		if !errors.Is(err, ErrVersion) {
			t.Errorf("error is %v", err)
		}
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	if op := <-asked; operation(op) != quit {
		t.Errorf("it was asked for %q", op)
	}
}

// A client is told, and its next request fails at once.
func TestLost(t *testing.T) {
	path, ended := inProcess(t, nil)
	c := dial(t, path)
	if err := dial(t, path).Quit(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-c.Lost()
	if _, err := c.All(); !errors.Is(err, ErrLost) {
		t.Errorf("error is %v", err)
	}
}

var quiet = slog.New(slog.DiscardHandler)
