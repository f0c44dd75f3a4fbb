package encap

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestVNIValidate(t *testing.T) {
	for v, ok := range map[VNI]bool{0: false, 4095: false, 4096: true, 70000: true, 1<<24 - 1: true, 1 << 24: false, 1<<32 - 1: false} {
		err := v.Validate()
		if (err == nil) != ok {
			t.Errorf("VNI %d: %v", v, err)
		}
		if err != nil && !errors.Is(err, ErrVNIRange) {
			t.Errorf("VNI %d: %v does not wrap ErrVNIRange", v, err)
		}
	}
	if got := VNI(16777215).String(); got != "16777215" {
		t.Errorf("String() = %s", got)
	}
}

func TestParseMAC(t *testing.T) {
	for s, want := range map[string]MAC{
		"02:00:00:00:00:01": {2, 0, 0, 0, 0, 1},
		"02-00-00-00-AB-ff": {2, 0, 0, 0, 0xab, 0xff},
		"0200.5e00.0001":    {2, 0, 0x5e, 0, 0, 1},
	} {
		if got, err := ParseMAC(s); err != nil || got != want {
			t.Errorf("ParseMAC(%q) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "02:00:00:00:00", "02:00:00:00:00:00:00:01", "02:00:00:00:00:0g"} {
		if got, err := ParseMAC(s); err == nil {
			t.Errorf("ParseMAC(%q) = %s, want an error", s, got)
		}
	}
}

func TestMACIsUnicast(t *testing.T) {
	for m, want := range map[MAC]bool{
		{2, 0, 0, 0, 0, 1}:                   true,
		{0, 0, 0, 0, 0, 1}:                   true,
		{}:                                   false,
		{1, 0, 0x5e, 0, 0, 1}:                false,
		{0x33, 0x33, 0, 0, 0, 1}:             false,
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}: false,
	} {
		if got := m.IsUnicast(); got != want {
			t.Errorf("%s: IsUnicast() = %v", m, got)
		}
	}
}

func TestMACText(t *testing.T) {
	in := map[MAC]MAC{{2, 0, 0, 0, 0, 1}: {2, 0, 0, 0, 0xab, 0xcd}}
	text, err := json.Marshal(in)
	if want := `{"02:00:00:00:00:01":"02:00:00:00:ab:cd"}`; err != nil || string(text) != want {
		t.Fatalf("%s, %v; want %s", text, err, want)
	}
	var out map[MAC]MAC
	if err := json.Unmarshal(text, &out); err != nil || out[MAC{2, 0, 0, 0, 0, 1}] != in[MAC{2, 0, 0, 0, 0, 1}] {
		t.Errorf("round trip: %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"x":"02:00:00:00:00:01"}`), &out); err == nil {
		t.Error("took x for a MAC")
	}
}
