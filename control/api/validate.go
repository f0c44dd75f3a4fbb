package api

import (
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/ovlnet/ovl/control/name"
	"github.com/ovlnet/ovl/encap"
)

// MaxSubnets is how many subnets a network can have.
const MaxSubnets = 16

// maxList bounds addresses, aliases and labels of one object, so that its row
// always fits a message between hosts.
const maxList = 64

// MaxMembers is how many endpoints one ServiceUpdate can add and remove.
const MaxMembers = 1000

// ValidateRef returns an Error unless s can refer to a network, endpoint or
// service; what says which, for the message.
func ValidateRef(what, s string) error { return invalid(name.Validate(what, s)) }

// Validate returns an Error that names the first field out of its range.
func (r NetworkRequest) Validate() error {
	if err := name.ValidateNetwork(r.Name); err != nil {
		return invalid(err)
	}
	if err := r.validateSubnets(); err != nil {
		return err
	}
	if err := r.validateGateways(); err != nil {
		return err
	}
	if err := r.validateRanges(); err != nil {
		return err
	}
	if err := r.validateAux(); err != nil {
		return err
	}
	if r.MTU != 0 {
		// What the underlay really carries is known to the agent alone.
		if err := encap.ValidateMTU(r.MTU, r.HasIPv6()); err != nil {
			return invalid(err)
		}
	}
	return validateLabels(r.Labels)
}

// Validate returns an Error that names the first field out of its range.
func (r AttachRequest) Validate() error {
	if err := ValidateRef("network", r.Network); err != nil {
		return err
	}
	if err := r.validatePlace(); err != nil {
		return err
	}
	if r.Name != "" {
		if err := name.ValidateAnswered("endpoint", r.Name); err != nil {
			return invalid(err)
		}
	}
	if err := validateAddresses(r.IPs); err != nil {
		return err
	}
	if r.MAC != (encap.MAC{}) && !r.MAC.IsUnicast() {
		return Errorf(CodeInvalid, "MAC %s is a group address, not one interface's", r.MAC)
	}
	if len(r.Aliases) > maxList {
		return Errorf(CodeInvalid, "%d aliases are too many: %d at most", len(r.Aliases), maxList)
	}
	for _, a := range r.Aliases {
		if err := name.ValidateAnswered("alias", a); err != nil {
			return invalid(err)
		}
	}
	if err := validateServices(r.Services); err != nil {
		return err
	}
	return validateLabels(r.Labels)
}

func (r AttachRequest) validatePlace() error {
	places := 0
	for _, given := range []bool{r.NetNS != "", r.PID != 0, r.TAP != ""} {
		if given {
			places++
		}
	}
	switch {
	case places != 1:
		return Errorf(CodeInvalid, "exactly one of network namespace, PID and TAP interface says where to attach; %d given", places)
	case r.PID < 0:
		return Errorf(CodeInvalid, "PID %d is not positive", r.PID)
	case strings.Contains(r.NetNS, "/") && (!filepath.IsAbs(r.NetNS) || strings.Contains(r.NetNS, "\x00")):
		return Errorf(CodeInvalid, "network namespace %q is neither a name nor an absolute path", r.NetNS)
	case r.NetNS == "." || r.NetNS == "..":
		return Errorf(CodeInvalid, "network namespace %q is not a name", r.NetNS)
	case r.TAP != "" && r.EnteredInode != 0:
		return Errorf(CodeInvalid, "TAP interface %s is in no network namespace that has to be entered", r.TAP)
	case r.ResolvConf && (r.TAP != "" || strings.Contains(r.NetNS, "/")):
		return Errorf(CodeInvalid, "a resolv.conf is for a network namespace that is given by its name, or for a process")
	case r.TAP != "" && r.IfName != "":
		return Errorf(CodeInvalid, "interface name %q does not go with a TAP interface, which has its name", r.IfName)
	}
	if r.TAP != "" {
		return invalid(name.ValidateInterface(r.TAP))
	}
	if r.IfName != "" {
		return invalid(name.ValidateInterface(r.IfName))
	}
	return nil
}

// Validate returns an Error that names the first field out of its range.
func (r DetachRequest) Validate() error {
	if err := ValidateRef("endpoint", r.Endpoint); err != nil {
		return err
	}
	if r.Network != "" {
		return ValidateRef("network", r.Network)
	}
	return nil
}

func validateAddresses(ips []netip.Addr) error {
	if len(ips) > maxList {
		return Errorf(CodeInvalid, "%d addresses are too many: %d at most", len(ips), maxList)
	}
	seen := make(map[netip.Addr]bool)
	for _, ip := range ips {
		if !isHost(ip) {
			return Errorf(CodeInvalid, "address %s is not one that an endpoint can have", ip)
		}
		if seen[ip] {
			return Errorf(CodeInvalid, "address %s is given twice", ip)
		}
		seen[ip] = true
	}
	return nil
}

func validateLabels(m map[string]string) error {
	if len(m) > maxList {
		return Errorf(CodeInvalid, "%d labels are too many: %d at most", len(m), maxList)
	}
	return invalid(name.ValidateLabels(m))
}

// isHost reports whether a can be one host's address in a subnet.
func isHost(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() &&
		!a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}

func invalid(err error) error {
	if err == nil {
		return nil
	}
	return Errorf(CodeInvalid, "%w", err)
}
