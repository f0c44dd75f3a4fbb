package udp

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
)

// checksumErrors reads how many UDP packets a network namespace has refused for
// their checksum. The kernel counts them among what a socket has dropped, where
// they do not belong: its queue was not full.
type checksumErrors struct {
	file *os.File
	ipv6 bool
}

// openChecksumErrors opens the counters of the calling thread's namespace, which
// the file stays with.
func openChecksumErrors(vtep netip.Addr) (*checksumErrors, error) {
	path := "/proc/thread-self/net/snmp"
	if vtep.Is6() {
		path += "6"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("UDP counters: %w", err)
	}
	return &checksumErrors{f, vtep.Is6()}, nil
}

func (c *checksumErrors) close() error { return c.file.Close() }

// read returns the counter, 0 if it cannot be read.
func (c *checksumErrors) read() uint64 {
	var buf [16 << 10]byte
	n, _ := c.file.ReadAt(buf[:], 0)
	if c.ipv6 {
		return parseSNMP6(buf[:n])
	}
	return parseSNMP4(buf[:n])
}

// parseSNMP6 finds the line "Udp6InCsumErrors 0".
func parseSNMP6(text []byte) uint64 {
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) == 2 && string(f[0]) == "Udp6InCsumErrors" {
			return number(f[1])
		}
	}
	return 0
}

// parseSNMP4 finds InCsumErrors in the two lines that begin with "Udp:", names and
// values.
func parseSNMP4(text []byte) uint64 {
	var names [][]byte
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) == 0 || string(f[0]) != "Udp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i := range min(len(names), len(f)) {
			if string(names[i]) == "InCsumErrors" {
				return number(f[i])
			}
		}
	}
	return 0
}

func number(text []byte) uint64 {
	n, _ := strconv.ParseUint(string(text), 10, 64)
	return n
}

// Overflowed returns how many messages the kernel has dropped since Open because
// a queue was full. A train is one message. Where other sockets of the host get
// packets with wrong checksums, it may be too low.
func (t *Tunnel) Overflowed() uint64 {
	var n uint64
	for _, r := range t.receivers {
		n += r.Overflowed()
	}
	wrong := t.wrong.read() - t.wrongBefore
	if n <= wrong {
		n = 0
	} else {
		n -= wrong
	}
	for {
		last := t.overflowed.Load()
		if n <= last {
			return last
		}
		if t.overflowed.CompareAndSwap(last, n) {
			return n
		}
	}
}
