package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/ovlnet/ovl/encap"
)

// newID returns the ID of a new network or endpoint: 128 random bits in
// hexadecimal. The system's random source does not fail on Linux.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// derivedMAC returns the MAC of an endpoint that did not ask for one: 02 and
// the beginning of a hash of its ID, so that it depends on no address and
// needs nobody's permission.
func derivedMAC(endpoint string) encap.MAC {
	sum := sha256.Sum256([]byte("ovl/1 mac " + endpoint))
	m := encap.MAC{0x02}
	copy(m[1:], sum[:])
	return m
}

const (
	devicePrefix = "ovl"
	deviceDigits = 10
)

// deviceName returns the name of the host's end of an endpoint's veth pair:
// 13 of the 15 characters that a name may have.
func deviceName(endpoint string) string { return devicePrefix + endpoint[:deviceDigits] }

// isDeviceName reports whether deviceName can have made name. Other devices
// that begin alike are not ours to touch.
func isDeviceName(name string) bool {
	digits, ok := strings.CutPrefix(name, devicePrefix)
	return ok && len(digits) == deviceDigits && strings.Trim(digits, "0123456789abcdef") == ""
}
