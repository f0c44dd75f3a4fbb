package tap

import (
	"encoding/binary"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// A Batch has at most this many frames. Small frames so stay within what the
// CPU's cache holds, and none waits long for the others.
const maxFrames = 64

// room is what has to be free for the next frame: how long that is shows when
// it has been read, and what does not fit would be cut off in silence.
const room = offload.HeaderLen + offload.MaxFrame

// arenaLen lets three frames of the largest size into a batch, and any 64 of
// up to 2 KiB.
const arenaLen = 3*(room+align) + maxFrames

// align is where headers begin: with the header's 10 bytes and 14 of Ethernet,
// the IP header then stands at a multiple of 8.
const align = 16

// Batch is frames and the memory that they lie in, to be filled again and
// again. A frame may be written to, its headroom too, until the next Read. The
// zero value is not usable.
type Batch struct {
	arena  []byte
	used   int
	frames [maxFrames]offload.Frame
	n      int

	err  error
	fill func(fd uintptr) bool // the method value, made once: making one allocates
}

// NewBatch makes an empty batch of about 200 KiB.
func NewBatch() *Batch {
	b := &Batch{arena: make([]byte, arenaLen)}
	b.fill = b.fillFrom
	return b
}

// Frames returns what the last Read has brought: at least one frame, if there
// was no error.
func (b *Batch) Frames() []offload.Frame { return b.frames[:b.n] }

// Reset empties the batch.
func (b *Batch) Reset() { b.n, b.used, b.err = 0, 0, nil }

// Room reports whether there is room for one more frame of any size.
func (b *Batch) Room() bool { return b.next() != nil }

// Append adds a frame in the way that Read does, and reports whether there was
// room. It is for those that stand in for a Device.
func (b *Batch) Append(h offload.Header, pieces ...[]byte) bool {
	space := b.next()
	if space == nil {
		return false
	}
	encode((*[offload.HeaderLen]byte)(space), h)
	n := offload.HeaderLen
	for _, p := range pieces {
		if len(p) > len(space)-n {
			return false
		}
		n += copy(space[n:], p)
	}
	b.add(space, n)
	return true
}

// next returns where the next frame goes, header first; nil if there is no room.
func (b *Batch) next() []byte {
	if b.n == maxFrames || len(b.arena)-b.used < room {
		return nil
	}
	return b.arena[b.used : b.used+room]
}

// add takes the first n bytes of next's as a frame.
func (b *Batch) add(space []byte, n int) {
	b.frames[b.n] = offload.Frame{
		Header: decode((*[offload.HeaderLen]byte)(space)),
		Data:   space[offload.HeaderLen:n],
	}
	b.n++
	b.used += (n + align - 1) &^ (align - 1)
}

// The kernel has the fields in the host's byte order, as virtio before 1.0.

func decode(b *[offload.HeaderLen]byte) offload.Header {
	return offload.Header{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     binary.NativeEndian.Uint16(b[2:]),
		GSOSize:    binary.NativeEndian.Uint16(b[4:]),
		CsumStart:  binary.NativeEndian.Uint16(b[6:]),
		CsumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

func encode(b *[offload.HeaderLen]byte, h offload.Header) {
	b[0], b[1] = h.Flags, h.GSOType
	binary.NativeEndian.PutUint16(b[2:], h.HdrLen)
	binary.NativeEndian.PutUint16(b[4:], h.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], h.CsumStart)
	binary.NativeEndian.PutUint16(b[8:], h.CsumOffset)
}
