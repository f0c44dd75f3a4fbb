package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ovlnet/ovl/control/api"
)

// none is the value of a flag of `service update` that takes something away.
const none = "none"

// parseServicePort reads PORT[:TARGET][/tcp|/udp].
func parseServicePort(s string) (p api.ServicePort, err error) {
	numbers, protocol, named := strings.Cut(s, "/")
	from, to, translated := strings.Cut(numbers, ":")
	p.Protocol = api.ProtocolTCP
	if named {
		p.Protocol = protocol
	}
	if p.Protocol != api.ProtocolTCP && p.Protocol != api.ProtocolUDP {
		return p, fmt.Errorf("protocol %q is neither tcp nor udp", p.Protocol)
	}
	if p.Port, err = parsePort(from); err != nil {
		return p, err
	}
	p.Target = p.Port
	if translated {
		p.Target, err = parsePort(to)
	}
	return p, err
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not in 1..65535", s)
	}
	return uint16(n), nil
}

const (
	// affinityClientIP is the only kind of affinity.
	affinityClientIP = "client-ip"
	// defaultAffinity is for how long it holds unless told otherwise.
	defaultAffinity = api.Duration(3 * time.Hour)
)

// parseAffinity reads client-ip[=DURATION].
func parseAffinity(s string) (api.Duration, error) {
	kind, text, timed := strings.Cut(s, "=")
	if kind != affinityClientIP {
		return 0, fmt.Errorf("it is not of the form %s or %s=DURATION", affinityClientIP, affinityClientIP)
	}
	if !timed {
		return defaultAffinity, nil
	}
	d, err := parseDuration(text)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%s is not more than 0", text)
	}
	return d, err
}

func parseDuration(s string) (d api.Duration, err error) { return d, d.UnmarshalText([]byte(s)) }

// healthFlags are those that together make one health check.
type healthFlags struct {
	check api.HealthCheck
	// none: there is to be no check (`service update` only).
	none bool
}

// add defines them; with mayEnd --health takes none as well.
func (h *healthFlags) add(fs *pflag.FlagSet, mayEnd bool) {
	text := "`URL` that backends have to answer: tcp://:PORT or http://:PORT/PATH"
	if mayEnd {
		text += ", or " + none
	}
	fs.Func("health", text, func(s string) (err error) {
		if h.none = mayEnd && s == none; h.none {
			return nil
		}
		h.check.Type, h.check.Port, h.check.Path, err = parseHealth(s)
		return err
	})
	usual := api.HealthCheck{}.WithDefaults()
	addDuration(fs, &h.check.Interval, "health-interval", fmt.Sprintf("`time` from one check to the next (default %s)", usual.Interval))
	addDuration(fs, &h.check.Timeout, "health-timeout", fmt.Sprintf("`time` that one may take (default %s)", usual.Timeout))
	addNumber(fs, &h.check.Rise, "health-rise",
		fmt.Sprintf("`number` of good checks in a row that make a backend healthy again (default %d)", usual.Rise), 1, 100)
	addNumber(fs, &h.check.Fall, "health-fall",
		fmt.Sprintf("`number` of bad ones in a row that make it unhealthy (default %d)", usual.Fall), 1, 100)
}

// wanted returns the check that was asked for, nil if none was.
func (h *healthFlags) wanted(fs *pflag.FlagSet) (*api.HealthCheck, error) {
	if h.check.Type != "" && !h.none {
		return &h.check, nil
	}
	for _, flag := range []string{"health-interval", "health-timeout", "health-rise", "health-fall"} {
		if fs.Changed(flag) {
			return nil, fmt.Errorf("--%s needs --health, which says what to ask for", flag)
		}
	}
	return nil, nil
}

// parseHealth reads tcp://:PORT or http://:PORT[/PATH].
func parseHealth(s string) (kind api.HealthType, port uint16, path string, err error) {
	scheme, rest, _ := strings.Cut(s, "://")
	at := len(rest)
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		at = i
	}
	host, number, _ := strings.Cut(rest[:at], ":")
	kind, path = api.HealthType(scheme), rest[at:]
	switch {
	case kind != api.HealthTCP && kind != api.HealthHTTP:
		return "", 0, "", errors.New("it is not of the form tcp://:PORT or http://:PORT/PATH")
	case host != "":
		return "", 0, "", fmt.Errorf("host %q is one too many: each backend is asked itself", host)
	case kind == api.HealthTCP && path != "":
		return "", 0, "", fmt.Errorf("path %q does not go with tcp", path)
	}
	if port, err = parsePort(number); err != nil {
		return "", 0, "", err
	}
	if path != "" {
		if u, err := url.Parse(path); err != nil || u.Host != "" || u.Fragment != "" {
			return "", 0, "", fmt.Errorf("%q is not a path such as /live", path)
		}
	}
	return kind, port, path, nil
}

// addDuration defines a flag that takes a time.
func addDuration(fs *pflag.FlagSet, to *api.Duration, flag, text string) {
	fs.Func(flag, text, func(s string) (err error) {
		if *to, err = parseDuration(s); err == nil && *to <= 0 {
			err = fmt.Errorf("%s is not more than 0", s)
		}
		return err
	})
}

// parseMember reads EP[=WEIGHT].
func parseMember(s string) (m api.ServiceMember, err error) {
	endpoint, weight, weighted := strings.Cut(s, "=")
	m.Endpoint = endpoint
	if !weighted {
		return m, nil
	}
	n, err := strconv.ParseUint(weight, 10, 16)
	if err != nil || n == 0 {
		return m, fmt.Errorf("weight %q is not in 1..65535", weight)
	}
	m.Weight = uint16(n)
	return m, nil
}
