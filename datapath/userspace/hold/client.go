package hold

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Client is a connection to a holder. Its methods may be called from any
// goroutine. After an error that wraps ErrLost it is of no more use than to be
// closed.
type Client struct {
	conn    *net.UnixConn
	version byte
	pid     int

	mu      sync.Mutex // one request at a time
	answers chan packet
	// closing is closed by Close, and lost when the connection has ended.
	closing, lost chan struct{}
	closed        sync.Once
}

// Dial connects to the holder that listens at path. The error wraps ErrNone
// if there is none, and ErrLost if it does not answer.
func Dial(path string) (*Client, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("%w at %s", ErrNone, path)
	}
	if err != nil {
		return nil, fmt.Errorf("holder at %s: %w", path, err)
	}
	c, err := greet(conn)
	if err != nil {
		conn.Close() //nolint:errcheck // nothing was said
		return nil, fmt.Errorf("holder at %s: %w", path, err)
	}
	go c.receive()
	return c, nil
}

// greet hears out who is there, before any descriptor is given away.
func greet(conn *net.UnixConn) (*Client, error) {
	if uid, err := peerUID(conn); err != nil || uid != 0 && uid != uint32(os.Geteuid()) {
		return nil, fmt.Errorf("user %d listens, which is another than this one: %w", uid, errors.Join(err, os.ErrPermission))
	}
	b := make([]byte, maxPacket)
	conn.SetReadDeadline(time.Now().Add(answerTime)) //nolint:errcheck // then the read fails
	n, err := conn.Read(b)
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		return nil, fmt.Errorf("%w any more: %w", ErrNone, err) // it ended before it took the connection
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	v, pid, err := parseHello(b[:n])
	if err != nil {
		return nil, err
	}
	return &Client{
		conn: conn, version: v, pid: pid,
		answers: make(chan packet), closing: make(chan struct{}), lost: make(chan struct{}),
	}, nil
}

// PID is the holder's process, as itself sees it.
func (c *Client) PID() int { return c.pid }

// Lost is closed when the connection has ended, and the holder with it most
// likely.
func (c *Client) Lost() <-chan struct{} { return c.lost }

// Put has the holder keep a copy of f under name, 1 to 128 bytes, in place of
// what it had there. f stays the caller's. Descriptors are kept as they are,
// with what has been set on them and what waits in them.
func (c *Client) Put(name string, f *os.File) error {
	raw, err := f.SyscallConn() // Fd would make it block
	if err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	var putErr error
	err = raw.Control(func(fd uintptr) { putErr = c.put(name, int(fd)) })
	if err != nil { // the only reason there is, and the runtime's text of it wraps nothing
		return fmt.Errorf("hold %s: %w", name, os.ErrClosed)
	}
	return putErr
}

func (c *Client) put(name string, fd int) error {
	if err := c.request(put, name, fd, nil); err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	return nil
}

// All returns copies of all that is held, by name; they are the caller's to
// close. The holder goes on with its own.
func (c *Client) All() (map[string]*os.File, error) {
	all := make(map[string]*os.File)
	err := c.request(listAll, "", -1, func(p packet) {
		if p.fd < 0 || all[p.text] != nil {
			p.close()
			return
		}
		all[p.text] = os.NewFile(uintptr(p.fd), p.text)
	})
	if err != nil {
		for _, f := range all {
			f.Close() //nolint:errcheck // a copy
		}
		return nil, fmt.Errorf("take what is held: %w", err)
	}
	return all, nil
}

// Drop has the holder close what it keeps under name; nothing is success.
func (c *Client) Drop(name string) error {
	if err := c.request(drop, name, -1, nil); err != nil {
		return fmt.Errorf("let go of %s: %w", name, err)
	}
	return nil
}

// Quit ends the holder. When it returns, what was held is closed: a port that
// a socket had is free. A holder that has gone before is success.
func (c *Client) Quit() error {
	if err := c.request(quit, "", -1, nil); err != nil && !errors.Is(err, ErrLost) {
		return fmt.Errorf("end the holder: %w", err)
	}
	return nil
}

// Close ends the connection; the holder goes on. It may be called twice.
func (c *Client) Close() error {
	var err error
	c.closed.Do(func() {
		close(c.closing)
		err = c.conn.Close()
	})
	<-c.lost
	return err
}

// receive hands the holder's messages to whom they answer, and notices its
// end.
func (c *Client) receive() {
	defer close(c.lost)
	for {
		p, err := receive(c.conn)
		if err != nil {
			return
		}
		select {
		case c.answers <- p:
		case <-c.closing:
			p.close()
			return
		case <-time.After(answerTime): // nobody has asked
			p.close()
			return
		}
	}
}

// request sends one and waits for the last message of its answer; each item
// before that is handed to take, which owns its descriptor.
func (c *Client) request(op operation, name string, fd int, take func(packet)) error {
	if c.version != version && op != quit {
		return fmt.Errorf("%w: %d, this is %d", ErrVersion, c.version, version)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(answerTime)) //nolint:errcheck // then the write fails
	if err := send(c.conn, byte(op), name, fd); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	for {
		select {
		case p := <-c.answers:
			if kind(p.tag) == item && take != nil {
				take(p)
				continue
			}
			p.close()
			switch kind(p.tag) {
			case done:
				return nil
			case refused:
				return errors.New(p.text)
			}
			return errPacket
		case <-c.lost:
			return ErrLost
		case <-time.After(answerTime):
			c.conn.Close() //nolint:errcheck // its answers would be taken for those to what is asked next
			return fmt.Errorf("%w: no answer after %v", ErrLost, answerTime)
		}
	}
}
