package trust

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ErrStranger is wrapped by the error of a TLS handshake whose other end
// does not hold our cluster's secret.
var ErrStranger = errors.New("the other end does not hold this cluster's secret")

// Identity is what a member shows on a TLS connection and what it demands of
// the other end: the same key.
type Identity struct {
	cert   tls.Certificate
	public ed25519.PublicKey
}

// Identity derives the cluster's TLS identity. Every holder of s makes the
// same certificate, byte for byte: ed25519 signatures are deterministic.
func (s Secret) Identity() (*Identity, error) {
	key := s.identityKey()
	public := key.Public().(ed25519.PublicKey)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "ovl cluster"},
		// Nothing looks at the dates: a host whose clock is wrong must be
		// able to join. They are fixed so that the bytes are.
		NotBefore: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(nil, template, template, public, key)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's certificate: %w", err)
	}
	return &Identity{
		cert:   tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		public: public,
	}, nil
}

// ServerConfig is for the side that accepts: TLS 1.3, HTTP/2, and only peers
// that prove to hold the cluster's key.
func (id *Identity) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2"},
		Certificates: []tls.Certificate{id.cert},
		// The chain is not checked against an authority, there is none;
		// VerifyConnection compares the key itself, resumed or not. That
		// the peer holds the private half is part of the handshake.
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyConnection:       id.verify,
		SessionTicketsDisabled: true,
	}
}

// ClientConfig is for the side that connects. Addresses mean nothing to it:
// whoever holds the key is the right server.
func (id *Identity) ClientConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"h2"},
		Certificates:       []tls.Certificate{id.cert},
		InsecureSkipVerify: true, // see verify: the key is pinned instead
		VerifyConnection:   id.verify,
	}
}

// verify accepts exactly the cluster's public key. It runs on both ends.
func (id *Identity) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return ErrStranger
	}
	public, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || !public.Equal(id.public) {
		return ErrStranger
	}
	return nil
}
