package datapathtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// RunRandom sends a datapath frames at random, from endpoints and from the
// underlay, over each family of underlay, and wants of each of them that it came
// out where it may or was counted as dropped; and of the kernel that it has
// nothing to complain of. It needs root.
//
// There are that many frames from each side. They are the same for the same
// seed; zero stands for a seed that nobody knows, which is logged.
func RunRandom(t *testing.T, open Opener, frames uint64, seed uint64) {
	linktest.NeedRoot(t)
	if seed == 0 {
		seed = rand.Uint64()
	}
	complaints := watchKernel(t)
	for _, family := range []Family{IPv4, IPv6} {
		t.Run(string(family)+" underlay", func(t *testing.T) {
			l := newLab(t, t, open, newSite(family), Setup{})
			services := l.site.randomServices()
			// What comes from the underlay is last: the host's own stack goes
			// on about it for a while.
			for _, from := range []side{fromEndpoints, fromUnderlay} {
				t.Run("from "+string(from), func(t *testing.T) {
					l.apply(t, nil)
					t.Logf("%d frames of seed %d", frames/2, seed)
					l.random(t, newRandomFrames(l.site, seed), from, frames/2)
				})
				t.Run("with multicast from "+string(from), func(t *testing.T) {
					l.apply(t, redMulticast)
					t.Logf("%d frames of seed %d", frames/10, seed)
					l.random(t, newRandomFrames(l.site, seed), from, frames/10)
				})
				t.Run("with gateways from "+string(from), func(t *testing.T) {
					l.apply(t, func(st *datapath.State) { redMulticast(st); l.site.withGateways(st) })
					t.Logf("%d frames of seed %d", frames/10, seed)
					r := newRandomFrames(l.site, seed)
					r.addGateways()
					l.random(t, r, from, frames/10)
				})
				t.Run("with services from "+string(from), func(t *testing.T) {
					l.apply(t, func(st *datapath.State) { Network(st, Red).Services = services })
					t.Logf("%d frames of seed %d", frames/4, seed)
					r := newRandomFrames(l.site, seed)
					r.addServices(Network(l.applied, Red).Services)
					l.random(t, r, from, frames/4)
				})
			}
		})
	}
	for _, c := range complaints() {
		t.Errorf("the kernel complains: %s", c)
	}
}

// batchSize is how many frames go in before the books are looked at: fewer than
// any queue on their way takes.
const batchSize = 250

// random sends frames in batches: those that are certain to come out or be
// counted, and those that the host's stack may drop before, each by themselves.
func (l *lab) random(t *testing.T, r *randomFrames, from side, frames uint64) {
	defer onOneCPU(t)()
	b := &batches{lab: l, model: newModel(l.site, *l.applied), frames: r, from: from}
	pending := map[bool][]uint64{}
	for n := range frames {
		certain := b.model.in(r.frame(from, n))
		pending[certain] = append(pending[certain], n)
		if len(pending[certain]) == batchSize {
			b.send(t, pending[certain])
			pending[certain] = nil
		}
	}
	for _, numbers := range pending {
		b.send(t, numbers)
	}
	t.Logf("of %d frames %d came out and %d were dropped; %d were certain to", frames, b.out, b.dropped, b.certain)
}

// batches are frames on their way, and what became of those before them.
type batches struct {
	*lab
	model  *model
	frames *randomFrames
	from   side

	certain, out, dropped int
}

// send sends a batch, and if it goes wrong its frames one by one again, to name
// the one.
func (b *batches) send(t *testing.T, numbers []uint64) {
	t.Helper()
	err := b.try(t.Context(), numbers)
	if err == nil {
		return
	}
	b.patience = lessPatience
	time.Sleep(patience / 10)
	if err := b.listen(heard{}); err != nil { // what is left of them
		t.Fatal(err)
	}
	seed := b.frames.seed
	for _, n := range numbers {
		if alone := b.try(t.Context(), []uint64{n}); alone != nil {
			f := b.frames.frame(b.from, n)
			t.Fatalf("seed %d, frame %d: %v\n%s", seed, n, alone, describe("in at "+string(f.At), f.Bytes))
		}
	}
	t.Fatalf("seed %d, frames %d together, but none of them alone: %v", seed, numbers, err)
}

