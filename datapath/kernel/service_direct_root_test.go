package kernel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestServiceDirect: who has been to a VIP may connect to its backend itself from the
// same port, once that is over.
func TestServiceDirect(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testServiceDirect) }

func testServiceDirect(t *testing.T, o linktest.Options) {
	f := newTrafficBed(t, o)
	const port = 8000
	for _, to := range []*bedEndpoint{f.near, f.far} {
		tcpEcho(t, to.Namespace, port)
		f.serve(to)
		for i, vip := range []netip.Addr{vip4, vip6} {
			for name, end := range map[string]func(*net.TCPConn) error{"finished": finish, "reset": func(c *net.TCPConn) error { return c.SetLinger(0) }} {
				begun := time.Now()
				for range 50 {
					c, err := tcpDialFrom(f.a.Namespace, 0, netip.AddrPortFrom(vip, port))
					if err != nil {
						t.Fatal(err)
					}
					local := c.LocalAddr().(*net.TCPAddr).Port
					if err := errors.Join(say(c), end(c), c.Close()); err != nil {
						t.Fatal(err)
					}
					c, err = tcpDialFrom(f.a.Namespace, local, netip.AddrPortFrom(to.port.Addrs[i], port))
					if err != nil {
						t.Fatalf("%s by %s, then to %s: %v", name, vip, to.Name, err)
					}
					if err := errors.Join(say(c), c.SetLinger(0), c.Close()); err != nil {
						t.Errorf("%s by %s, then to %s: %v", name, vip, to.Name, err)
					}
				}
				t.Log(name, vip, to.Name, time.Since(begun))
			}
		}
	}
}

// finish ends a connection, and waits for the other end to do so.
func finish(c *net.TCPConn) error {
	if err := c.CloseWrite(); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%d bytes, %w", n, err)
	}
	return nil
}

// tcpDialFrom connects a socket that has a port although another one has it to
// elsewhere; 0 is any port.
func tcpDialFrom(ns *linktest.Namespace, port int, to netip.AddrPort) (c *net.TCPConn, err error) {
	d := net.Dialer{
		Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{Port: port},
		Control: func(_, _ string, raw syscall.RawConn) (err error) {
			failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			return errors.Join(failed, err)
		},
	}
	err = ns.Do(func() error {
		conn, err := d.Dial("tcp", to.String())
		if err == nil {
			c = conn.(*net.TCPConn)
		}
		return err
	})
	return c, err
}
