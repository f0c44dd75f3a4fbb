package hold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// One packet is one message; a descriptor travels beside it (SCM_RIGHTS,
// unix(7)).
//
//	holder, first   "ovlh", version, PID (big endian, 4 bytes)
//	request         operation, name
//	answer          kind, name or text
//
// To listAll the answer is an item for each descriptor, and then done. The
// first message, and quit with its answer, are the same in every version, so
// that a newer agent can end an older holder.
const (
	version  = 1
	magic    = "ovlh"
	helloLen = len(magic) + 1 + 4
)

type operation byte

const (
	put     operation = 'p'
	listAll operation = 'a'
	drop    operation = 'd'
	quit    operation = 'q'
)

type kind byte

const (
	done    kind = 'o'
	item    kind = 'i'
	refused kind = 'r'
)

const (
	// maxName is the longest name, in bytes.
	maxName = 128
	// maxHeld is how many descriptors a holder takes.
	maxHeld = 1 << 16
	// maxPacket is the longest message; a longer one is cut off, and refused.
	maxPacket = 1024
)

// errPacket answers what is no message.
var errPacket = errors.New("not a message of this protocol")

func hello() []byte {
	return binary.BigEndian.AppendUint32(append([]byte(magic), version), uint32(os.Getpid()))
}

// parseHello returns the version and the PID of a holder.
func parseHello(b []byte) (v byte, pid int, err error) {
	if len(b) < helloLen || string(b[:len(magic)]) != magic {
		return 0, 0, errPacket
	}
	return b[len(magic)], int(binary.BigEndian.Uint32(b[len(magic)+1:])), nil
}

// packet is a message, and the descriptor that came with it, or -1.
type packet struct {
	tag  byte
	text string
	fd   int
}

// close closes a descriptor that nobody wanted.
func (p packet) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

// send sends a message, with a descriptor unless fd is negative.
func send(c *net.UnixConn, tag byte, text string, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err := c.WriteMsgUnix(append([]byte{tag}, text...), rights, nil)
	return err
}

// receive reads the next message. An error that wraps errPacket leaves the
// connection usable. No descriptor is ever left open by an error: there is
// room for more than one, so that a message with several is seen as such.
func receive(c *net.UnixConn) (packet, error) {
	b := make([]byte, maxPacket)
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return packet{}, err
	}
	fds := descriptors(oob[:oobn])
	if n == 0 && len(fds) == 0 {
		return packet{}, fmt.Errorf("connection closed: %w", net.ErrClosed)
	}
	if n == 0 || len(fds) > 1 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return packet{}, errPacket
	}
	p := packet{tag: b[0], text: string(b[1:n]), fd: -1}
	if len(fds) == 1 {
		p.fd = fds[0]
	}
	return p, nil
}

// descriptors returns those in a control message; they are this process's
// from now on.
func descriptors(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if rights, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, rights...)
		}
	}
	return fds
}
