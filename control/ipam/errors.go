package ipam

import (
	"errors"
	"fmt"
	"net/netip"
)

// Why an address cannot be had. The text of the error that wraps one of these
// names the address and who has it, or what rule it breaks.
var (
	ErrTaken     = errors.New("address is taken")
	ErrOutside   = errors.New("address is outside the network's subnets")
	ErrGateway   = errors.New("address is the gateway's")
	ErrAux       = errors.New("address is an auxiliary one")
	ErrReserved  = errors.New("address is reserved")
	ErrExhausted = errors.New("no address left")
	// ErrFamily: an address family was asked for of which the network has no
	// subnet.
	ErrFamily = errors.New("address family not available")
	// ErrMany: two addresses of one subnet were asked for.
	ErrMany = errors.New("too many addresses")
	// ErrLeased: the endpoint has a lease of other addresses than it asks for.
	ErrLeased = errors.New("endpoint has other addresses")
	// ErrSubnet: a subnet's description contradicts itself.
	ErrSubnet = errors.New("bad subnet")
	// ErrImport: leases that another node handed over are not well-formed.
	ErrImport = errors.New("bad leases")
)

// Holder is the endpoint that has an address.
type Holder struct {
	// Endpoint and Node are IDs, Name is the endpoint's.
	Endpoint, Name, Node string
}

// TakenError says who has an address that was asked for. It is an ErrTaken.
type TakenError struct {
	Addr netip.Addr
	Holder
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%v: endpoint %s (%s) on node %s has %s", ErrTaken, e.Name, e.Endpoint, e.Node, e.Addr)
}

func (e *TakenError) Unwrap() error { return ErrTaken }
