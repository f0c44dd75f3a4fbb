package datapathtest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
)

// patience is how long a frame may take that is wanted, and what is left of it
// when the first case has failed: many more may.
const (
	patience     = 2 * time.Second
	lessPatience = patience / 20
	// stackPatience is for what may never be counted.
	stackPatience = 20 * time.Millisecond
)

// run takes a case's steps. It stops at the first that fails: what comes after
// it would be about something else.
func (l *lab) run(t *testing.T, c Case) {
	t.Helper()
	l.apply(t, c.State)
	defer onOneCPU(t)()
	for i, s := range c.Steps {
		if s.State != nil {
			l.apply(t, s.State)
		}
		err := l.step(t.Context(), s)
		if errors.Is(err, errUncut) {
			t.Skip(err)
		}
		if err != nil {
			t.Errorf("step %d: %v", i+1, err)
			l.patience = lessPatience
			return
		}
	}
}

// heard is what came out of each place.
type heard map[Place][][]byte

// step sends what goes in, waits for what has to come out, and then makes sure
// that it was all: sentinels take every way to every place, and what comes
// before them is what the step has caused.
func (l *lab) step(ctx context.Context, s Step) error {
	before, err := l.dp.Stats(ctx)
	if err != nil {
		return err
	}
	if s.Quote != nil {
		s.In = slices.Concat(s.In, s.Quote(l.sport))
	}
	if s.Late != nil {
		flows, err := l.dp.Flows(ctx)
		if err != nil {
			return err
		}
		in, _ := s.Late(flows)
		s.In = slices.Concat(s.In, in)
	}
	for _, f := range s.In {
		if s.Segments > 0 {
			err = l.by[f.At].sendUncut(f.Bytes, s.Segments)
		} else {
			err = l.by[f.At].send(f.Bytes)
		}
		if err != nil {
			return err
		}
	}
	got := heard{}
	var after datapath.Stats
	var late []Frame
	var unchecked, unlisted error
	patience := l.patience
	if s.OrStack { // what the stack has dropped never comes
		patience = min(patience, stackPatience)
	}
	err = l.until(got, patience, func() (bool, error) {
		if after, err = l.dp.Stats(ctx); err != nil {
			return false, err
		}
		if s.Check != nil {
			unchecked = s.Check(before, after)
		}
		enough := total(after)-total(before) >= uint64(len(s.Drops)) && unchecked == nil
		for at, want := range wanted(s.Out) {
			enough = enough && len(got[at]) >= len(want)
		}
		if !enough { // to list flows takes longer
			return false, nil
		}
		if late, unlisted, err = l.flowsAfter(ctx, s); err != nil {
			return false, err
		}
		enough = unlisted == nil
		for at, want := range wanted(slices.Concat(s.Out, late)) {
			enough = enough && len(got[at]) >= len(want)
		}
		return enough, nil
	})
	if err != nil {
		return err
	}
	sentinels, err := l.sendSentinels()
	if err != nil {
		return err
	}
	passed := func() (bool, error) { return sentinels.passed(got), nil }
	if err := l.until(got, l.patience, passed); err != nil {
		return err
	}
	if after, err = l.dp.Stats(ctx); err != nil {
		return err
	}
	miscounted := l.checkPorts(before, after, s, got)
	lost := sentinels.remove(got)

	var problems []string
	problems = append(problems, l.compare(wanted(slices.Concat(s.Out, late)), got)...)
	want, have := reasons(s.Drops), increases(before, after)
	if uncounted := s.OrStack && have == ""; want != have && !uncounted {
		problems = append(problems, fmt.Sprintf("counted %q, want %q", have, want))
	}
	if err := errors.Join(unchecked, unlisted, CheckBalance(after), miscounted); err != nil {
		problems = append(problems, err.Error())
	}
	if len(lost) > 0 {
		problems = append(problems, fmt.Sprintf("nothing gets through any more: %v", lost))
	}
	if len(problems) == 0 {
		return nil
	}
	for _, f := range s.In {
		problems = append(problems, describe("in at "+string(f.At), f.Bytes))
	}
	return fmt.Errorf("%s", strings.Join(problems, "\n"))
}

