package name_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/name"
)

func TestRules(t *testing.T) {
	object := func(s string) error { return name.Validate("network", s) }
	label := func(s string) error { return name.ValidateLabels(map[string]string{s: ""}) }
	tests := []struct {
		rule string
		f    func(string) error
		good []string
		bad  []string
	}{
		{
			"object", object,
			[]string{"a", "9", "Web-1_b.c", strings.Repeat("x", 63)},
			[]string{"", "-a", ".a", "_a", "a b", "a/b", "ä", "a\n", strings.Repeat("x", 64)},
		},
		{
			"network", name.ValidateNetwork,
			[]string{"a", "9", "tasks", "shop.example", "xn--mnchen-3ya", strings.Repeat("x", 63)},
			[]string{"", "a.", "a..b", ".a", "_a", "münchen", strings.Repeat("x", 64)},
		},
		{
			"answered", func(s string) error { return name.ValidateAnswered("alias", s) },
			[]string{"a", "Web-1_b.c", "web.1", "1.web", "9a", "0xg", "task", "tasks1", "my.tasks", "xn--mnchen-3ya", "10.0.0.5x", strings.Repeat("x", 63)},
			[]string{
				"", "a.", "a..b", ".a", "_http", "_http._tcp.web", "-a", "münchen", "a b", "*", "a\x00", strings.Repeat("x", 64),
				"tasks", "Tasks.web", "tasks.web", "9", "1.2", "10.0.0.5", "0x7f", "0X7F.1", "1.2.3.4.5",
			},
		},
		{
			"instance", name.ValidateInstance,
			[]string{"", "a", "1", "h-1", strings.Repeat("x", 15)},
			[]string{"A", "-a", "a.b", "../x", "a_b", strings.Repeat("x", 16)},
		},
		{
			"interface", name.ValidateInterface,
			[]string{"eth0", "tap_1", "a.b@c", strings.Repeat("x", 15)},
			[]string{"", ".", "..", "a b", "a/b", "a:b", "ä", strings.Repeat("x", 16)},
		},
		{
			"label key", label,
			[]string{"a", "com.example/role", strings.Repeat("x", 63)},
			[]string{"", "a=b", "a b", strings.Repeat("x", 64)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			for _, s := range tt.good {
				if err := tt.f(s); err != nil {
					t.Errorf("%q refused: %v", s, err)
				}
			}
			for _, s := range tt.bad {
				if err := tt.f(s); !errors.Is(err, name.ErrInvalid) {
					t.Errorf("%q: got %v, want an error that wraps ErrInvalid", s, err)
				} else if strings.Contains(err.Error(), "\n") {
					t.Errorf("%q: message has several lines: %q", s, err)
				}
			}
		})
	}
}

func TestLabelValueLength(t *testing.T) {
	if err := name.ValidateLabels(map[string]string{"k": strings.Repeat("v", 255)}); err != nil {
		t.Error(err)
	}
	if err := name.ValidateLabels(map[string]string{"k": strings.Repeat("v", 256)}); err == nil {
		t.Error("a value of 256 bytes was accepted")
	}
}

// What a name should be instead is in the refusal.
func TestInternational(t *testing.T) {
	if err := name.ValidateAnswered("endpoint", "münchen"); err == nil || !strings.Contains(err.Error(), "punycode") {
		t.Errorf("error is %v", err)
	}
}
