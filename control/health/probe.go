package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// maxHeader and maxBody bound what is read of an answer, in bytes. The body
	// does not matter; it is read so that the endpoint can send it and does not
	// log a connection that broke.
	maxHeader = 64 << 10
	maxBody   = 4 << 10
	// maxInformational is how many answers of status 1xx may come before the one
	// that counts (RFC 9110 section 15.2).
	maxInformational = 5
)

// probe asks once; nil is a good result.
func probe(ctx context.Context, c Check) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := dial(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is kept
	if c.Kind != HTTP {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // it is closed then
	defer stop()
	if err := get(conn, c); err != nil {
		return fmt.Errorf("GET http://%s%s: %w", c.Target, c.Path, err)
	}
	return nil
}

// dial connects inside the namespace: Dialer makes the socket for a literal
// address on the goroutine that calls it, and a socket stays where it was made.
func dial(ctx context.Context, c Check) (conn net.Conn, err error) {
	err = c.Namespace.Do(func() (err error) {
		conn, err = (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", c.Target.String())
		return err
	})
	return conn, err
}

// get sends a request and reads the answer's status. It starts no goroutine, as
// an http.Client would.
func get(conn io.ReadWriter, c Check) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+c.Target.String()+c.Path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	req.Header.Set("User-Agent", "ovl-health")
	if err := req.Write(conn); err != nil {
		return err
	}
	r := bufio.NewReader(io.LimitReader(conn, maxHeader))
	for range maxInformational {
		res, err := http.ReadResponse(r, req)
		if err != nil {
			return err
		}
		if res.StatusCode >= 100 && res.StatusCode <= 199 {
			continue
		}
		io.CopyN(io.Discard, res.Body, maxBody) //nolint:errcheck // the status has come
		if res.StatusCode < 200 || res.StatusCode > 399 {
			return fmt.Errorf("status %d %s", res.StatusCode, http.StatusText(res.StatusCode))
		}
		return nil
	}
	return fmt.Errorf("more than %d answers of status 1xx", maxInformational)
}
