package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovlnet/ovl/control/api"
)

// forEach calls do for every ref, past those that fail; only an agent that is
// not there ends it at once. Several errors become one of one line, with the
// code of the first.
func forEach(refs []string, do func(ref string) error) error {
	var failed []error
	for _, ref := range refs {
		err := do(ref)
		if errors.Is(err, api.ErrUnreachable) {
			return err
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	}
	text := make([]string, len(failed))
	for i, err := range failed {
		text[i] = err.Error()
	}
	return api.Errorf(api.CodeOf(failed[0]), "%s", strings.Join(text, "; "))
}

// inspectEach prints what inspect finds for every ref, and fails with what it does
// not find.
func inspectEach[T any](a *app, refs []string, inspect func(ref string) (T, error), table func(io.Writer, T)) error {
	var found []T
	failed := forEach(refs, func(ref string) error {
		one, err := inspect(ref)
		if err == nil {
			found = append(found, one)
		}
		return err
	})
	if len(found) == 0 {
		return failed
	}
	return errors.Join(a.print(found, func(w io.Writer) {
		for i, one := range found {
			if i > 0 {
				fmt.Fprintln(w)
			}
			table(w, one)
		}
	}), failed)
}

// validateRefs refuses a command line with a reference that can fit nothing.
func validateRefs(cmd *cobra.Command, what string, refs []string) error {
	for _, ref := range refs {
		if err := api.ValidateRef(what, ref); err != nil {
			return usage(cmd, err)
		}
	}
	return nil
}

// cmpStrings orders by the first pair that differs.
func cmpStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := cmp.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}
