package encap

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// VNI is a VXLAN network identifier: 24 bits, RFC 7348 section 5.
type VNI uint32

const (
	// MinVNI is the lowest VNI that ovl hands out. Those below are left to
	// networks that an operator configures by hand beside ovl.
	MinVNI VNI = 4096
	// MaxVNI is the highest VNI that fits the 24 bits on the wire.
	MaxVNI VNI = 1<<24 - 1
)

// ErrVNIRange is returned where a VNI does not fit MinVNI to MaxVNI.
var ErrVNIRange = errors.New("VNI out of range")

// Validate returns an error that wraps ErrVNIRange unless v is one that ovl
// may use.
func (v VNI) Validate() error {
	if v < MinVNI || v > MaxVNI {
		return fmt.Errorf("%w: %d is not in %d..%d", ErrVNIRange, v, MinVNI, MaxVNI)
	}
	return nil
}

// String returns the VNI in decimal.
func (v VNI) String() string { return strconv.FormatUint(uint64(v), 10) }

// MAC is an Ethernet address in transmission order. Unlike net.HardwareAddr
// it is comparable and has one size.
type MAC [6]byte

// ParseMAC parses the forms of an EUI-48 address that net.ParseMAC takes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("%q is not an Ethernet address such as 02:00:00:00:00:01", s)
	}
	return MAC(hw), nil
}

// String returns the address in lower-case hexadecimal, separated by colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// IsUnicast reports whether m can be the address of one interface: the group
// bit is clear and it is not all zeros.
func (m MAC) IsUnicast() bool { return m[0]&1 == 0 && m != MAC{} }

// MarshalText writes the form that String returns.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMAC accepts.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMAC(string(b))
	return err
}
