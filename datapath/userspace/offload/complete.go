package offload

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is of a frame whose header asks for what cannot be done with it.
var ErrMalformed = errors.New("malformed offload header")

// Made once: endpoints must not make their host allocate.
var (
	errCsum    = fmt.Errorf("%w: the checksum lies outside the frame", ErrMalformed)
	errType    = fmt.Errorf("%w: not a packet of its GSO type", ErrMalformed)
	errSize    = fmt.Errorf("%w: GSO size 0", ErrMalformed)
	errTooLong = fmt.Errorf("%w: a segment is longer than 65535 bytes", ErrMalformed)
	errTooMany = fmt.Errorf("%w: too many segments", ErrMalformed)
)

// Complete makes the checksum in place that f.NeedsCsum leaves open, over all from
// CsumStart on to the end of the frame. A datagram's that comes out as 0 becomes
// 0xffff, for 0 says that there is none (RFC 768).
func Complete(f Frame) error {
	if f.Flags&NeedsCsum == 0 {
		return nil
	}
	start := int(f.CsumStart)
	at := start + int(f.CsumOffset)
	if start < etherLen || at+2 > len(f.Data) {
		return errCsum
	}
	sum := ^Fold(Sum(f.Data[start:], 0))
	if sum == 0 && f.CsumOffset == udpCsum {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(f.Data[at:], sum)
	return nil
}
