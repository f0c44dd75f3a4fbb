package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	tokenPrefix  = "ovl1."
	checksumSize = 4
)

// tokenTextSize is the length of a token after its prefix.
var tokenTextSize = base64.RawURLEncoding.EncodedLen(SecretSize + checksumSize)

// ErrBadToken is wrapped by every error of ParseToken.
var ErrBadToken = errors.New("not a join token")

// Token returns the join token: "ovl1." and the base64url form (RFC 4648
// section 5, no padding) of the secret followed by the first four bytes of its
// SHA-256. The checksum finds slips of the paste, nothing else.
func (s Secret) Token() string {
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(s[:], checksum(s)...))
}

// ParseToken returns the Secret inside a token, which may be surrounded by
// white space. Errors say what is wrong without repeating the token: even a
// damaged one is nearly a secret.
func ParseToken(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Secret{}, fmt.Errorf("%w: it is empty", ErrBadToken)
	}
	body, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return Secret{}, fmt.Errorf("%w: it does not begin with %q", ErrBadToken, tokenPrefix)
	}
	if i := strings.IndexFunc(body, func(r rune) bool { return !isTokenRune(r) }); i >= 0 {
		return Secret{}, fmt.Errorf("%w: character %d cannot be part of one", ErrBadToken, len(tokenPrefix)+i+1)
	}
	if len(body) != tokenTextSize {
		return Secret{}, fmt.Errorf("%w: it has %d characters, not %d; was it cut off?", ErrBadToken,
			len(tokenPrefix)+len(body), len(tokenPrefix)+tokenTextSize)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	s := Secret(raw[:SecretSize])
	if !bytes.Equal(checksum(s), raw[SecretSize:]) {
		return Secret{}, fmt.Errorf("%w: its checksum is wrong; a character was changed", ErrBadToken)
	}
	return s, nil
}

func isTokenRune(r rune) bool {
	return 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

func checksum(s Secret) []byte {
	sum := sha256.Sum256(s[:])
	return sum[:checksumSize]
}
