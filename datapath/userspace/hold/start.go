package hold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is the argument with which Start runs this binary again; the path of
// the socket follows. Whoever uses Start has a main that then calls Run.
const Command = "hold"

// envStage says to Run which of the two processes it is.
const envStage = "OVL_HOLD_STAGE"

// The holder is started twice over: the first process starts the second and
// ends, and the kernel makes the second a child of init's, so that no agent
// has to wait for its end.
const (
	stageFork = "fork"
	stageHold = "hold"
)

// backlog is how many connections may wait to be accepted: more than ever do.
const backlog = 64

// listenerFD is where the holder finds the socket that it is to serve.
const listenerFD = 3

// Start sees to it that a holder listens at path, a unix socket that is made
// for root alone: one that is there and of this version already, or a new one.
// One of another version is ended first, and what it holds is closed. The
// holder runs in the caller's namespaces.
func Start(ctx context.Context, path string) error {
	if stage := os.Getenv(envStage); stage != "" {
		// A binary that does not know Command: each would start another.
		return fmt.Errorf("start a holder: this process is to be one (%s is %s)", envStage, stage)
	}
	c, err := Dial(path)
	if err == nil {
		defer c.Close() //nolint:errcheck // nothing more to say
		if c.version == version {
			return nil
		}
		if err := c.Quit(); err != nil {
			return err
		}
	}
	l, err := listen(path)
	if err != nil {
		return fmt.Errorf("start a holder: %w", err)
	}
	defer l.Close() //nolint:errcheck // the holder has its own copy
	if err := spawn(ctx, l, path); err != nil {
		return fmt.Errorf("start a holder: %w", errors.Join(err, os.Remove(path)))
	}
	started, err := Dial(path)
	if err != nil {
		return fmt.Errorf("start a holder: %w", errors.Join(err, os.Remove(path)))
	}
	return started.Close()
}

// End ends the holder at path, if there is one, and takes away what is there.
// When it returns without an error, what was held is closed. One that does not
// answer ends a little later, for want of its socket; the error then wraps
// ErrLost.
func End(path string) error {
	c, err := Dial(path)
	if errors.Is(err, ErrNone) {
		return removeIfThere(path)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(path))
	}
	return errors.Join(c.Quit(), c.Close(), removeIfThere(path))
}

// Run is the holder's life, and that of the process that starts it. It returns
// when ctx ends, or as the package's comment says.
func Run(ctx context.Context, path string) error {
	switch os.Getenv(envStage) {
	case stageFork:
		// Start's own context must not end what it starts.
		cmd := again(context.Background(), path, stageHold, os.NewFile(listenerFD, "listener"))
		if err := cmd.Start(); err != nil {
			return err
		}
		return cmd.Process.Release()
	case stageHold:
		f := os.NewFile(listenerFD, "listener")
		l, err := net.FileListener(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("the socket to listen at was not handed over: %w", err)
		}
		u, ok := l.(*net.UnixListener)
		if !ok {
			return fmt.Errorf("a socket of %s was handed over, not of a unix path", l.Addr().Network())
		}
		return newHolder(u, path).run(ctx)
	}
	return errors.New("the agent runs this by itself, to keep its devices and sockets open while it restarts")
}

// spawn runs the first process to its end.
func spawn(ctx context.Context, l *os.File, path string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	cmd := again(ctx, path, stageFork, l)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// again is this binary as a holder: in a session of its own, out of reach of
// the terminal's signals, in no folder that somebody may want to unmount, with
// nothing of the agent's environment, least of all systemd's socket. It has
// very little to do: a small heap and one processor are enough.
func again(ctx context.Context, path, stage string, listener *os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", Command, path)
	cmd.Env = []string{envStage + "=" + stage, "GOMAXPROCS=1", "GOGC=25"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{listener}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// listen returns a listening socket that has appeared at path in one step, with
// the permissions that it keeps. What was there is replaced: Dial has found
// nobody.
func listen(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	fresh := path + ".new"
	if err := bind(fd, fresh); err != nil {
		return nil, errors.Join(fmt.Errorf("listen at %s: %w", path, err), f.Close(), removeIfThere(fresh))
	}
	if err := os.Rename(fresh, path); err != nil {
		return nil, errors.Join(err, f.Close(), removeIfThere(fresh))
	}
	return f, nil
}

// bind gives a socket its name. Nobody can connect before listen, and by then
// nobody may but its owner.
func bind(fd int, path string) error {
	if err := removeIfThere(path); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	return os.NewSyscallError("listen", unix.Listen(fd, backlog))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
