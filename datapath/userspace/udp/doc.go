// Package udp is the tunnel's sockets: it carries UDP payloads between this
// host's VTEP and others', many with each system call. What the payloads are it
// does not know.
//
// What flows out, in order: a Sender is given payloads, each with the Path to
// its peer and its flow's hash (sender.go). Payloads that follow each other to
// the same peer from the same source port become one train, which the kernel
// cuts into datagrams as late as it can (UDP GSO, Linux 4.18). Flush sends what has
// come together, one sendmmsg for each socket, and says what could not be sent
// (flush.go). The hash chooses one of a few source ports; each has two sockets,
// as the kernel cuts trains only with a checksum and what goes alone shall have
// none (ports.go).
//
//	Add(path, hash, ecn, head, payload) ─▶ messages ─▶ Flush ─▶ port 41234 ─┬─ alone, checksum 0
//	                                                                       └─ trains, with checksum
//
// What flows in: the kernel spreads flows over the receive sockets, one for each
// reading goroutine. A Receiver fills Arrivals, some of which are trains that the
// sender or this host's GRO has made (receive.go, arrivals.go).
//
// Datagrams are never fragmented: all have DF (over IPv6 they cannot be), and what is
// longer than the device's MTU is refused. Path.MTU says what the kernel knows of the way (path.go);
// the sender does not look at it.
package udp
