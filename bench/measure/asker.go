package measure

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

const (
	dnsPort = 53
	// maxAnswer is how long a message may be without EDNS, in bytes
	// (RFC 1035 section 4.2.1).
	maxAnswer = 512
	dnsHeader = 12
)

// asker is a socket that asks a resolver for names, one after the other and from
// the beginning again, with IDs that count. Queries are made once, and go in and out
// in batches; when an answer has come, the kernel says: what is measured is who
// answers, and not how soon the asker gets a CPU to look.
type asker struct {
	fd      int
	queries [][]byte
	// seq is the number of the next query.
	seq     int
	out, in *messages
	stamps  []byte
	// sent are the times when queries were, by ID.
	sent    [1 << 16]time.Time
	replies []reply
}

// reply is what a query was answered by.
type reply struct {
	id uint16
	// took is the time from when the query was handed to the socket until the answer
	// was there.
	took time.Duration
}

// stampSize is that of the control message of SO_TIMESTAMPNS (socket(7)), in bytes: a
// struct timespec.
var stampSize = unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{})))

func newAsker(e Endpoint, resolver netip.Addr, names []string) (*asker, error) {
	a := &asker{out: newMessages(queriesWaiting, maxAnswer), in: newMessages(queriesWaiting, maxAnswer)}
	for _, name := range names {
		b, err := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA).Pack()
		if err != nil {
			return nil, fmt.Errorf("query for %q: %w", name, err)
		}
		a.queries = append(a.queries, b)
	}
	var err error
	a.fd, err = udpSocket(e, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
			return fmt.Errorf("receive buffer: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return fmt.Errorf("timestamps: %w", err)
		}
		wait := unix.NsecToTimeval(answerLimit.Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return fmt.Errorf("limit of an answer: %w", err)
		}
		return unix.Connect(fd, sockaddr(netip.AddrPortFrom(resolver, dnsPort)))
	})
	if err != nil {
		return nil, err
	}
	a.stamps = make([]byte, queriesWaiting*stampSize)
	for i := range a.in.headers {
		a.in.headers[i].hdr.Control = &a.stamps[i*stampSize]
	}
	return a, nil
}

func (a *asker) close() { unix.Close(a.fd) }

// ask sends the next n queries, a batch at most.
func (a *asker) ask(n int) error {
	now := time.Now()
	for i := range n {
		b := a.out.message(i)
		size := copy(b, a.queries[a.seq%len(a.queries)])
		binary.BigEndian.PutUint16(b, uint16(a.seq))
		a.sent[uint16(a.seq)] = now
		a.out.iovecs[i].SetLen(size)
		a.seq++
	}
	for from := 0; from < n; {
		sent, err := a.out.sendSome(a.fd, from, n)
		switch {
		case err == nil:
			from += sent
		case !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("query: %w", err)
		}
	}
	return nil
}

// number is which query has an ID, of 16 bits: one of the latest.
func (a *asker) number(id uint16) int { return a.seq - 1 - int(uint16(a.seq-1)-id) }

// answers waits for at least one answer, and returns all that are there; none after
// answerLimit.
func (a *asker) answers() ([]reply, error) { return a.take(unix.MSG_WAITFORONE) }

// present is answers that does not wait.
func (a *asker) present() ([]reply, error) { return a.take(unix.MSG_DONTWAIT) }

func (a *asker) take(flags int) ([]reply, error) {
	a.replies = a.replies[:0]
	for i := range a.in.headers {
		a.in.headers[i].hdr.SetControllen(stampSize) // the kernel has said there what it wrote
	}
	n, err := a.in.receiveWith(a.fd, flags)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("answer: %w", err)
	}
	for i := range n {
		b := a.in.message(i)[:a.in.headers[i].len]
		if err := checkAnswer(b); err != nil {
			return nil, err
		}
		arrived, err := stamp(a.stamps[i*stampSize:][:a.in.headers[i].hdr.Controllen])
		if err != nil {
			return nil, err
		}
		id := binary.BigEndian.Uint16(b)
		a.replies = append(a.replies, reply{id, arrived.Sub(a.sent[id])})
	}
	return a.replies, nil
}

// stamp returns when a packet came, of what came with it.
func stamp(control []byte) (time.Time, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}, fmt.Errorf("timestamp: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))), nil
		}
	}
	return time.Time{}, errors.New("an answer has no timestamp")
}

// checkAnswer wants a message to be a response, without an error and with an
// answer.
func checkAnswer(b []byte) error {
	if len(b) < dnsHeader || b[2]&0x80 == 0 {
		return fmt.Errorf("the answer is none: % x", b)
	}
	if code := int(b[3] & 0x0f); code != dns.RcodeSuccess || binary.BigEndian.Uint16(b[6:]) == 0 {
		return fmt.Errorf("the answer to a query is %s, with %d records", dns.RcodeToString[code], binary.BigEndian.Uint16(b[6:]))
	}
	return nil
}
