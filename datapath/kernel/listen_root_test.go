package kernel

import (
	"encoding/binary"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// listenForMore is how long a listener waits after a frame for another.
const listenForMore = 30 * time.Millisecond

// listenAll is listen for all that a device receives, whatever it is and
// whomever it is addressed to, with the 802.1Q tag where it was on the wire.
// The function that it returns reads what has come since the last call, and
// waits a little for the first and for more.
func listenAll(t *testing.T, ns *linktest.Namespace, device string) func() [][]byte {
	t.Helper()
	fd := packetSocket(t, ns, device, unix.ETH_P_ALL)
	for option, value := range map[int]int{unix.PACKET_AUXDATA: 1, unix.PACKET_IGNORE_OUTGOING: 1} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option, value); err != nil {
			t.Fatalf("option %d of packet socket: %v", option, err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		t.Fatal(err)
	}
	run(t, ns, "ip", "link", "set", device, "promisc", "on")
	return func() [][]byte {
		var heard [][]byte
		buf, oob := make([]byte, 1<<17), make([]byte, 256)
		for end := time.Now().Add(listenFor); ; {
			n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
			if err == nil {
				heard = append(heard, withTag(t, buf[:n], oob[:oobn]))
				end = time.Now().Add(listenForMore)
				continue
			}
			if time.Now().After(end) {
				return heard
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// withTag copies a frame and puts the tag back that the kernel has taken off.
func withTag(t *testing.T, frame, oob []byte) []byte {
	t.Helper()
	const addresses = 12
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		t.Fatal(err)
	}
	out := append([]byte(nil), frame[:addresses]...)
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA {
			continue
		}
		aux := *(*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0]))
		if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
			out = binary.BigEndian.AppendUint16(out, aux.Vlan_tpid)
			out = binary.BigEndian.AppendUint16(out, aux.Vlan_tci)
		}
	}
	return append(out, frame[addresses:]...)
}