// flowsAfter returns what a step wants to come out late, and what is wrong with
// the flows that are listed.
func (l *lab) flowsAfter(ctx context.Context, s Step) (late []Frame, unlisted, err error) {
	if s.Late == nil && s.Flows == nil {
		return nil, nil, nil
	}
	flows, err := l.dp.Flows(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s.Late != nil {
		_, late = s.Late(flows)
	}
	if s.Flows != nil {
		unlisted = s.Flows.check(flows)
	}
	return late, unlisted, nil
}

// until listens everywhere until done says so, or its patience is at its end.
func (l *lab) until(got heard, patience time.Duration, done func() (bool, error)) error {
	for end := time.Now().Add(patience); ; {
		if err := l.listen(got); err != nil {
			return err
		}
		if ok, err := done(); ok || err != nil || time.Now().After(end) {
			return err
		}
		if err := wait(l.wires, time.Millisecond); err != nil {
			return err
		}
	}
}

// listen takes what has come out so far.
func (l *lab) listen(got heard) error {
	for _, w := range l.wires {
		for {
			frame, err := w.receive(l.buf)
			if err != nil {
				return err
			}
			if frame == nil {
				break
			}
			if w.at != Underlay || !multicastReport(frame) {
				got[w.at] = append(got[w.at], frame)
			}
		}
	}
	return nil
}

// multicastReport recognises what the host's own IPv6 says on the underlay,
// whenever it likes: which groups it listens to (RFC 3810).
func multicastReport(frame []byte) bool {
	const length, group = 14 + 40, 0x16
	return len(frame) > length && frame[0] == 0x33 && frame[5] == group && frame[12] == 0x86 && frame[20] == 0
}

// compare says what is missing and what is too much, by place.
func (l *lab) compare(want, got heard) []string {
	var problems []string
	got[Underlay] = inOrder(want[Underlay], got[Underlay])
	for _, at := range slices.Sorted(maps.Keys(merged(want, got))) {
		for i := range max(len(want[at]), len(got[at])) {
			switch {
			case i >= len(got[at]):
				problems = append(problems, describe("missing at "+string(at), want[at][i]))
			case i >= len(want[at]):
				problems = append(problems, describe("not wanted at "+string(at), got[at][i]))
			default:
				w, g := want[at][i], got[at][i]
				if at == Underlay {
					if err := l.checkFlow(g); err != nil {
						problems = append(problems, err.Error())
					}
					w, g = masked(w), masked(g)
				}
				if !slices.Equal(w, g) {
					problems = append(problems, describe("out at "+string(at), g), describe("  but want", w))
				}
			}
		}
	}
	return problems
}

// inOrder puts packets of the underlay in the order in which they are wanted, if
// all of them are there. A flow's keep theirs: they differ, or it does not matter.
func inOrder(want, got [][]byte) [][]byte {
	rest, out := slices.Clone(got), [][]byte(nil)
	for _, w := range want {
		for i, g := range rest {
			if slices.ContainsFunc(rest[:i], func(f []byte) bool { return sourcePort(f) == sourcePort(g) }) {
				continue // one of its flow comes first
			}
			if slices.Equal(masked(w), masked(g)) {
				out, rest = append(out, g), slices.Delete(rest, i, i+1)
				break
			}
		}
	}
	if len(out) != len(want) {
		return got
	}
	return append(out, rest...)
}

func merged(a, b heard) heard {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// wanted sorts frames by place.
func wanted(frames []Frame) heard {
	want := heard{}
	for _, f := range frames {
		want[f.At] = append(want[f.At], f.Bytes)
	}
	return want
}

// describe prints a frame for people, and for a debugger to read.
func describe(what string, frame []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d bytes\n", what, len(frame))
	for _, l := range gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default).Layers() {
		fmt.Fprintf(&b, "    %s\n", gopacket.LayerString(l))
	}
	fmt.Fprintf(&b, "    %s", hex.EncodeToString(frame))
	return b.String()
}

func total(s datapath.Stats) uint64 {
	var n uint64
	for _, c := range s.Drops {
		n += c.Packets
	}
	return n
}

// increases names the reasons that were counted, and how often.
func increases(before, after datapath.Stats) string {
	n := map[datapath.DropReason]uint64{}
	for r, c := range after.Drops {
		n[r] = c.Packets - before.Drops[r].Packets
	}
	return counts(n)
}

func reasons(drops []datapath.DropReason) string {
	n := map[datapath.DropReason]uint64{}
	for _, r := range drops {
		n[r]++
	}
	return counts(n)
}

func counts(n map[datapath.DropReason]uint64) string {
	var out []string
	for r, c := range n {
		if c > 0 {
			out = append(out, fmt.Sprintf("%s+%d", r, c))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// sentinels are frames of a local experimental EtherType (IEEE 802), each with
// a number of its own, by the place where they have to come out.
type sentinels map[Place][][]byte

const sentinelType = 0x88b6

// sendSentinels sends one from the underlay to every port there is in the State,
// and one the other way: by the longest way there is, which is that of frames
// that are not IP. What came in at the same place has been looked at before.
// A gateway exchanges them with the other ports.
func (l *lab) sendSentinels() (sentinels, error) {
	out := sentinels{}
	l.speakers = l.speakers[:0]
	for _, n := range l.applied.Networks {
		for _, p := range n.Ports {
			if p.Gateway {
				if err := l.sendGatewaySentinels(out, n, p); err != nil {
					return nil, err
				}
				continue
			}
			if len(n.Remotes) == 0 {
				continue
			}
			here, there := Party{MAC: p.MAC}, Party{MAC: n.Remotes[0].MAC}
			vtep := Party{MAC: l.site.Host2.MAC, Addr: n.Remotes[0].VTEP}
			in := l.nextSentinel(there, here)
			at := Place(p.Device)
			out[at] = append(out[at], in)
			if err := l.by[Underlay].send(VXLAN(vtep, l.site.Here, n.VNI, in)); err != nil {
				return nil, err
			}
			l.speakers = append(l.speakers, at)
			back := l.nextSentinel(here, there)
			out[Underlay] = append(out[Underlay], back)
			if err := l.by[at].send(back); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// sendGatewaySentinels sends one from every other port to a network's gateway, and
// one the other way.
func (l *lab) sendGatewaySentinels(out sentinels, n datapath.Network, gateway datapath.Port) error {
	for _, p := range n.Ports {
		if p.Gateway {
			continue
		}
		for _, way := range [][2]datapath.Port{{p, gateway}, {gateway, p}} {
			frame := l.nextSentinel(Party{MAC: way[0].MAC}, Party{MAC: way[1].MAC})
			from, to := Place(way[0].Device), Place(way[1].Device)
			out[to] = append(out[to], frame)
			l.speakers = append(l.speakers, from)
			if err := l.by[from].send(frame); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lab) nextSentinel(from, to Party) []byte {
	l.sentinel++
	number := binary.BigEndian.AppendUint32(nil, l.sentinel)
	return Ethernet(from, to, sentinelType, "sentinel"+string(number))
}

func (s sentinels) passed(got heard) bool {
	for at, frames := range s {
		for _, frame := range frames {
			if s.find(got[at], frame) < 0 {
				return false
			}
		}
	}
	return true
}

// find returns which frame is a sentinel, possibly in a tunnel packet.
func (sentinels) find(frames [][]byte, sentinel []byte) int {
	return slices.IndexFunc(frames, func(f []byte) bool {
		return len(f) >= len(sentinel) && slices.Equal(f[len(f)-len(sentinel):], sentinel)
	})
}

// remove takes the sentinels out of what came, and returns the places to which
// none did.
func (s sentinels) remove(got heard) (lost []Place) {
	for at, frames := range s {
		for _, frame := range frames {
			if i := s.find(got[at], frame); i >= 0 {
				got[at] = slices.Delete(got[at], i, i+1)
			} else {
				lost = append(lost, at)
			}
		}
	}
	return lost
}

// count is how many there are.
func (s sentinels) count() (n int) {
	for _, frames := range s {
		n += len(frames)
	}
	return n
}

// quiet fails if anything still comes out when no case runs.
func (l *lab) quiet(t *testing.T) {
	got := heard{}
	time.Sleep(50 * time.Millisecond)
	if err := l.listen(got); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.compare(heard{}, got) {
		t.Errorf("after the last case: %s", p)
	}
}
