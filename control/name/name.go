// Package name says what hosts, networks, endpoints and their labels may be
// called, so that the command line, the API and the configuration refuse the
// same things with the same words.
package name

import (
	"errors"
	"fmt"
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

// ErrInvalid is wrapped by every error of this package.
var ErrInvalid = errors.New("invalid name")

// Validate returns an error unless s may name a host, network, endpoint or
// alias. What says which, for the message.
func Validate(what, s string) error {
	if s == "" {
		return invalidf("%s name is empty: it has 1 to %d letters, digits, -, _ or .", what, MaxLen)
	}
	if len(s) > MaxLen || !isAlnum(s[0]) || strings.ContainsFunc(s, notNameRune) {
		return invalidf("%s name %q is not 1 to %d letters, digits, -, _ or . that begin with a letter or digit", what, s, MaxLen)
	}
	return nil
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
