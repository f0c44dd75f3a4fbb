package main

import (
	"fmt"
	"io"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// labTB lets a program build a lab the way a test does. What would end a test
// ends the guarded function with an error.
type labTB struct {
	name     string
	log      io.Writer
	cleanups []func()
}

type fatal struct{ err error }

func (*labTB) Helper()             {}
func (t *labTB) Name() string      { return t.name }
func (t *labTB) Cleanup(fn func()) { t.cleanups = append(t.cleanups, fn) }

func (t *labTB) Logf(format string, args ...any) {
	fmt.Fprintf(t.log, t.name+": "+format+"\n", args...)
}

func (t *labTB) Fatalf(format string, args ...any) { panic(fatal{fmt.Errorf(format, args...)}) }

// close runs the cleanups, the last one first.
func (t *labTB) close() {
	for len(t.cleanups) > 0 {
		last := t.cleanups[len(t.cleanups)-1]
		t.cleanups = t.cleanups[:len(t.cleanups)-1]
		last()
	}
}

// guard returns what fn returns, or what it handed to Fatalf.
func guard(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(fatal)
			if !ok {
				panic(r)
			}
			err = f.err
		}
	}()
	return fn()
}

// newLab builds a lab: of two hosts, each the other's only neighbour, unless it
// is to have more.
func newLab(tb *labTB, hosts, mtu int) (lab *linktest.Lab, err error) {
	err = guard(func() error {
		lab = linktest.New(tb, linktest.Options{Hosts: hosts, MTU: mtu})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lab of %s: %w", tb.name, err)
	}
	return lab, nil
}