// try sends frames and looks at the books.
func (b *batches) try(ctx context.Context, numbers []uint64) error {
	before, err := b.dp.Stats(ctx)
	if err != nil {
		return err
	}
	b.model.forget()
	certain, maybe := 0, 0
	for _, n := range numbers {
		f := b.frames.frame(b.from, n)
		if b.model.in(f) {
			certain++
		} else {
			maybe++
		}
		if err := b.by[f.At].send(f.Bytes); err != nil {
			return err
		}
	}
	sentinels, err := b.sendSentinels()
	if err != nil {
		return err
	}
	got, out, dropped := heard{}, 0, 0
	var after datapath.Stats
	err = b.until(got, b.patience, func() (bool, error) {
		if !sentinels.passed(got) {
			return false, nil
		}
		if after, err = b.dp.Stats(ctx); err != nil {
			return false, err
		}
		dropped, out = int(total(after)-total(before)), -sentinels.count()
		for at, frames := range got {
			for _, f := range frames {
				if !b.hostsOwn(at, f) && !b.model.beside(Frame{at, f}) {
					out++ // the answer comes beside the drop
				}
			}
		}
		// A datapath that works on several CPUs may not be done with copies.
		return out+dropped >= certain &&
			b.checkCounters(before, after, certain, len(numbers), out+sentinels.count()) == nil, nil
	})
	if err != nil {
		return err
	}
	if err := b.listen(got); err != nil { // answers that came while it was counted
		return err
	}
	heardInAll := out + sentinels.count()
	if lost := sentinels.remove(got); len(lost) > 0 {
		return fmt.Errorf("nothing gets through any more: %v", lost)
	}
	var problems []error
	for at, frames := range got {
		for _, f := range frames {
			if b.hostsOwn(at, f) {
				continue
			}
			if err := b.model.out(Frame{at, f}); err != nil {
				problems = append(problems, fmt.Errorf("%w\n%s", err, describe("out at "+string(at), f)))
			}
		}
	}
	if n := out + dropped; n < certain || n > certain+maybe+b.model.copies {
		problems = append(problems, fmt.Errorf("%d frames came out and %d were dropped (%s), which is not %d, and up to %d more",
			out, dropped, increases(before, after), certain, maybe+b.model.copies))
	}
	if after, err = b.dp.Stats(ctx); err == nil {
		err = errors.Join(CheckBalance(after), b.checkCounters(before, after, certain, len(numbers), heardInAll))
	}
	problems = append(problems, err)
	b.certain, b.out, b.dropped = b.certain+certain, b.out+out, b.dropped+dropped
	return errors.Join(problems...)
}

// checkCounters compares the counters with what the suite itself has sent, of
// which some was certain to be seen, and heard, sentinels included.
func (b *batches) checkCounters(before, after datapath.Stats, certain, sent, heard int) error {
	was, is := before.AllPorts(), after.AllPorts()
	received := int(is.Received.Packets - was.Received.Packets)
	answered := int(is.Answered.Packets - was.Answered.Packets)
	out := int(after.AllPeers().Sent.Packets - before.AllPeers().Sent.Packets)
	var errs []error
	if received+answered+out != heard {
		errs = append(errs, fmt.Errorf("counted %d received, %d answered and %d sent to peers, heard %d", received, answered, out, heard))
	}
	sentinels := len(b.speakers) // from endpoints
	counted, droppedIn := int(is.Sent.Packets-was.Sent.Packets), int(after.DroppedIn().Packets-before.DroppedIn().Packets)
	if b.from == fromUnderlay {
		certain, sent = 0, 0
	} else if droppedIn != 0 {
		errs = append(errs, fmt.Errorf("counted %d dropped on their way in", droppedIn))
	}
	if counted < certain+sentinels || counted > sent+sentinels {
		errs = append(errs, fmt.Errorf("counted %d from endpoints, sent %d to %d", counted, certain+sentinels, sent+sentinels))
	}
	return errors.Join(errs...)
}

// hostsOwn recognises what the host's own stack answers to packets that are not
// the datapath's.
func (b *batches) hostsOwn(at Place, f []byte) bool {
	_, tunnel := tunnelPacket(f)
	return at == Underlay && b.from == fromUnderlay && !tunnel
}

// watchKernel returns what lists the kernel's complaints since.
func watchKernel(t *testing.T) func() []string {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("the kernel's log: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		t.Fatalf("the kernel's log: %v", err)
	}
	return func() (found []string) {
		buf := make([]byte, 1<<13)
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EPIPE) {
				continue // some were overwritten
			}
			if err != nil || n <= 0 {
				return found
			}
			for _, word := range []string{"WARNING:", "BUG:", "Oops", "Call Trace", "bad gso", "hw csum failure", "refcount"} {
				if strings.Contains(string(buf[:n]), word) {
					found = append(found, string(buf[:n]))
					break
				}
			}
		}
	}
}
