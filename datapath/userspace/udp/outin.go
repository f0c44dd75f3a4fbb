package udp

import "github.com/ovlnet/ovl/encap"

// Out is what a Sender does. udptest has one without sockets.
type Out interface {
	Add(p *Path, hash uint32, ecn encap.ECN, head, payload []byte)
	Pending() int
	Flush(report func(p *Path, datagrams, bytes int, err error))
}

// In is what a Receiver does. udptest has one without sockets.
type In interface {
	Receive(b *Arrivals) error
	Overflowed() uint64
}

var (
	_ Out = (*Sender)(nil)
	_ In  = (*Receiver)(nil)
)
