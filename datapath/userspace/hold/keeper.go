package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// firstRetry and lastRetry bound the wait before a holder that cannot be
	// started is tried again, which doubles.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Keeper is an agent's hold on a holder: it remembers what is to be held, and
// when the holder dies starts another and puts everything there again.
type Keeper struct {
	path string
	log  *slog.Logger

	mu sync.Mutex
	// copies are of what is to be held. They are no os.File: the runtime's
	// poller would be woken for each as well.
	copies map[string]int
	// client is nil while there is no holder.
	client *Client

	cancel context.CancelFunc
	done   chan struct{}
}

// Keep starts a holder at path, or finds the one that an earlier agent has
// left, whose descriptors All then returns.
func Keep(ctx context.Context, path string, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{path: path, log: log, copies: make(map[string]int), done: make(chan struct{})}
	var err error
	if k.client, err = dialStarted(ctx, path); err != nil {
		return nil, err
	}
	var watching context.Context
	watching, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go k.watch(watching, k.client)
	return k, nil
}

func dialStarted(ctx context.Context, path string) (*Client, error) {
	if err := Start(ctx, path); err != nil {
		return nil, err
	}
	return Dial(path)
}

// All is Client.All: what an earlier agent had put.
func (k *Keeper) All() (map[string]*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.client == nil {
		return nil, ErrLost
	}
	return k.client.All()
}

// Put is Client.Put, with a copy of f that the Keeper has until Drop or Close.
// Without a holder it is put as soon as there is one again, and that is no
// error: everything works without, but for the next restart. What an earlier
// process had put is to be put again, or the next holder does not get it.
func (k *Keeper) Put(name string, f *os.File) error {
	fd, err := duplicate(f)
	if err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.client != nil {
		if err := k.client.put(name, fd); err != nil && !errors.Is(err, ErrLost) {
			return errors.Join(err, unix.Close(fd))
		}
	}
	k.forget(name)
	k.copies[name] = fd
	return nil
}

func duplicate(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	if raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }) != nil {
		return -1, os.ErrClosed
	}
	return fd, err
}

// forget closes the Keeper's own copy.
func (k *Keeper) forget(name string) {
	if fd, ok := k.copies[name]; ok {
		unix.Close(fd) //nolint:errcheck // a copy
		delete(k.copies, name)
	}
}

// Drop is Client.Drop. A name that only an earlier agent knows is dropped as
// well.
func (k *Keeper) Drop(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(name)
	if k.client == nil {
		return nil
	}
	if err := k.client.Drop(name); err != nil && !errors.Is(err, ErrLost) {
		return err
	}
	return nil
}

// Close ends the connection; the holder goes on with what it has. It may be
// called twice.
func (k *Keeper) Close() error {
	k.cancel()
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.copies {
		k.forget(name)
	}
	if k.client == nil {
		return nil
	}
	err := k.client.Close()
	k.client = nil
	return err
}

// watch starts the holder again whenever it is lost.
func (k *Keeper) watch(ctx context.Context, client *Client) {
	defer close(k.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-client.Lost():
		}
		k.log.Warn("holder of descriptors is gone, starting another", "path", k.path)
		k.mu.Lock()
		k.client = nil
		k.mu.Unlock()
		client.Close() //nolint:errcheck // it is lost
		if client = k.restart(ctx); client == nil {
			return
		}
	}
}

// restart returns a holder that has everything, or nil when ctx ends.
func (k *Keeper) restart(ctx context.Context) *Client {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		client, err := dialStarted(ctx, k.path)
		if err == nil {
			if err = k.hand(client); err == nil {
				return client
			}
			client.Close() //nolint:errcheck // of no use
		}
		if ctx.Err() == nil {
			k.log.Warn("no holder of descriptors: a restart of the agent would lose packets", "path", k.path, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// hand puts everything into a new holder, and makes it the one that is used.
func (k *Keeper) hand(client *Client) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, fd := range k.copies {
		if err := client.put(name, fd); err != nil {
			return fmt.Errorf("after a restart of the holder: %w", err)
		}
	}
	k.client = client
	return nil
}
