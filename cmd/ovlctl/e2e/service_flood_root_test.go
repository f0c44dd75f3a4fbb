package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
)

// floodSize is how many SYNs a host gets at least, half of them at a time.
func floodSize() int {
	if *allServices {
		return 1_000_000
	}
	return 160_000
}

// youngFlows and oldFlows are how many flows a host remembers, as operations.md
// has it.
var (
	youngFlows = map[datapath.Kind]int{datapath.Kernel: 32768, datapath.Userspace: 65536}
	oldFlows   = map[datapath.Kind]int{datapath.Kernel: 65536, datapath.Userspace: 131072}
)

// TestServiceFlood: endpoints send SYNs from and to random ports, which nothing is
// to come of. Their hosts remember no more than they may, and the flows of
// others on the same hosts, old and new, hardly notice.
func TestServiceFlood(t *testing.T) {
	withServices(t, nil, nil, func(t *testing.T, b *serviceBed) {
		flooded := b.hosts[:2]
		talks := b.conversations(t, 15, "tcp", b.clients[:2]...)
		time.Sleep(1100 * time.Millisecond) // they count as old with the first packet after a second
		checkGoOn(t, talks)

		var flooders []*endpoint
		for i, h := range flooded {
			flooders = append(flooders, h.attach("shop", fmt.Sprintf("flooder%d", i+1)))
		}
		var loads []*load
		for _, from := range b.clients[:2] {
			loads = append(loads, b.startLoad(t, from))
		}
		// Until the tables are full: a busy host drops much of it. And then twice more,
		// so that what is not bounded would be still more. To list flows takes memory
		// as well, so nobody asks in between.
		for i, h := range flooded {
			for round := 0; h.countFlows() < youngFlows[b.kinds[i]]*9/10; round++ {
				if round == 20 {
					t.Fatalf("%s remembers %d flows; this was no flood", h.name, h.countFlows())
				}
				b.flood(t, flooders[i:i+1], floodSize()/2)
			}
		}
		first := b.flood(t, flooders, floodSize()/2)
		second := b.flood(t, flooders, floodSize()/2)
		for i, l := range loads {
			l.more(t, 20)
			done, failed := l.stop()
			t.Logf("%s: %d of %d requests failed", b.clients[i].info.Name, len(failed), done)
			if len(failed) > done/100 {
				t.Errorf("%s: %d of %d requests failed during the flood: %v", b.clients[i].info.Name, len(failed), done, failed[:1])
			}
		}
		for i, h := range flooded {
			t.Logf("%s: the agent's memory: %d KiB, then %d KiB", h.name, first[i]>>10, second[i]>>10)
			if second[i] > first[i]+2*growth {
				t.Errorf("%s: the agent's memory grew from %d to %d KiB", h.name, first[i]>>10, second[i]>>10)
			}
			n, most := h.countFlows(), youngFlows[b.kinds[i]]+oldFlows[b.kinds[i]]
			t.Logf("%s remembers %d flows", h.name, n)
			if n > most {
				t.Errorf("%s remembers %d flows, want %d at most", h.name, n, most)
			}
		}

		// Who was forgotten would go where new ones do.
		for _, x := range b.backends[:3] {
			b.hosts[2].must("service", "drain", "web", x.info.Name)
		}
		b.awaitServing(t, 3)
		checkGoOn(t, talks)
	})
}

// countFlows is how many flows a host remembers.
func (h *host) countFlows() int {
	h.c.tb.Helper()
	var l api.FlowList
	h.query(&l, "flows", "--limit", "1")
	return l.Total
}

// flood sends so many SYNs from each endpoint, and returns how much memory the
// agents of their hosts have then.
func (b *serviceBed) flood(t *testing.T, from []*endpoint, n int) (memory []int) {
	t.Helper()
	var wg sync.WaitGroup
	for _, e := range from {
		frame := serialize(t,
			&layers.Ethernet{SrcMAC: e.info.MacAddress[:], DstMAC: datapath.ServiceMAC[:], EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ipOf(e), DstIP: b.vip.AsSlice()},
			gopacket.Payload(make([]byte, tcpLen)))
		wg.Go(func() {
			if err := e.Do(func() error { return sendSYNs(e.info.Interface, frame, n) }); err != nil {
				t.Errorf("SYNs of %s: %v", e.info.Name, err)
			}
		})
	}
	wg.Wait()
	for _, e := range from {
		memory = append(memory, residentMemory(t, e.host))
	}
	return memory
}

const (
	// tcpLen is a TCP header's length in bytes, and tcpAt where it is in a frame.
	tcpLen = 20
	tcpAt  = 14 + 20
)

// sendSYNs makes each of a frame that has all but its TCP header.
func sendSYNs(device string, frame []byte, n int) error {
	d, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is kept for later
	tcp := frame[tcpAt:]
	tcp[12], tcp[13] = tcpLen/4<<4, 0x02 // SYN
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	for range n {
		// Not from port 0, to any port that nothing else is tested with.
		binary.BigEndian.PutUint16(tcp, uint16(1+rand.N(65535)))
		binary.BigEndian.PutUint16(tcp[2:], uint16(10000+rand.N(50000)))
		binary.BigEndian.PutUint32(tcp[4:], rand.Uint32())
		binary.BigEndian.PutUint16(tcp[16:], 0)
		binary.BigEndian.PutUint16(tcp[16:], tcpChecksum(frame[tcpAt-8:tcpAt], tcp))
		err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: d.Index})
		if err != nil && err != unix.ENOBUFS { //nolint:errorlint // the system call's own
			return err
		}
	}
	return nil
}

// tcpChecksum is RFC 9293's, of a header with the IPv4 addresses that are its
// pseudo-header's.
func tcpChecksum(addrs, tcp []byte) uint16 {
	sum := uint32(unix.IPPROTO_TCP + len(tcp))
	for _, b := range [][]byte{addrs, tcp} {
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
