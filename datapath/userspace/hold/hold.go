// Package hold keeps descriptors open while no agent runs: the queues of TAP
// devices and the sockets of the tunnel. What comes in meanwhile waits in the
// kernel, and the next agent reads it, where it would be lost if the last
// descriptor were closed.
//
// A descriptor is kept by a process of its own, the holder, which does nothing
// else. What flows through the package, in order:
//
//	Start    listens at a path, and runs this binary again as the holder
//	         (start.go); it is nobody's child and in nobody's session, so that
//	         what ends an agent does not end it
//	Dial     a connection to it (client.go)
//	Put      a copy of a descriptor goes there, under a name
//	All      the next agent gets copies of all of them
//	Drop     one is closed
//	Quit     all are closed, and the holder ends
//	Keep     all of this for an agent that runs on whatever becomes of the
//	         holder: one that dies is started again and given everything once
//	         more (keeper.go)
//
// The holder (holder.go) ends by itself when its socket is no longer at the
// path, and when it has held nothing and heard nobody for a while.
//
// On the wire (message.go) are packets over a unix socket of type
// SOCK_SEQPACKET. Only root and the holder's own user are served.
//
// Why not systemd's descriptor store, and other ways: docs/adr/0016.
package hold

import (
	"errors"
	"time"
)

var (
	// ErrNone is wrapped where no holder listens.
	ErrNone = errors.New("no holder listens")
	// ErrVersion is wrapped where a holder speaks another version. It takes
	// Quit all the same.
	ErrVersion = errors.New("the holder is of another version")
	// ErrLost is wrapped where the holder went away, or does not answer.
	ErrLost = errors.New("the holder is gone")
)

const (
	// answerTime is how long a holder may take for an answer, on a host that
	// has much else to do.
	answerTime = 5 * time.Second
	// idleTime is how long a holder stays that holds nothing and is not
	// talked to.
	idleTime = 10 * time.Second
	// lookTime is how often a holder looks whether its socket is still at the
	// path.
	lookTime = time.Second
)
