package main

import (
	"testing"

	"github.com/ovlnet/ovl/control/api"
)

func TestParseServicePort(t *testing.T) {
	for text, want := range map[string]api.ServicePort{
		"80":           {Protocol: "tcp", Port: 80, Target: 80},
		"80:8080":      {Protocol: "tcp", Port: 80, Target: 8080},
		"53/udp":       {Protocol: "udp", Port: 53, Target: 53},
		"53:5353/udp":  {Protocol: "udp", Port: 53, Target: 5353},
		"1:65535/tcp":  {Protocol: "tcp", Port: 1, Target: 65535},
		"":             {},
		"+80":          {},
		"-80":          {},
		" 80":          {},
		":80":          {},
		"80:0":         {},
		"80:65536":     {},
		"80/TCP":       {},
		"80/udp/tcp":   {},
		"80-90":        {},
		"10.0.0.2:80":  {},
		"80/udp:8080":  {},
		"0x50":         {},
		"80:8080:8081": {},
	} {
		got, err := parseServicePort(text)
		if bad := want == (api.ServicePort{}); bad != (err != nil) || !bad && got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseHealth(t *testing.T) {
	type parts struct {
		kind api.HealthType
		port uint16
		path string
	}
	for text, want := range map[string]parts{
		"tcp://:80":                {"tcp", 80, ""},
		"http://:8080":             {"http", 8080, ""},
		"http://:8080/":            {"http", 8080, "/"},
		"http://:80/live?full=1":   {"http", 80, "/live?full=1"},
		"http://:80/a%20b":         {"http", 80, "/a%20b"},
		"http://:80/to:here/@x":    {"http", 80, "/to:here/@x"},
		"":                         {},
		"tcp":                      {},
		"tcp://80":                 {},
		"tcp://:+80":               {},
		"tcp://:80/":               {},
		"tcp://c1:80":              {},
		"http://[::1]:80/":         {},
		"http://user@:80/":         {},
		"http://:80?full=1":        {},
		"http://:80/live#part":     {},
		"http://:80//other.host/x": {},
		"http://:80/%zz":           {},
		"https://:443/":            {},
		"HTTP://:80/":              {},
		"http:/:80/":               {},
	} {
		var got parts
		var err error
		got.kind, got.port, got.path, err = parseHealth(text)
		if bad := want == (parts{}); bad != (err != nil) || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseMember(t *testing.T) {
	for text, want := range map[string]api.ServiceMember{
		"c1":       {Endpoint: "c1"},
		"c1=1":     {Endpoint: "c1", Weight: 1},
		"c1=65535": {Endpoint: "c1", Weight: 65535},
		"c1=":      {},
		"c1=0":     {},
		"c1=+1":    {},
		"c1=65536": {},
		"c1=1=2":   {},
	} {
		got, err := parseMember(text)
		if bad := want == (api.ServiceMember{}); bad != (err != nil) || !bad && got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}
