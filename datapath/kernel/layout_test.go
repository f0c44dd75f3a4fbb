package kernel

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
)

// TestDropReasons: the programs and Go mean the same by a number. The names
// that bpftool prints are those of the C enum.
func TestDropReasons(t *testing.T) {
	spec, err := bpf.LoadOvl()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("drop_reason", &enum); err != nil {
		t.Fatal(err)
	}
	inC := map[datapath.DropReason]string{}
	for _, v := range enum.Values {
		inC[datapath.DropReason(v.Value)] = strings.ToLower(strings.TrimPrefix(v.Name, "OVL_DROP_"))
	}
	for _, r := range datapath.DropReasons() {
		if inC[r] != r.String() {
			t.Errorf("reason %d is %q in Go and %q in C", r, r, inC[r])
		}
		delete(inC, r)
	}
	for r, name := range inC {
		t.Errorf("reason %d, %q in C, is not one in Go", r, name)
	}
}

// TestNoHoles: every byte of a key or value is a field with a name. The kernel
// compares keys with their padding, and a dump shows what is there.
func TestNoHoles(t *testing.T) {
	spec, err := bpf.LoadOvl()
	if err != nil {
		t.Fatal(err)
	}
	structs := 0
	for name, m := range spec.Maps {
		if strings.HasPrefix(name, ".") {
			continue // the compiler's, of constants; it is not pinned
		}
		if len(name) > 15 || !strings.HasPrefix(name, "ovl_") {
			t.Errorf("map %q: want ovl_… of 15 characters at most, which is what the kernel keeps", name)
		}
		if name == bpf.OvlMapOvlTables {
			m = m.Copy() // its values are maps
			m.Value = m.InnerMap.Value
		}
		if m.Key == nil || m.Value == nil {
			t.Errorf("map %s has no types for its key and value", name)
			continue
		}
		for _, typ := range []btf.Type{m.Key, m.Value} {
			if s, ok := btf.UnderlyingType(typ).(*btf.Struct); ok {
				structs++
				checkNoHoles(t, s)
			}
		}
	}
	if structs < 8 {
		t.Errorf("%d structs among the maps' types, want more: the test looks at nothing", structs)
	}
}

func checkNoHoles(t *testing.T, s *btf.Struct) {
	t.Helper()
	end := uint32(0)
	for _, m := range s.Members {
		if start := m.Offset.Bytes(); start != end {
			t.Errorf("struct %s has a hole of %d bytes before %s", s.Name, start-end, m.Name)
		}
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatal(err)
		}
		end = m.Offset.Bytes() + uint32(size)
	}
	if end != s.Size {
		t.Errorf("struct %s has a hole of %d bytes at its end", s.Name, s.Size-end)
	}
}
