package hold

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxConns is how many connections are served at a time: an agent's, and a
// little for one that just ended and for `ovlctl down`.
const maxConns = 8

// holder is the process that holds.
//
// Descriptors are bare numbers, never os.File: the runtime would watch those
// with epoll, and wake up this process for every packet, also while an agent
// reads them.
type holder struct {
	listener *net.UnixListener
	path     string
	// idle and look are idleTime and lookTime, less in tests.
	idle, look time.Duration

	mu    sync.Mutex
	held  map[string]int
	conns map[*net.UnixConn]bool
	// since is when there was something to do last.
	since time.Time
	// own is the socket in the file system.
	own os.FileInfo
	// over says that the holder is ending: nothing is taken any more.
	over bool

	quit   context.CancelFunc
	served sync.WaitGroup
}

func newHolder(l *net.UnixListener, path string) *holder {
	l.SetUnlinkOnClose(false) // another's socket may be at the path by then
	return &holder{
		listener: l, path: path, idle: idleTime, look: lookTime,
		held: make(map[string]int), conns: make(map[*net.UnixConn]bool), since: time.Now(),
	}
}

// run serves until ctx ends or one of the reasons to end has come. All is
// closed then.
func (h *holder) run(ctx context.Context) error {
	ctx, h.quit = context.WithCancel(ctx)
	defer h.quit()
	var err error
	if h.own, err = os.Lstat(h.path); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	h.served.Go(func() { h.accept(ctx) })
	tick := time.NewTicker(h.look)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			if !h.found() || h.idleFor() > h.idle {
				h.quit()
			}
		}
	}
	h.letGo()
	h.hangUp()
	h.served.Wait()
	return nil
}

// hangUp ends accept and every serve.
func (h *holder) hangUp() {
	h.listener.Close() //nolint:errcheck // nothing is lost
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		c.Close() //nolint:errcheck // nothing is lost
	}
}

// letGo closes all that is held, for good, and takes the socket off its path:
// whoever has been told that this is done can start another holder there. It
// may be called twice.
func (h *holder) letGo() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over && h.found() {
		os.Remove(h.path) //nolint:errcheck // one that stays leads nowhere
	}
	h.over = true
	for name, fd := range h.held {
		unix.Close(fd) //nolint:errcheck // it is gone either way
		delete(h.held, name)
	}
}

// found reports whether the path still leads to the holder's socket.
func (h *holder) found() bool {
	there, err := os.Lstat(h.path)
	return err == nil && os.SameFile(h.own, there)
}

// idleFor is how long nothing has been held and nobody been there.
func (h *holder) idleFor() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.held) > 0 || len(h.conns) > 0 {
		h.since = time.Now()
	}
	return time.Since(h.since)
}

func (h *holder) accept(ctx context.Context) {
	for {
		c, err := h.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of descriptors, say, there are none left
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if !h.admit(c) {
			c.Close() //nolint:errcheck // nothing was said
			continue
		}
		h.served.Go(func() { h.serve(c) })
	}
}

// admit takes a connection into conns, if it is one to be served.
func (h *holder) admit(c *net.UnixConn) bool {
	uid, err := peerUID(c)
	if err != nil || uid != 0 && uid != uint32(os.Geteuid()) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || len(h.conns) >= maxConns {
		return false
	}
	h.conns[c] = true
	return true
}

// serve answers one connection until it ends. What it has put stays.
func (h *holder) serve(c *net.UnixConn) {
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.conns, c)
		h.since = time.Now()
		c.Close() //nolint:errcheck // the other end knows or is gone
	}()
	if _, err := c.Write(hello()); err != nil {
		return
	}
	for {
		p, err := receive(c)
		if err != nil && !errors.Is(err, errPacket) {
			return
		}
		// One that does not read its answers must not stay for ever.
		c.SetWriteDeadline(time.Now().Add(answerTime)) //nolint:errcheck // then the write fails
		if err == nil {
			err = h.answer(c, p)
		}
		switch {
		case errors.Is(err, errAnswer):
			return
		case err != nil:
			err = send(c, byte(refused), err.Error(), -1)
		default:
			err = send(c, byte(done), "", -1)
		}
		if operation(p.tag) == quit {
			h.quit()
			return
		}
		if err != nil {
			return
		}
	}
}

// errAnswer says that the other end takes no answer.
var errAnswer = errors.New("answer not sent")

// answer does what a request asks for; the error is for who asked.
func (h *holder) answer(c *net.UnixConn, p packet) error {
	op := operation(p.tag)
	if op != put {
		p.close()
	}
	switch op {
	case put:
		err := h.put(p.text, p.fd)
		if err != nil {
			p.close()
		}
		return err
	case listAll:
		return h.sendAll(c)
	case drop:
		h.drop(p.text)
		return nil
	case quit:
		h.letGo()
		return nil
	}
	return errPacket
}

// put takes fd over, unless it returns an error.
func (h *holder) put(name string, fd int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, replaces := h.held[name]
	switch {
	case h.over:
		return ErrLost
	case fd < 0:
		return errors.New("no descriptor came with the name")
	case name == "" || len(name) > maxName:
		return fmt.Errorf("name of %d bytes: 1 to %d are allowed", len(name), maxName)
	case !replaces && len(h.held) >= maxHeld:
		return fmt.Errorf("%d descriptors are held already", maxHeld)
	}
	if replaces {
		unix.Close(old) //nolint:errcheck // it is gone either way
	}
	h.held[name] = fd
	return nil
}

func (h *holder) drop(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if fd, ok := h.held[name]; ok {
		unix.Close(fd) //nolint:errcheck // it is gone either way
		delete(h.held, name)
	}
}

// sendAll sends an item for each descriptor. The lock is held meanwhile, as a
// descriptor that is being sent must not be closed: its number would soon be
// another's.
func (h *holder) sendAll(c *net.UnixConn) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, fd := range h.held {
		if err := send(c, byte(item), name, fd); err != nil {
			return fmt.Errorf("%w: %w", errAnswer, err)
		}
	}
	return nil
}

// peerUID is the user at the other end, as of when it connected or listened.
func peerUID(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
