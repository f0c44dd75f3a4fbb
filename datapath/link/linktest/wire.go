package linktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A veth pair hands a packet over as the kernel has it: uncut, with checksums
// still to be filled in, and with the sender's notes that it was encapsulated.
// On a wire there is none of that. Here it is two TAPs, between which this
// process carries bytes: what comes in is what a NIC without any offload
// receives, and its GRO has all the work.

// wire carries frames between the underlay devices of two hosts.
type wire struct {
	ends [2]*os.File
	done sync.WaitGroup
}

// groTimeout is how long, in ns, GRO waits for more: the frames come one by
// one, where a NIC brings as many as it has.
const groTimeout = 100_000

// joinByWire gives each of the two hosts an end of a wire.
func (l *Lab) joinByWire(mtu int) error {
	w := &wire{}
	for i, h := range l.Hosts {
		err := h.Do(func() (err error) {
			w.ends[i], err = openWireEnd(UnderlayDevice)
			return err
		})
		if err == nil {
			err = h.prepareWireEnd(mtu)
		}
		if err != nil {
			w.cut()
			return fmt.Errorf("wire's end at %s: %w", h.Name, err)
		}
	}
	w.done.Go(func() { carry(w.ends[0], w.ends[1]) })
	w.done.Go(func() { carry(w.ends[1], w.ends[0]) })
	l.mu.Lock()
	l.wire = w
	l.mu.Unlock()
	return l.configureHosts()
}

// openWireEnd makes a TAP in the calling thread's namespace. With IFF_NAPI what
// is written to it goes through GRO, as with a NIC.
func openWireEnd(name string) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_NAPI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("TAP %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (h *Host) prepareWireEnd(mtu int) error {
	err := h.Do(func() error {
		d, err := netlink.LinkByName(UnderlayDevice)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(d, mtu)
	})
	if err != nil {
		return err
	}
	// The file system of devices shows those of the namespace that it was
	// mounted in; `ip netns exec` mounts one.
	write := "echo " + strconv.Itoa(groTimeout) + " >/sys/class/net/" + UnderlayDevice + "/gro_flush_timeout"
	if out, err := exec.Command("ip", "netns", "exec", h.Name, "sh", "-c", write).CombinedOutput(); err != nil {
		return fmt.Errorf("GRO timeout: %w: %s", err, out)
	}
	return nil
}

// carry copies frames until an end is closed.
func carry(to io.Writer, from io.Reader) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		_, _ = to.Write(buf[:n]) // a frame that is refused is lost, as on a wire
	}
}

func (w *wire) cut() {
	for _, end := range w.ends {
		if end != nil {
			_ = end.Close()
		}
	}
	w.done.Wait()
}

// SetFeature switches a feature of the underlay device of every host, by the
// name that ethtool has for it.
func (l *Lab) SetFeature(ctx context.Context, feature string, on bool) error {
	state := "off"
	if on {
		state = "on"
	}
	for _, h := range l.Hosts {
		if out, err := h.Command(ctx, "ethtool", "-K", UnderlayDevice, feature, state).CombinedOutput(); err != nil {
			return fmt.Errorf("host %s: ethtool: %w: %s", h.Name, err, out)
		}
	}
	return nil
}
