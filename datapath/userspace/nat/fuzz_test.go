package nat

import (
	"bytes"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/packet"
)

// FuzzTranslate: whatever a packet is or quotes, nobody falls over; what is changed
// and changed back has the ends that it had, and nothing else is touched.
func FuzzTranslate(f *testing.F) {
	e := Ends{Src: [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1}, Dst: [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 2}, SrcPort: 1, DstPort: 2}
	six := Ends{Src: [16]byte{0: 0xfd, 15: 1}, Dst: [16]byte{0: 0xfd, 15: 2}, SrcPort: 1, DstPort: 2}
	for _, ends := range []Ends{e, six} {
		for _, proto := range []uint8{TCP, UDP} {
			for _, extended := range []bool{false, true} {
				frame := build(f, ends, proto, extended, []byte("hello"))
				f.Add(frame, false)
				f.Add(errorAbout(f, ends, frame, 48), true)
			}
		}
	}
	var p packet.Parser
	f.Fuzz(func(t *testing.T, frame []byte, unfinished bool) {
		head := p.Parse(frame)
		if head.Framing != 0 || head.Header != 0 || !head.IP() {
			return
		}
		var s Segment
		if Parse(frame, &s) != 0 {
			return
		}
		s.LooksUnfinished(frame)
		was := s.Ends(frame)
		is := Ends{Src: six.Src, Dst: six.Dst, SrcPort: 5, DstPort: 6}
		before := slices.Clone(frame)
		var q Quote
		if s.IsError(frame) && s.Quote(frame, &q) {
			quoted := q.Ends
			s.SetQuoted(frame, &q, &is, &is)
			var again Quote
			if !s.Quote(frame, &again) || again.Ends.SrcPort != 5 || again.Ends.DstPort != 6 {
				t.Errorf("quotes %+v", again.Ends)
			}
			s.SetQuoted(frame, &q, &was, &quoted)
			if again := quotedEnds(&s, frame); again != quoted {
				t.Errorf("quotes %+v, want %+v", again, quoted)
			}
			return
		}
		s.SetEnds(frame, &is, unfinished)
		s.SetEnds(frame, &was, unfinished)
		if s.Ends(frame) != was || len(frame) != len(before) {
			t.Errorf("%+v, want %+v", s.Ends(frame), was)
		}
		if !s.Later && s.HasPorts() && !bytes.Equal(frame[s.L4+udpLen:min(len(frame), s.L4+tcpSumAt)], before[s.L4+udpLen:min(len(frame), s.L4+tcpSumAt)]) {
			t.Error("more was changed than addresses, ports and checksums")
		}
		if s.IsEcho(frame) {
			s.TurnEcho(frame)
		}
	})
}

func quotedEnds(s *Segment, frame []byte) Ends {
	var q Quote
	s.Quote(frame, &q)
	return q.Ends
}
