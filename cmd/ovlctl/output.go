package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/ovlnet/ovl/control/api"
)

// format is a value of -o.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

// String, Set and Type make format a flag.
func (f *format) String() string { return string(*f) }

func (f *format) Set(s string) error {
	if !slices.Contains([]format{formatTable, formatJSON, formatYAML}, format(s)) {
		return errors.New("it is not table, json or yaml")
	}
	*f = format(s)
	return nil
}

func (f *format) Type() string { return "format" }

// outputFlag gives cmd a -o that defaults to f.
func (a *app) outputFlag(cmd *cobra.Command, f format) {
	cmd.Flags().VarP(&a.output, "output", "o", "table for people, json or yaml for programs")
	cmd.Flags().Lookup("output").DefValue = string(f)
	cmd.PreRun = func(*cobra.Command, []string) { a.fallback = f }
	completeFlag(cmd, "output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

// print writes v in the form that -o asks for; table writes the one for
// people, cells separated by tabs.
func (a *app) print(v any, table func(io.Writer)) error {
	switch cmp.Or(a.output, a.fallback) {
	case formatJSON:
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "    ")
		e.SetEscapeHTML(false)
		return e.Encode(withoutNulls(v))
	case formatYAML:
		b, err := yaml.Marshal(withoutNulls(v))
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(b)
		return err
	default:
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		table(w)
		return w.Flush()
	}
}

// row writes the cells of one line of a table.
func row(w io.Writer, cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		// A tab or line break inside a cell would be one of the table.
		text[i] = strings.Join(strings.Fields(fmt.Sprint(c)), " ")
		if text[i] == "" {
			text[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(text, "\t"))
}

// list joins what a cell holds several of.
func list[T any](s []T) string {
	text := make([]string, len(s))
	for i, v := range s {
		text[i] = fmt.Sprint(v)
	}
	return strings.Join(text, ",")
}

// printError writes err's line, or its envelope where JSON was asked for.
func (a *app) printError(err error) {
	if a.output != formatJSON {
		fmt.Fprintln(a.stderr, "ovlctl: "+strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	if errors.As(err, new(*usageError)) && !errors.As(err, new(*api.Error)) {
		err = api.Errorf(api.CodeUsage, "%w", err)
	}
	b, _ := json.Marshal(api.Envelope(err)) // two strings: it cannot fail
	fmt.Fprintln(a.stderr, string(b))
}

// withoutNulls returns v with an empty list or object for each that is nil,
// so that programs can rely on their being there.
func withoutNulls(v any) any {
	out := reflect.New(reflect.TypeOf(v)).Elem()
	out.Set(reflect.ValueOf(v))
	fill(out)
	return out.Interface()
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			if f.IsExported() {
				fill(v.FieldByIndex(f.Index))
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	default:
	}
}
