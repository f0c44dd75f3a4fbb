package link

import (
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DropCounter reads how many packets devices have dropped. It belongs to the
// network namespace that it was opened in, and may be used from any thread and
// by several goroutines.
type DropCounter struct {
	mu     sync.Mutex
	handle *netlink.Handle
}

// OpenDropCounter opens one for the calling thread's namespace.
func OpenDropCounter() (*DropCounter, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &DropCounter{handle: h}, nil
}

// TXDropped returns, by the name of every device, how many packets that were
// to go out of it were dropped there since it was made: for a TAP, those that
// its reader was too slow for.
func (c *DropCounter) TXDropped() (map[string]uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handle == nil {
		return nil, errors.New("read dropped packets: counter is closed")
	}
	devices, err := dump(c.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	dropped := make(map[string]uint64, len(devices))
	for _, d := range devices {
		if s := d.Attrs().Statistics; s != nil {
			dropped[d.Attrs().Name] = s.TxDropped
		}
	}
	return dropped, nil
}

// Close may be called twice.
func (c *DropCounter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handle != nil {
		c.handle.Close()
		c.handle = nil
	}
	return nil
}
