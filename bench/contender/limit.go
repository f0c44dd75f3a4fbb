package contender

import (
	"context"
	"slices"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// limit is no tunnel at all: tc programs hand the endpoint's frames to the
// underlay as they are, and take those for the endpoint from it. Nothing that
// redirects frames between veth pairs and the underlay can do less, so it
// shows what encapsulation, look-ups and checks cost the others.
//
// It works because nothing on the lab's underlay minds foreign MAC addresses.
// The endpoints have the MTU of the tunnels' although there is room for more:
// with larger segments TCP would look faster for another reason.
type limit struct {
	programs tcPrograms
}

func (*limit) Name() string { return "limit" }

func (l *limit) Setup(_ context.Context, lab *linktest.Lab) (measure.Pair, error) {
	return joinVeths(lab, l.Name(), l.connect)
}

func (l *limit) Teardown(context.Context) error { return l.programs.close() }

func (l *limit) connect(self, _ *vethEnd) error {
	port, err := self.endpoint.build(self.mtu, nil)
	if err != nil {
		return err
	}
	if err := l.programs.attach(port, "limit_out", redirectTo(self.underlay)); err != nil {
		return err
	}
	in := slices.Concat(
		saveSkb(),
		ifFrameFor(self.endpoint.mac, "pass"),
		redirectInto(port),
		pass("pass"),
	)
	return l.programs.attach(self.underlay, "limit_in", in)
}
