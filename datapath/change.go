package datapath

import (
	"cmp"
	"slices"
)

// NetworkChange is what one State has of a network that the State before it has
// not, and the other way round. What has changed is among both.
type NetworkChange struct {
	// Was and Now are the network before and after; nil where it is not there.
	Was, Now *Network

	Ports    Change[Port]
	Remotes  Change[Remote]
	Services Change[Service]
}

// Change is what has gone from a list, and what has come to it.
type Change[E any] struct{ Gone, Come []E }

// Empty reports whether nothing has changed.
func (c Change[E]) Empty() bool { return len(c.Gone)+len(c.Come) == 0 }

// Since returns how s differs from the State before it, by ascending VNI. Both are
// sorted. Lists that the two share cost nothing; others are read once.
func (s State) Since(before State) []NetworkChange {
	networks := changeOf(before.Networks, s.Networks, func(a, b *Network) int { return cmp.Compare(a.VNI, b.VNI) }, Network.equal)
	var out []NetworkChange
	gone, come := networks.Gone, networks.Come
	for len(gone)+len(come) > 0 {
		var c NetworkChange
		var was, now Network
		if len(come) == 0 || len(gone) > 0 && gone[0].VNI <= come[0].VNI {
			c.Was, was, gone = &gone[0], gone[0], gone[1:]
		}
		if c.Was == nil || len(come) > 0 && come[0].VNI == c.Was.VNI {
			c.Now, now, come = &come[0], come[0], come[1:]
		}
		c.Ports = changeOf(was.Ports, now.Ports, func(a, b *Port) int { return cmp.Compare(a.Device, b.Device) }, Port.equal)
		c.Remotes = changeOf(was.Remotes, now.Remotes, func(a, b *Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) }, Remote.equal)
		c.Services = changeOf(was.Services, now.Services, func(a, b *Service) int { return cmp.Compare(a.Name, b.Name) }, Service.equal)
		out = append(out, c)
	}
	return out
}

// changeOf compares two sorted lists.
func changeOf[E any](was, now []E, compare func(a, b *E) int, equal func(a, b E) bool) (c Change[E]) {
	if shared(was, now) {
		return c
	}
	for len(was) > 0 && len(now) > 0 {
		order := compare(&was[0], &now[0])
		differ := order != 0 || !equal(was[0], now[0])
		if order <= 0 {
			if differ {
				c.Gone = append(c.Gone, was[0])
			}
			was = was[1:]
		}
		if order >= 0 {
			if differ {
				c.Come = append(c.Come, now[0])
			}
			now = now[1:]
		}
	}
	c.Gone, c.Come = append(c.Gone, was...), append(c.Come, now...)
	return c
}

// equalLists is slices.EqualFunc, quick where the lists are one.
func equalLists[E any](a, b []E, equal func(a, b E) bool) bool {
	return shared(a, b) || slices.EqualFunc(a, b, equal)
}

// equalValues is equalLists for what can be compared.
func equalValues[E comparable](a, b []E) bool { return shared(a, b) || slices.Equal(a, b) }

// shared reports whether two lists are one and the same memory. What is handed
// over in a State never changes, so that they are then equal.
func shared[E any](a, b []E) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
