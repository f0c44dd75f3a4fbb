// Package name says what hosts, networks, endpoints and their labels may be
// called, so that the command line, the API and the configuration refuse the
// same things with the same words.
package name

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxLen is the longest name in bytes: one DNS label (RFC 1035 section
// 2.3.4), since names are answered by DNS.
const MaxLen = 63

// MaxInstanceLen is the longest name of an instance in bytes. It becomes part
// of folder names, one of which has to fit a unix socket's 108 bytes.
const MaxInstanceLen = 15

// maxIfNameLen is IFNAMSIZ less the terminating zero.
const maxIfNameLen = 15

// Tasks is the first label of the names that stand for all backends of a service,
// tasks.SERVICE, and so of no others.
const Tasks = "tasks"

// ErrInvalid is wrapped by every error of this package.
var ErrInvalid = errors.New("invalid name")

// Validate returns an error unless s may name a host or network, or refer to what
// has a name. What says which, for the message. Two names that differ in case alone
// are one to DNS.
func Validate(what, s string) error {
	if s == "" {
		return invalidf("%s name is empty: it has 1 to %d letters, digits, -, _ or .", what, MaxLen)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f }) {
		return invalidf("%s name %q has letters beyond ASCII: give the form that DNS has for it, punycode (xn--…)", what, s)
	}
	if len(s) > MaxLen || !isAlnum(s[0]) || strings.ContainsFunc(s, notNameRune) {
		return invalidf("%s name %q is not 1 to %d letters, digits, -, _ or . that begin with a letter or digit", what, s, MaxLen)
	}
	return nil
}

// ValidateNetwork returns an error unless s may name a network to be, whose name is
// the end of others: what Validate says, and no label between two dots is empty.
func ValidateNetwork(s string) error { return validateLabels("network", s) }

// ValidateAnswered returns an error unless s may name an endpoint or service to be, or be
// an alias: what DNS answers. It is what ValidateNetwork says of networks, and beside
// that the first label is not Tasks, and not all of it are numbers, which
// programs take for an address and never ask for (inet_aton(3)). Names that begin with _
// are those of ports (RFC 2782); Validate refuses them.
func ValidateAnswered(what, s string) error {
	if err := validateLabels(what, s); err != nil {
		return err
	}
	labels := strings.Split(s, ".")
	if strings.EqualFold(labels[0], Tasks) {
		return invalidf("%s name %q begins with %q: %s.SERVICE is the name of a service's backends", what, s, labels[0], Tasks)
	}
	if !slices.ContainsFunc(labels, func(l string) bool { return !isNumber(l) }) {
		return invalidf("%s name %q is made of numbers: programs would take it for an address", what, s)
	}
	return nil
}

func validateLabels(what, s string) error {
	if err := Validate(what, s); err != nil {
		return err
	}
	if strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return invalidf("%s name %q has a dot with nothing behind it: dots stand between labels", what, s)
	}
	return nil
}

// isNumber reports whether s is what C has for an integer.
func isNumber(s string) bool {
	if hex, found := strings.CutPrefix(strings.ToLower(s), "0x"); found {
		return !strings.ContainsFunc(hex, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// ValidateInstance returns an error unless s may name an instance of the
// agent; empty is the default instance.
func ValidateInstance(s string) error {
	bad := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	if len(s) > MaxInstanceLen || strings.HasPrefix(s, "-") || strings.ContainsFunc(s, bad) {
		return invalidf("instance name %q is not at most %d of a-z, 0-9 and -, the first one not -", s, MaxInstanceLen)
	}
	return nil
}

// ValidateInterface returns an error unless the kernel takes s as the name of
// an interface.
func ValidateInterface(s string) error {
	bad := func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r > '~' }
	if s == "" || len(s) > maxIfNameLen || s == "." || s == ".." || strings.ContainsFunc(s, bad) {
		return invalidf("interface name %q is not 1 to %d printable characters without space, / and :", s, maxIfNameLen)
	}
	return nil
}

// ValidateLabels returns an error unless every key of m is 1 to 63
// characters without space or =, and every value at most 255 bytes.
func ValidateLabels(m map[string]string) error {
	for k, v := range m {
		bad := func(r rune) bool { return r <= ' ' || r == '=' || r == 0x7f }
		if k == "" || len(k) > MaxLen || strings.ContainsFunc(k, bad) {
			return invalidf("label key %q is not 1 to %d characters without space and =", k, MaxLen)
		}
		if len(v) > 255 {
			return invalidf("label %q has a value of %d bytes: 255 at most", k, len(v))
		}
	}
	return nil
}

// invalidf makes an error that wraps ErrInvalid without adding its text.
func invalidf(format string, args ...any) error {
	return &invalidError{text: fmt.Sprintf(format, args...)}
}

type invalidError struct{ text string }

func (e *invalidError) Error() string { return e.text }
func (e *invalidError) Unwrap() error { return ErrInvalid }

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func notNameRune(r rune) bool {
	return r > 0x7f || !isAlnum(byte(r)) && !strings.ContainsRune("-_.", r)
}
