// Package resolvconf keeps the resolver configuration (resolv.conf(5)) of what is
// attached to networks, and puts back what was there before. There are two places
// where one can be:
//
//	Named    /etc/netns/NAME/resolv.conf, which `ip netns exec` mounts over
//	         /etc/resolv.conf (ip-netns(8)). Made by a rename
//	Process  etc/resolv.conf below the root of a process, such as a container's,
//	         which may be a mount: written where it is
//
// What a file says is Text. That it is ours its first line says, Mark; a file without
// is somebody else's, and stays unless it shall be replaced: then it is kept, on disk,
// until ours goes. All calls may be repeated, and after a crash at any point the next
// one brings the file to where it should be.
package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// maxServers is how many name servers C libraries read (MAXNS of resolv.h).
const maxServers = 3

// maxFile is the largest file of somebody else's that is kept, in bytes.
const maxFile = 64 << 10

// Errors that callers decide on.
var (
	// ErrNotOurs: there is a file that somebody else has written.
	ErrNotOurs = errors.New("there is one already")
	// ErrOdd: what is there cannot be replaced and put back.
	ErrOdd = errors.New("not a file that can be kept and put back")
)

// Network is one that a namespace is on.
type Network struct {
	Name string
	// Servers are the addresses at which it is answered for, IPv4 first.
	Servers []netip.Addr
}

// Mark is the first line of the files of an instance.
func Mark(instance string) string {
	if instance == "" {
		return "# by ovl: written anew at each attach and detach\n"
	}
	return "# by ovl, instance " + instance + ": written anew at each attach and detach\n"
}

// Text returns the file of a namespace that is on networks, in the order in
// which it was attached to them; "" if nobody answers.
//
// The name servers are one address of each network, and then the others while
// there is room: both addresses of a network lead to the same server, so that
// the second is of no use to a question that the first would not answer.
//
// With ndots:0 a name is asked as it is first, whatever dots it has. That is one
// question for every name that there is: the server looks for it on all networks
// of the namespace (ADR 18), NAME and NAME.NETWORK are the same to it, and an
// outside name is never tried with a network's name behind it first. With the
// usual ndots:1, NAME would be asked for as NAME.NETWORK of one network after the
// other. What there is not the C library asks for once more for each network of
// the search list; musl does not. The list is for programs that ask for no name of
// one label, and for those that tell a host's domain by it.
func Text(mark string, networks []Network) string {
	var servers, more []netip.Addr
	var search []string
	add := func(to *[]netip.Addr, all []netip.Addr) {
		for _, a := range all {
			if !slices.Contains(servers, a) && !slices.Contains(*to, a) {
				*to = append(*to, a)
			}
		}
	}
	for _, n := range networks {
		if len(n.Servers) == 0 {
			continue
		}
		add(&servers, n.Servers[:1])
		if !slices.Contains(search, n.Name) {
			search = append(search, n.Name)
		}
	}
	for _, n := range networks {
		add(&more, n.Servers)
	}
	servers = append(servers, more...)
	if len(servers) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(mark)
	for _, a := range servers[:min(len(servers), maxServers)] {
		fmt.Fprintf(&b, "nameserver %v\n", a)
	}
	fmt.Fprintf(&b, "search %s\noptions ndots:0\n", strings.Join(search, " "))
	return b.String()
}

// ours reports whether a file's content is that of an instance with this mark.
func ours(mark string, content []byte) bool { return bytes.HasPrefix(content, []byte(mark)) }

// read returns what f holds, which is not longer than maxFile.
func read(f *os.File) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%w: it has more than %d bytes", ErrOdd, maxFile)
	}
	return content, err
}

// overwrite puts content in the place of what f, which stays the same file, holds:
// was. One write covers all of that, so that who reads meanwhile sees the one or the other,
// at worst with blank lines behind. If it fails, for want of room, f is as before.
func overwrite(f *os.File, was, content []byte) error {
	_, err := f.WriteAt(cover(was, content), 0)
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if err == nil {
		return nil
	}
	_, undo := f.WriteAt(was, 0)
	return errors.Join(err, undo, f.Truncate(int64(len(was))))
}

// cover returns content with as many blank lines as cover was.
func cover(was, content []byte) []byte {
	missing := max(0, len(was)-len(content))
	return append(slices.Clip(content), bytes.Repeat([]byte{'\n'}, missing)...)
}
