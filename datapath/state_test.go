package datapath_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// TestStateEqual changes every field of a State in turn, those too that are
// added later: each must count.
func TestStateEqual(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.2")
	full := func() datapath.State {
		return datapath.State{Networks: []datapath.Network{{
			VNI: 4096, MTU: 1450, Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
			Ports:   []datapath.Port{{Device: "a", MAC: encap.MAC{2}, Addrs: []netip.Addr{addr}}},
			Remotes: []datapath.Remote{{MAC: encap.MAC{4}, Addrs: []netip.Addr{addr}, VTEP: addr}},
			Services: []datapath.Service{{
				Name: "web", VIPs: []netip.Addr{addr}, Ports: []datapath.ServicePort{{Protocol: 6, Port: 80, Target: 8080}},
				Affinity: time.Minute, TableSize: 1021,
				Backends: []datapath.Backend{{ID: "b", MAC: encap.MAC{4}, Addrs: []netip.Addr{addr}, Weight: 1}},
			}},
		}}, Peers: []datapath.Peer{{VTEP: addr, MTU: 1400}}}
	}
	if !full().Equal(full()) {
		t.Error("a state does not equal another with the same content")
	}
	for i := 0; ; i++ {
		s := full()
		n := i
		changed := change(reflect.ValueOf(&s).Elem(), "State", &n)
		if changed == "" {
			if i < 30 {
				t.Errorf("only %d changes were tried", i)
			}
			return
		}
		if s.Equal(full()) || full().Equal(s) {
			t.Errorf("states are equal that differ in %s", changed)
		}
	}
}

// change makes the n-th change there is to v and says where.
func change(v reflect.Value, at string, n *int) string {
	mine := func() bool { *n--; return *n == -1 }
	if addr, ok := v.Addr().Interface().(*netip.Addr); ok {
		if mine() {
			*addr = addr.Next()
			return at
		}
		return ""
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if c := change(v.Field(i), at+"."+v.Type().Field(i).Name, n); c != "" {
				return c
			}
		}
		return ""
	case reflect.Slice:
		if mine() {
			v.SetLen(0)
			return "the length of " + at
		}
		return change(v.Index(0), at+"[0]", n)
	}
	if !mine() {
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(v.Uint() + 1)
	case reflect.Array:
		v.Index(v.Len() - 1).SetUint(1)
	default:
		panic(fmt.Sprintf("no change is known for %s, a %s", at, v.Type()))
	}
	return at
}
