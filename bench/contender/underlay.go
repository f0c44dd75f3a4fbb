package contender

import (
	"context"
	"net/netip"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// underlay is no overlay at all: the hosts talk with their own addresses. It
// shows what the machine and the measuring programs can do.
type underlay struct{}

func (underlay) Name() string { return "underlay" }

func (underlay) Setup(_ context.Context, lab *linktest.Lab) (measure.Pair, error) {
	var ends [2]measure.Endpoint
	for i := range ends {
		h := lab.Hosts[i]
		ends[i] = measure.Endpoint{Namespace: h.Namespace, Addr: h.Addr, Addr6: ula(i + 1)}
		err := h.Do(func() error {
			dev, err := byName(linktest.UnderlayDevice)
			if err != nil {
				return err
			}
			return addAddr(dev, netip.PrefixFrom(ends[i].Addr6, 64))
		})
		if err != nil {
			return measure.Pair{}, err
		}
	}
	return measure.Pair{Client: ends[0], Server: ends[1]}, nil
}

func (underlay) Teardown(context.Context) error { return nil }
