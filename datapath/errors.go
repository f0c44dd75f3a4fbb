package datapath

import (
	"errors"
	"fmt"

	"github.com/ovlnet/ovl/encap"
)

// ErrNotSupported is wrapped by errors that say this host cannot run a
// datapath; the text says what is missing and since which kernel it is there.
var ErrNotSupported = errors.New("not supported on this host")

// ErrNoDevice is wrapped by an ObjectError whose port's interface is gone.
var ErrNoDevice = errors.New("no such interface")

// ObjectError is one object that Apply could not bring to the wanted state.
type ObjectError struct {
	// Object names it the way an operator would: what PortObject or
	// RemoteObject return, or the like.
	Object string
	Err    error
}

// Error returns the object's name and what went wrong.
func (e *ObjectError) Error() string { return fmt.Sprintf("%s: %v", e.Object, e.Err) }

// Unwrap returns the cause.
func (e *ObjectError) Unwrap() error { return e.Err }

// PortObject returns the Object of an error about the port at device, for
// example "port ovl1a2b3c4d5e".
func PortObject(device string) string { return "port " + device }

// RemoteObject returns the Object of an error about a Remote, for example
// "remote 02:00:00:00:00:01 of VNI 4096".
func RemoteObject(mac encap.MAC, vni encap.VNI) string {
	return fmt.Sprintf("remote %v of VNI %v", mac, vni)
}
