package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// handshake lets a client and a server meet and returns both ends' errors. A
// TLS 1.3 client has finished before the server has seen its certificate, so
// each end also reads a byte of the other.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	greet := func(c *tls.Conn) error {
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if err := c.Handshake(); err != nil {
			return err
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	done := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		done <- greet(tls.Server(c, server))
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	clientErr = greet(tls.Client(c, client))
	return <-done, clientErr
}

func identity(t *testing.T, s Secret) *Identity {
	t.Helper()
	id, err := s.Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestMembersMeet(t *testing.T) {
	s := NewSecret()
	serverErr, clientErr := handshake(t, identity(t, s).ServerConfig(), identity(t, s).ClientConfig())
	if serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v, client: %v", serverErr, clientErr)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ours := identity(t, NewSecret())
	theirs := identity(t, NewSecret())

	// A stranger that checks nothing, as an attacker would.
	gullible := theirs.ClientConfig()
	gullible.VerifyConnection = nil
	// One with no certificate, one with another kind of key, one with an
	// old protocol, and one that shows our certificate without the key.
	bare := gullible.Clone()
	bare.Certificates = nil
	other := gullible.Clone()
	other.Certificates = []tls.Certificate{ecdsaCertificate(t)}
	old := ours.ClientConfig()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	thief := gullible.Clone()
	thief.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: ours.cert.Certificate, PrivateKey: theirs.cert.PrivateKey}, nil
	}

	for name, client := range map[string]*tls.Config{
		"other secret": gullible, "no certificate": bare, "other kind of key": other,
		"TLS 1.2": old, "our certificate without its key": thief,
	} {
		t.Run("client/"+name, func(t *testing.T) {
			serverErr, clientErr := handshake(t, ours.ServerConfig(), client)
			if serverErr == nil || clientErr == nil {
				t.Errorf("served: server %v, client %v", serverErr, clientErr)
			}
		})
	}

	server := theirs.ServerConfig()
	server.VerifyConnection = nil
	t.Run("server", func(t *testing.T) {
		if _, err := handshake(t, server, ours.ClientConfig()); !errors.Is(err, ErrStranger) {
			t.Errorf("client got %v, want ErrStranger", err)
		}
	})
}

func ecdsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
