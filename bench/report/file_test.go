package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestWriteAndLoad(t *testing.T) {
	r := New(3, time.Second)
	r.NotRun["swarm"] = "dockerd is not here"
	r.Figures = tiny().Figures
	r.End()
	path, err := r.Write(filepath.Join(t.TempDir(), "new"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, r) {
		t.Errorf("what is read is not what was written:\n%+v\n%+v", back, r)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if host, err := os.Hostname(); err == nil && strings.Contains(string(b), `"`+host+`"`) {
		t.Error("the document names the machine")
	}
}

func TestLoadRefuses(t *testing.T) {
	whole, err := json.Marshal(tiny())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(whole); err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) []byte {
		t.Helper()
		if !bytes.Contains(whole, []byte(old)) {
			t.Fatalf("the document lacks %s", old)
		}
		return bytes.Replace(whole, []byte(old), []byte(new), 1)
	}
	for name, c := range map[string]struct {
		document []byte
		want     string
	}{
		"cut short":         {whole[:len(whole)/2], "not a report, or a damaged one"},
		"empty":             {nil, "not a report"},
		"something else":    {[]byte(`{"figures":[]}`), "it names no schema"},
		"a later schema":    {replace(`"schema":2`, `"schema":3`), "its schema is 3; this bench reads 2"},
		"another type":      {replace(`"rounds":3`, `"rounds":"3"`), "damaged: json"},
		"no rounds":         {replace(`"rounds":3`, `"rounds":0`), "lacks its time or its rounds"},
		"too few rounds":    {replace(`"rounds":3`, `"rounds":2`), "has 3 values in 2 rounds"},
		"a value":           {replace(`"vxlan":[10,`, `"vxlan":[13,`), "figure tcp: its summary does not follow"},
		"a lost contender":  {replace(`["underlay","vxlan",`, `["vxlan",`), "figure tcp: its contenders are not those"},
		"a lost mark":       {replace(`"wide":["ovl"]`, `"wide":[]`), "figure tcp: its wide marks"},
		"a figure's name":   {replace(`"name":"tcp"`, `"name":""`), "a figure has no name"},
		"two of a name":     {replace(`"name":"tcp"`, `"name":"growth-tcp"`), "or that of another"},
		"a summary by hand": {replace(`"median":1.5,`, `"median":1.9,`), "does not follow from its values"},
	} {
		if _, err := parse(c.document); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "x.json")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Every field of the document is explained, and nothing that is not there.
func TestDocumentIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/benchmark-report.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		names, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !ok || !strings.HasPrefix(names, "`") {
			continue
		}
		for name := range strings.SplitSeq(names, ", ") {
			documented[strings.Trim(name, "`")] = true
		}
	}
	there := map[string]bool{}
	fieldNames(reflect.TypeFor[Report](), there)
	for name := range there {
		if !documented[name] {
			t.Errorf("docs/benchmark-report.md does not explain %s", name)
		}
	}
	for name := range documented {
		if !there[name] {
			t.Errorf("docs/benchmark-report.md explains %s, which is not in the document", name)
		}
	}
}

// fieldNames collects the JSON names of a type's fields.
func fieldNames(t reflect.Type, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		fieldNames(t.Elem(), into)
	case reflect.Struct:
		for field := range t.Fields() {
			if tag := field.Tag.Get("json"); tag != "" {
				name, _, _ := strings.Cut(tag, ",")
				into[name] = true
				fieldNames(field.Type, into)
			}
		}
	}
}

func TestReadCPU(t *testing.T) {
	var m Machine
	m.readCPU("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu vme hypervisor lahf_lm\n\nmodel name\t: Other\nflags\t\t: fpu\n")
	if m.Model != "Some CPU" || m.Virtual == nil || !*m.Virtual {
		t.Errorf("%+v", m)
	}
	m = Machine{}
	m.readCPU("model name : Some CPU\nflags : fpu\n")
	if m.Virtual == nil || *m.Virtual {
		t.Errorf("without a hypervisor: %+v", m)
	}
	m = Machine{}
	m.readCPU("BogoMIPS : 50.00\nFeatures : fp asimd\n")
	if m.Virtual != nil {
		t.Errorf("a processor that does not tell: %+v", m)
	}
	if m := thisMachine(); m.Kernel == "" || m.CPUs < 1 || m.Memory < 1<<20 {
		t.Errorf("this machine: %+v", m)
	}
}
