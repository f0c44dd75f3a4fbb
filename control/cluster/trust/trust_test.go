package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func testSecret() Secret {
	var s Secret
	for i := range s {
		s[i] = byte(i)
	}
	return s
}

// The forms below are on disks and in people's notes: a change breaks them.
func TestDerivedFormsAreStable(t *testing.T) {
	s := testSecret()
	if got, want := s.Token(), "ovl1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9jDc0p"; got != want {
		t.Errorf("token %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%x", s.GossipKey()), "947990a55979316f71328fdc7c07e38ae459347f3bf81d66f96edd62b2b88a34"; got != want {
		t.Errorf("gossip key %s, want %s", got, want)
	}
	if got, want := s.UniqueLocal().String(), "fd7c:b637:2fce::/48"; got != want {
		t.Errorf("unique local prefix %s, want %s", got, want)
	}
	if bytes.Equal(s.GossipKey(), s.identityKey().Seed()) {
		t.Error("gossip key and identity are the same bytes")
	}
	a, err := s.Identity()
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.cert.Certificate[0], b.cert.Certificate[0]) {
		t.Error("two hosts with one secret make different certificates")
	}
}

// A unique local prefix is one of RFC 4193 section 3.1 with the bit that says
// that it was assigned locally, and another in every cluster.
func TestUniqueLocal(t *testing.T) {
	local := netip.MustParsePrefix("fd00::/8")
	seen := map[netip.Prefix]bool{}
	for range 100 {
		p := NewSecret().UniqueLocal()
		if p.Bits() != 48 || p != p.Masked() || !local.Overlaps(p) {
			t.Errorf("%s is not a unique local /48", p)
		}
		if seen[p] {
			t.Errorf("two clusters have %s", p)
		}
		seen[p] = true
	}
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Secret
		copy(s[:], rapid.SliceOfN(rapid.Byte(), SecretSize, SecretSize).Draw(t, "secret"))
		got, err := ParseToken(" " + s.Token() + "\n")
		if err != nil || got != s {
			t.Fatalf("parse of %v: %v", s.Token(), err)
		}
		// Any single changed character is noticed.
		text := []byte(s.Token())
		i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		c := rapid.SampledFrom([]byte("Az09-_.=+/ é")).Draw(t, "to")
		if text[i] == c || (i == 0 || i == len(text)-1) && c == ' ' {
			t.Skip("no change")
		}
		text[i] = c
		if _, err := ParseToken(string(text)); !errors.Is(err, ErrBadToken) {
			t.Fatalf("character %d changed to %q: %v", i, c, err)
		}
	})
}

func TestParseTokenSaysWhatIsWrong(t *testing.T) {
	token := testSecret().Token()
	changed := []byte(token)
	changed[20]++
	cases := []struct{ name, text, want string }{
		{"empty", " \n", "empty"},
		{"prefix", "swmtkn-1-abc", `"ovl1."`},
		{"other case", strings.ToUpper(token), `"ovl1."`},
		{"short", token[:40], "has 40 characters, not 53"},
		{"long", token + "A", "has 54 characters, not 53"},
		{"quoted inside", "ovl1.\"" + token[6:], "character 6 "},
		{"line break", token[:30] + "\n" + token[30:], "character 31 "},
		{"checksum", string(changed), "checksum"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseToken(c.text)
			if !errors.Is(err, ErrBadToken) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want it to say %s", err, c.want)
			}
			if strings.Contains(err.Error(), token[10:20]) {
				t.Errorf("error repeats the token: %v", err)
			}
		})
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	s := testSecret()
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v %s %q", s, s, s, s)} {
		if strings.Contains(text, "1, 2, 3") || strings.Contains(text, "010203") || !strings.Contains(text, "[secret]") {
			t.Errorf("prints as %s", text)
		}
	}
	if _, err := json.Marshal(s); err == nil {
		t.Error("marshals to JSON")
	}
}

func TestSecretFromBytes(t *testing.T) {
	s := NewSecret()
	if got, err := SecretFromBytes(s[:]); err != nil || got != s {
		t.Errorf("got %v", err)
	}
	if _, err := SecretFromBytes(s[:31]); err == nil {
		t.Error("31 bytes are taken")
	}
}
