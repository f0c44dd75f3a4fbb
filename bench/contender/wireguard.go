package contender

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// wireguard is wireguard-go: packets go through a program that encrypts them,
// on each host, between a TUN device and a UDP socket.
//
// What is measured runs on the hosts themselves, on the addresses of the TUN
// devices, as people use WireGuard. That favours it: the others' endpoints
// have a namespace of their own, and a veth pair more on the way.
type wireguard struct {
	binary string

	logs    string
	tunnels []*wireguardTunnel
}

// wireguardTunnel is a wireguard-go on one host.
type wireguardTunnel struct {
	host *linktest.Host
	// device is the name of the TUN device. The program's control socket goes
	// by it too, so it is unique on the machine, not only on the host.
	device string
	addr   netip.Addr
	key    wgtypes.Key
	daemon *daemon
}

const (
	// wireguardPrefix begins the devices' names; the PID of the bench
	// follows, then the number of the host.
	wireguardPrefix = "wgb"
	// wireguardSockets is where wireguard-go keeps its control sockets.
	wireguardSockets = "/var/run/wireguard"
	wireguardPort    = 51820
	// wireguardOverhead is what wg-quick leaves for the tunnel's headers, in
	// bytes: enough for an IPv6 underlay.
	wireguardOverhead = 80
)

func wireguardDevice(pid, host int) string {
	return fmt.Sprintf("%s%d-%d", wireguardPrefix, pid, host)
}

// socket is where the program is told its configuration.
func (t *wireguardTunnel) socket() string { return filepath.Join(wireguardSockets, t.device+".sock") }

func (*wireguard) Name() string { return "wireguard" }

func (w *wireguard) Setup(ctx context.Context, lab *linktest.Lab) (measure.Pair, error) {
	_, err := os.Stat(w.binary)
	if err != nil {
		return measure.Pair{}, fmt.Errorf("wireguard-go: %w", err)
	}
	if w.logs, err = makeLogs(w.Name()); err != nil {
		return measure.Pair{}, err
	}
	for i := range 2 {
		t, err := newWireguardTunnel(lab.Hosts[i], i+1)
		if err != nil {
			return measure.Pair{}, err
		}
		w.tunnels = append(w.tunnels, t)
	}
	for i, t := range w.tunnels {
		if err := t.start(ctx, w.binary, w.logs); err != nil {
			return measure.Pair{}, fmt.Errorf("host %d: wireguard-go: %w", i+1, err)
		}
		if err := t.connect(w.tunnels[1-i]); err != nil {
			return measure.Pair{}, errors.Join(fmt.Errorf("host %d: %w", i+1, err), t.daemon.lastWords())
		}
	}
	return measure.Pair{Client: w.tunnels[0].offer(), Server: w.tunnels[1].offer()}, nil
}

func (w *wireguard) Teardown(context.Context) error {
	var errs []error
	for _, t := range w.tunnels {
		errs = append(errs, t.stop())
	}
	return errors.Join(append(errs, removeLogs(w.logs))...)
}

func newWireguardTunnel(host *linktest.Host, number int) (*wireguardTunnel, error) {
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return nil, err
	}
	return &wireguardTunnel{
		host:   host,
		device: wireguardDevice(os.Getpid(), number),
		addr:   netip.AddrFrom4([4]byte{198, 51, 100, byte(number)}),
		key:    key,
	}, nil
}

func (t *wireguardTunnel) offer() measure.Endpoint {
	return measure.Endpoint{Namespace: t.host.Namespace, Addr: t.addr}
}

// start runs the program and returns when it listens for its configuration.
func (t *wireguardTunnel) start(ctx context.Context, binary, logs string) (err error) {
	// The variable keeps it in the foreground, as -f does, and its banner out
	// of the log.
	t.daemon, err = startDaemon(ctx, t.host, filepath.Join(logs, t.device+".log"),
		"env", "WG_PROCESS_FOREGROUND=1", binary, t.device)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		conn, err := net.Dial("unix", t.socket())
		if err == nil {
			return conn.Close()
		}
		if sleepErr := t.daemon.sleep(ctx, 10*time.Millisecond); sleepErr != nil {
			return errors.Join(sleepErr, err, t.daemon.lastWords())
		}
	}
}

// connect tells the program of its peer, and gives the device an address.
func (t *wireguardTunnel) connect(peer *wireguardTunnel) error {
	client, err := wgctrl.New()
	if err != nil {
		return err
	}
	defer client.Close()
	port := wireguardPort
	err = client.ConfigureDevice(t.device, wgtypes.Config{
		PrivateKey: &t.key,
		ListenPort: &port,
		Peers: []wgtypes.PeerConfig{{
			PublicKey:  peer.key.PublicKey(),
			Endpoint:   net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer.host.Addr, wireguardPort)),
			AllowedIPs: []net.IPNet{{IP: peer.addr.AsSlice(), Mask: net.CIDRMask(32, 32)}},
		}},
	})
	if err != nil {
		return fmt.Errorf("configure %s: %w", t.device, err)
	}
	return t.host.Do(t.configureDevice)
}

func (t *wireguardTunnel) configureDevice() error {
	underlay, err := byName(linktest.UnderlayDevice)
	if err != nil {
		return err
	}
	dev, err := byName(t.device)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(dev, underlay.Attrs().MTU-wireguardOverhead); err != nil {
		return fmt.Errorf("%s: MTU: %w", t.device, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: t.addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(dev, addr); err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	return setUp(dev)
}

// stop ends the program, which takes device and socket with it.
func (t *wireguardTunnel) stop() error {
	if t.daemon == nil {
		return nil
	}
	t.daemon.terminate()
	if _, err := os.Stat(t.socket()); err == nil {
		return errors.Join(fmt.Errorf("wireguard-go left %s", t.socket()), os.Remove(t.socket()))
	}
	_ = os.Remove(wireguardSockets) // fails, and shall, if others have theirs there
	return nil
}
