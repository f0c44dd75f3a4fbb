package link

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watchBuffer is the watch socket's receive buffer in bytes. A deletion is
// about 1.5 KiB, so that hundreds at once fit.
const watchBuffer = 1 << 20

// WatchRemovals returns a channel that receives the name of each interface
// that goes away from the calling thread's namespace, by deletion or by being
// moved elsewhere, from now on. An empty name means that removals were missed,
// because they came faster than the channel was read: look at everything
// again. The channel is closed after ctx has ended, and when it is, nothing of
// the watch is left.
func WatchRemovals(ctx context.Context) (<-chan string, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, fmt.Errorf("watch interfaces: %w", err)
	}
	if err := s.SetReceiveBufferSize(watchBuffer, true); err != nil {
		// Without CAP_NET_ADMIN the system's limit holds; it works, with
		// more missed.
		s.SetReceiveBufferSize(watchBuffer, false) //nolint:errcheck // best effort
	}
	removed := make(chan string)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-ctx.Done()
		s.Close() // ends Receive
	}()
	go func() {
		defer close(removed)
		defer func() { <-closed }()
		watchRemovals(ctx, s, removed)
	}()
	return removed, nil
}

func watchRemovals(ctx context.Context, s *nl.NetlinkSocket, removed chan<- string) {
	for ctx.Err() == nil {
		msgs, from, err := s.Receive()
		names := removals(msgs)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// ENOBUFS is the overrun. Nothing else is expected of a socket
			// that only listens, and a full look is right for that, too.
			names = []string{""}
			if !errors.Is(err, unix.ENOBUFS) && !pause(ctx) {
				return
			}
		case from.Pid != nl.PidKernel:
			continue
		}
		for _, name := range names {
			select {
			case removed <- name:
			case <-ctx.Done():
				return
			}
		}
	}
}

// removals returns the names in a message's RTM_DELLINKs. Those of the bridge
// family say that a port left its bridge.
func removals(msgs []syscall.NetlinkMessage) []string {
	var names []string
	for _, m := range msgs {
		if m.Header.Type != unix.RTM_DELLINK || len(m.Data) < unix.SizeofIfInfomsg ||
			nl.DeserializeIfInfomsg(m.Data).Family != unix.AF_UNSPEC {
			continue
		}
		header := unix.NlMsghdr(m.Header)
		d, err := netlink.LinkDeserialize(&header, m.Data)
		if err != nil {
			names = append(names, "")
			continue
		}
		names = append(names, d.Attrs().Name)
	}
	return names
}

// pause waits a second, so that an error that stays does not spin, and
// reports whether ctx is still good.
func pause(ctx context.Context) bool {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
