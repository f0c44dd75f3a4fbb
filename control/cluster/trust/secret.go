// Package trust is what the hosts of one cluster have in common and no one
// else has. It flows one way:
//
//	Secret ── Token ──▶ what a person pastes into `ovlctl up --token`
//	   ├── GossipKey ──▶ AES-256-GCM of every gossip packet
//	   ├── Identity ───▶ the certificate of both ends of every TLS connection
//	   └── UniqueLocal ▶ the prefix that the cluster's own IPv6 subnets are out of
//
// The first host makes the Secret; the others parse it out of a Token. Nothing
// is exchanged with a peer that does not hold the same Secret: there is no
// certificate authority whose mistake could let one in. Node certificates of
// their own can take Identity's place later without a change elsewhere.
package trust

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/netip"
)

// SecretSize is the length of a Secret in bytes.
const SecretSize = 32

// The labels keep the derived keys independent of each other (RFC 5869
// section 3.2). A changed label is a new protocol.
const (
	labelGossip      = "ovl/1 gossip AES-256-GCM"
	labelIdentity    = "ovl/1 sync ed25519"
	labelUniqueLocal = "ovl/1 unique local prefix"
)

// Secret is what makes a host a member of its cluster. It prints as
// "[secret]", so that it does not end up in a log.
type Secret [SecretSize]byte

// NewSecret returns a Secret from the system's random source, which does not
// fail on Linux.
func NewSecret() Secret {
	var s Secret
	rand.Read(s[:])
	return s
}

// SecretFromBytes returns the Secret whose bytes are b, as read from disk.
func SecretFromBytes(b []byte) (Secret, error) {
	if len(b) != SecretSize {
		return Secret{}, fmt.Errorf("cluster secret has %d bytes, not %d", len(b), SecretSize)
	}
	return Secret(b), nil
}

// String hides the secret.
func (s Secret) String() string { return "[secret]" }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText refuses: the only text form of a Secret is its Token, made on
// purpose.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, fmt.Errorf("a cluster secret has no text form; use its token")
}

// GossipKey is the key of the gossip's AES-256-GCM.
func (s Secret) GossipKey() []byte { return s.derive(labelGossip, 32) }

// UniqueLocal is the cluster's own /48 of unique local addresses (RFC 4193):
// fd, and 40 bits that are as random as the secret is, so that every member has
// the same ones without asking anybody, and no two clusters do. Unlike the keys
// it may be shown to everyone: the secret does not follow from it.
func (s Secret) UniqueLocal() netip.Prefix {
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:6], s.derive(labelUniqueLocal, 5))
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

// identityKey is the ed25519 key that every member presents.
func (s Secret) identityKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(s.derive(labelIdentity, ed25519.SeedSize))
}

// derive returns size bytes that only holders of s can compute.
func (s Secret) derive(label string, size int) []byte {
	key, err := hkdf.Key(sha256.New, s[:], nil, label, size)
	if err != nil {
		// Only for sizes over 255 hashes; ours are constants.
		panic(fmt.Sprintf("derive %s: %v", label, err))
	}
	return key
}
