package member

import (
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// The longest host that Validate takes fits Serf's limit, so that nothing can
// reach the place where Serf panics.
func TestLongestTagsFit(t *testing.T) {
	l := Local{
		ID: strings.Repeat("f", MaxNameLen), Name: strings.Repeat("n", MaxNameLen),
		Addr:     netip.MustParseAddr("fe80:1111:2222:3333:4444:5555:6666:7777%" + strings.Repeat("i", 15)),
		SyncPort: 65535, Incarnation: 1<<64 - 1, Protocol: 1 << 62,
	}
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	var buf []byte
	if err := codec.NewEncoderBytes(&buf, &codec.MsgpackHandle{}).Encode(l.tags()); err != nil {
		t.Fatal(err)
	}
	if got := 1 + len(buf); got > memberlist.MetaMaxSize {
		t.Errorf("tags have %d bytes, Serf takes %d", got, memberlist.MetaMaxSize)
	}
}

func TestLocalValidate(t *testing.T) {
	good := testLocal("a")
	cases := map[string]struct {
		change func(*Local)
		want   string
	}{
		"no ID":           {func(l *Local) { l.ID = "" }, "1 to 63"},
		"no name":         {func(l *Local) { l.Name = "" }, "1 to 63"},
		"long name":       {func(l *Local) { l.Name = strings.Repeat("n", 64) }, "1 to 63"},
		"slash in a name": {func(l *Local) { l.Name = "a/b" }, "only letters"},
		"line break":      {func(l *Local) { l.Name = "a\nb" }, "only letters"},
		"no address":      {func(l *Local) { l.Addr = netip.Addr{} }, "reach"},
		"any address":     {func(l *Local) { l.Addr = netip.IPv4Unspecified() }, "reach"},
		"no sync port":    {func(l *Local) { l.SyncPort = 0 }, "sync port"},
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := good
			c.change(&l)
			if err := l.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want it to say %q", err, c.want)
			}
		})
	}
}

// Tags are what another host says: each broken one is an error, never a panic.
func TestFromSerfRefusesBrokenTags(t *testing.T) {
	good := testLocal("a").tags()
	if _, err := fromSerf(serf.Member{Name: "a", Tags: good}); err != nil {
		t.Fatal(err)
	}
	for key := range good {
		for _, value := range []string{"", "-1", "x\x00", "99999999999999999999999", strings.Repeat("9", 600)} {
			tags := maps.Clone(good)
			tags[key] = value
			if m, err := fromSerf(serf.Member{Name: "a", Tags: tags}); err == nil && key != tagName && (key != tagProtocol || value != "-1") {
				t.Errorf("tag %s=%q is taken as %+v", key, value, m)
			}
		}
	}
	if _, err := fromSerf(serf.Member{}); err == nil {
		t.Error("a member that says nothing is taken")
	}
}
