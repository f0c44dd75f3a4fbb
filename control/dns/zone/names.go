package zone

import (
	"strconv"
	"strings"

	"github.com/ovlnet/ovl/control/name"
)

// Names are compared in lower case, without the dot at their end, and with labels
// as RFC 1035 section 5.1 writes them: a dot or backslash within one is escaped.

// domain returns what a name of a row is asked by; false if no query can have it,
// because it is none or has an empty label.
func domain(s string) (string, bool) {
	return strings.ToLower(s), name.ValidateNetwork(s) == nil
}

// cutLabel takes the first label off a name.
func cutLabel(s string) (label, rest string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '.':
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// single reports whether a name has one label.
func single(s string) bool {
	_, rest := cutLabel(s)
	return rest == ""
}

// tasks is what the name of a service follows in that of its backends.
const tasks = name.Tasks + "."

// srv is what a name of the form _PORT._PROTO.SERVICE asks for.
type srv struct {
	port     uint16
	protocol uint8
	service  string
}

// The protocols of services, by their IP protocol numbers.
const (
	tcp = 6
	udp = 17
)

// parseSRV takes such a name apart (RFC 2782; ports have no names here).
func parseSRV(s string) (srv, bool) {
	port, rest := cutLabel(s)
	proto, service := cutLabel(rest)
	out := srv{service: service}
	switch proto {
	case "_tcp":
		out.protocol = tcp
	case "_udp":
		out.protocol = udp
	default:
		return srv{}, false
	}
	digits, ok := strings.CutPrefix(port, "_")
	number, err := strconv.ParseUint(digits, 10, 16)
	out.port = uint16(number)
	return out, ok && err == nil && number > 0 && digits[0] != '0' && service != ""
}

// underService returns what a name has behind the labels that names of services
// have in front; the name itself if it has none.
func underService(s string) string {
	if rest, ok := strings.CutPrefix(s, tasks); ok {
		return rest
	}
	port, rest := cutLabel(s)
	if proto, service := cutLabel(rest); strings.HasPrefix(port, "_") && (proto == "_tcp" || proto == "_udp") && service != "" {
		return service
	}
	return s
}
