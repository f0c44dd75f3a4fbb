package datapathtest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ovlnet/ovl/datapath"
)

// CheckBalance returns an error unless what has come to a host is what has
// gone, by its counters. It holds whenever no packet is under way.
func CheckBalance(s datapath.Stats) error {
	packets, bytes := s.Balance()
	if packets == 0 && bytes == 0 {
		return nil
	}
	ports, peers := s.AllPorts(), s.AllPeers()
	return fmt.Errorf("%d packets and %d bytes more have come than gone: ports %+v, peers %+v", packets, bytes, ports, peers)
}

// checkPorts compares what was counted for each port and for all peers with what
// the suite has sent in and heard, sentinels included.
func (l *lab) checkPorts(before, after datapath.Stats, s Step, got heard) error {
	sent := map[Place]datapath.Counter{}
	for _, f := range s.In {
		size := sizeOf(f.Bytes)
		if s.Segments > 0 {
			size = sizeUncut(f.Bytes, s.Segments)
		}
		sent[f.At] = sent[f.At].Add(size)
	}
	for _, at := range l.speakers {
		sent[at] = sent[at].Add(sizeOf(l.nextSentinel(Party{}, Party{})))
	}
	// To some of those the sender gets an answer.
	var told uint64
	for _, r := range []datapath.DropReason{
		datapath.DropTooBig, datapath.DropNoBackend, datapath.DropServicePort, datapath.DropBackendGone,
	} {
		told += after.Drops[r].Packets - before.Drops[r].Packets
	}
	var errs []error
	for device, is := range after.Ports {
		was, at := before.Ports[device], Place(device)
		if have := minus(is.Sent, was.Sent); have != sent[at] {
			errs = append(errs, fmt.Errorf("%s: counted %+v sent, want %+v", at, have, sent[at]))
		}
		var out datapath.Counter
		for _, f := range got[at] {
			out = out.Add(sizeOf(f))
		}
		received, answered := minus(is.Received, was.Received), minus(is.Answered, was.Answered)
		dropped := minus(is.Dropped, was.Dropped)
		answers := answered.Packets + min(dropped.Packets, told)
		if answers > 0 { // which are of other lengths
			out.Bytes, received.Bytes = 0, 0
		}
		if n := out.Packets - received.Packets; n < answered.Packets || n > answers || received.Bytes != out.Bytes {
			errs = append(errs, fmt.Errorf("%s: counted %+v received and %+v answered, heard %+v", at, received, answered, out))
		}
	}
	tunnelled := uint64(0)
	for _, f := range got[Underlay] {
		if _, ok := tunnelPacket(f); ok {
			tunnelled++
		}
	}
	if n := after.AllPeers().Sent.Packets - before.AllPeers().Sent.Packets; n != tunnelled {
		errs = append(errs, fmt.Errorf("counted %d sent to peers, heard %d", n, tunnelled))
	}
	return errors.Join(errs...)
}

// sizeOf is what a frame counts for. A priority tag is not carried.
func sizeOf(frame []byte) datapath.Counter {
	n := len(frame)
	if n >= 18 && frame[14]&0x0f == 0 && frame[15] == 0 {
		if kind := binary.BigEndian.Uint16(frame[12:]); kind == 0x8100 || kind == 0x88a8 {
			n -= 4
		}
	}
	return datapath.Counter{Packets: 1, Bytes: uint64(n)}
}

func minus(a, b datapath.Counter) datapath.Counter {
	return datapath.Counter{Packets: a.Packets - b.Packets, Bytes: a.Bytes - b.Bytes}
}
