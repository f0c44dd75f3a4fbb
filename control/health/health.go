// Package health finds out whether endpoints of this host answer.
//
// A Checker is given the checks that are wanted (Set). Each runs every Interval:
// a connection is made from inside the endpoint's own namespace to the endpoint's
// own address, with http a request goes over it, and what came of it is counted
// (count.go). When Rise or Fall results in a row say so, the change is reported.
//
//	Set ──▶ waiting ──▶ probe (in the namespace) ──▶ result ──▶ count ──▶ Report
//	           ▲                                       │
//	           └───────────── Interval later ──────────┘
package health

import (
	"net/netip"
	"time"
)

// Kind is how a check asks.
type Kind string

// The kinds of check.
const (
	// TCP: a connection is accepted.
	TCP Kind = "tcp"
	// HTTP: a GET is answered with a status of 200 to 399. Redirects are not
	// followed, for where they lead is another service's health.
	HTTP Kind = "http"
)

// Defaults of a Check, and the bounds of its Interval, Rise and Fall that who
// takes a Check from people should hold them to.
const (
	DefaultInterval = 2 * time.Second
	DefaultTimeout  = time.Second
	DefaultRise     = 2
	DefaultFall     = 3

	MinInterval = 100 * time.Millisecond
)

// Namespace is where an endpoint lives. link.Namespace is one.
type Namespace interface {
	// Do runs fn in the namespace, on a thread of its own, and returns its
	// error, or why it cannot.
	Do(fn func() error) error
}

// Check is one question that is asked again and again.
type Check struct {
	// Key tells checks apart; it means nothing here.
	Key string
	// Namespace is entered for each connection. It has to be there always, what
	// it leads to need not be.
	Namespace Namespace
	Kind      Kind
	// Target is the endpoint's own address. The connection goes over the
	// namespace's lo, which attaching the endpoint has brought up.
	Target netip.AddrPort
	// Path and query are asked for with HTTP; "/" by default.
	Path string
	// Interval is from the beginning of one check to that of the next; 2 s by
	// default, MinInterval at least.
	Interval time.Duration
	// Timeout bounds one check from connecting to the answer; 1 s by default.
	Timeout time.Duration
	// Rise is how many good results in a row make a bad endpoint good, Fall how
	// many bad ones a good one bad; 2 and 3 by default. The first result of all
	// decides alone.
	Rise, Fall int
}

// Change is what Report is told.
type Change struct {
	Key     string
	Healthy bool
	// Since is when the result came that decided.
	Since time.Time
	// Err is what was wrong with it; nil if Healthy.
	Err error
}

func (c Check) withDefaults() Check {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	c.Interval = max(c.Interval, MinInterval)
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Rise <= 0 {
		c.Rise = DefaultRise
	}
	if c.Fall <= 0 {
		c.Fall = DefaultFall
	}
	return c
}

// asksTheSame reports whether results of c say something about o. A key's
// namespace is the same for life.
func (c Check) asksTheSame(o Check) bool {
	return c.Kind == o.Kind && c.Target == o.Target && c.Path == o.Path
}
