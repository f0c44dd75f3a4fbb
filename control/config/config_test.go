package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/config"
)

func TestFolders(t *testing.T) {
	for _, tt := range []struct {
		instance string
		want     []string
	}{
		{"", []string{"/run/ovl", "/var/lib/ovl", "/sys/fs/bpf/ovl", "/run/ovl/ovlctl.sock", "/var/lib/ovl/state.db", "/run/ovl.hold", "/run/ovl.flows", "/var/lib/ovl/counters"}},
		{"h1", []string{"/run/ovl-h1", "/var/lib/ovl-h1", "/sys/fs/bpf/ovl-h1", "/run/ovl-h1/ovlctl.sock", "/var/lib/ovl-h1/state.db", "/run/ovl-h1.hold", "/run/ovl-h1.flows", "/var/lib/ovl-h1/counters"}},
	} {
		c := config.Config{Instance: tt.instance}
		got := []string{c.RunDir(), c.DataDir(), c.BPFDir(), c.Socket(), c.StateFile(), c.HolderSocket(), c.FlowsFile(), c.CountersDir()}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("instance %q: %v, want %v", tt.instance, got, tt.want)
		}
	}
}

// write puts text into a file of the test's own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPrecedence: flag over file over environment over default.
func TestPrecedence(t *testing.T) {
	env := func(string) string { return "from-env" }
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}

	c, err := config.Load(config.Sources{Getenv: env})
	if err != nil {
		t.Fatal(err)
	}
	if c.Instance != "from-env" || c.VXLANPort != 4789 || c.GossipPort != 7946 || c.SyncPort != 7947 || c.Name != host {
		t.Errorf("environment and defaults: %+v", c)
	}

	path := write(t, "instance: from-file\nname: f\nvxlanPort: 5000\ngossipPort: 5001\njoin: [10.0.0.1]\naddressPool: 10.128.0.0/9\n"+
		"addressPool6: fd01::/48\nsubnetBits6: 80\n")
	flags := func(c *config.Config) { c.Name = "flag"; c.GossipPort = 6000 }
	c, err = config.Load(config.Sources{Getenv: env, File: path, Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	if c.Instance != "from-file" || c.Name != "flag" || c.GossipPort != 6000 || c.VXLANPort != 5000 || c.SyncPort != 7947 ||
		c.AddressPool.String() != "10.128.0.0/9" || c.AddressPool6.String() != "fd01::/48" || c.SubnetBits6 != 80 ||
		!reflect.DeepEqual(c.JoinAddresses(), []string{"10.0.0.1:7947"}) {
		t.Errorf("all sources: %+v", c)
	}
}

func TestTokenFile(t *testing.T) {
	path := write(t, "  ovl1.abc\n")
	c, err := config.Load(config.Sources{Flags: func(c *config.Config) { c.TokenFile = path }})
	if err != nil || c.Token != "ovl1.abc" || c.TokenFile != "" {
		t.Errorf("got %q, %q, %v", c.Token, c.TokenFile, err)
	}
}

func TestFileRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "colour: red\n", `unknown field "colour"`},
		{"key twice", "name: a\nname: b\n", "already set"},
		{"not YAML", "name: [\n", "did not find"},
		{"type", "join: 7\n", "cannot unmarshal"},
		{"port too high", "vxlanPort: 70000\n", `VXLAN port "70000" is not in 1..65535`},
		{"port negative", "gossipPort: -1\n", `gossip port "-1" is not in 1..65535`},
		{"port zero", "syncPort: 0\n", `sync port "0" is not in 1..65535`},
		{"folder prefix is not a setting", "Root: /x\n", `unknown field "Root"`},
		{"too large", "name: " + strings.Repeat("x", 1<<20), "1048576 at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Load(config.Sources{File: write(t, tt.text)})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tt.want)
			}
		})
	}
	if _, err := config.Load(config.Sources{File: "/nonexistent/ovl.yaml"}); err == nil {
		t.Error("a file that is not there was accepted")
	}
	if _, err := config.Load(config.Sources{File: t.TempDir()}); err == nil {
		t.Error("a folder was accepted")
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*config.Config)
		want string
	}{
		{"default", func(*config.Config) {}, ""},
		{"join forms", func(c *config.Config) {
			c.Join = []string{"a.example", "a:1", "10.0.0.1", "10.0.0.1:2", "fd00::1", "[fd00::1]:3"}
		}, ""},
		{"advertise address", func(c *config.Config) { c.Advertise = "192.0.2.1" }, ""},
		{"advertise device", func(c *config.Config) { c.Advertise = "eth0" }, ""},
		{"instance", func(c *config.Config) { c.Instance = "../x" }, "instance name"},
		{"name", func(c *config.Config) { c.Name = "a b" }, "node name"},
		{"advertise nothing", func(c *config.Config) { c.Advertise = "0.0.0.0" }, "not one that another host can send to"},
		{"advertise words", func(c *config.Config) { c.Advertise = "my eth" }, "neither an IP address nor an interface"},
		{"datapath", func(c *config.Config) { c.Datapath = "fast" }, "auto, kernel or userspace"},
		{"port", func(c *config.Config) { c.VXLANPort = 0 }, "1..65535"},
		{"TCP ports", func(c *config.Config) { c.SyncPort = c.GossipPort }, "gossip and sync port are both 7946"},
		{"UDP ports", func(c *config.Config) { c.VXLANPort = c.GossipPort }, "gossip and VXLAN port are both 7946"},
		{"join empty", func(c *config.Config) { c.Join = []string{""} }, "join address"},
		{"join port", func(c *config.Config) { c.Join = []string{"a:99999"} }, `join port "99999" is not in 1..65535`},
		{"join colons", func(c *config.Config) { c.Join = []string{"a:b:c"} }, "not HOST or HOST:PORT"},
		{"two tokens", func(c *config.Config) { c.Token, c.TokenFile = "t", "f" }, "one at most"},
		{"token", func(c *config.Config) { c.Token = "a b" }, "token has a space"},
		{"pool host bits", func(c *config.Config) { c.AddressPool = mustPrefix("10.0.0.1/8") }, "address pool"},
		{"pool IPv6", func(c *config.Config) { c.AddressPool = mustPrefix("fd00::/8") }, "address pool"},
		{"subnets larger than the pool", func(c *config.Config) { c.SubnetBits = 7 }, "not in 8..30"},
		{"subnets too small", func(c *config.Config) { c.SubnetBits = 31 }, "not in 8..30"},
		{"IPv6 pool", func(c *config.Config) { c.AddressPool6 = mustPrefix("2001:db8::/40"); c.SubnetBits6 = 40 }, ""},
		{"IPv6 pool, short", func(c *config.Config) { c.AddressPool6 = mustPrefix("fd00::/8"); c.SubnetBits6 = 32 }, ""},
		{"IPv6 pool is IPv4", func(c *config.Config) { c.AddressPool6 = mustPrefix("10.0.0.0/8") }, "IPv6 address pool 10.0.0.0/8"},
		{"IPv6 pool is mapped", func(c *config.Config) { c.AddressPool6 = mustPrefix("::ffff:10.0.0.0/104") }, "IPv6 address pool"},
		{"IPv6 pool host bits", func(c *config.Config) { c.AddressPool6 = mustPrefix("fd00::1/48") }, "IPv6 address pool"},
		{"IPv6 pool multicast", func(c *config.Config) { c.AddressPool6 = mustPrefix("ff05::/48") }, "IPv6 address pool"},
		{"IPv6 pool link-local", func(c *config.Config) { c.AddressPool6 = mustPrefix("fe80::/48") }, "IPv6 address pool"},
		{"IPv6 pool is everything", func(c *config.Config) { c.AddressPool6 = mustPrefix("::/0") }, "IPv6 address pool"},
		{"IPv6 subnets larger than the cluster's prefix", func(c *config.Config) { c.SubnetBits6 = 47 }, "47 is not in 48..126"},
		{"IPv6 subnets larger than a network's", func(c *config.Config) { c.AddressPool6 = mustPrefix("fd00::/8"); c.SubnetBits6 = 31 }, "not in 32..126"},
		{"IPv6 subnets too small", func(c *config.Config) { c.SubnetBits6 = 127 }, "127 is not in 48..126"},
		{"resolver forms", func(c *config.Config) {
			c.Resolvers = []string{"192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353", "fe80::1%eth0", "127.0.0.53"}
		}, ""},
		{"resolver is a name", func(c *config.Config) { c.Resolvers = []string{"dns.example"} }, `resolver "dns.example" is not IP or IP:PORT`},
		{"resolver port", func(c *config.Config) { c.Resolvers = []string{"192.0.2.53:0"} }, "not IP or IP:PORT"},
		{"resolver port too high", func(c *config.Config) { c.Resolvers = []string{"192.0.2.53:70000"} }, "not IP or IP:PORT"},
		{"resolver empty", func(c *config.Config) { c.Resolvers = []string{""} }, "not IP or IP:PORT"},
		{"resolver nobody", func(c *config.Config) { c.Resolvers = []string{"0.0.0.0"} }, "not IP or IP:PORT"},
		{"resolver twice", func(c *config.Config) { c.Resolvers = []string{"192.0.2.53", "192.0.2.53:53"} }, "given twice"},
		{"resolvers", func(c *config.Config) { c.Resolvers = make([]string, 17) }, "16 at most"},
		{"log level", func(c *config.Config) { c.LogLevel = "loud" }, "debug, info, warn or error"},
		{"log format", func(c *config.Config) { c.LogFormat = "xml" }, "text or json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config.Default()
			c.Name = "host-a"
			tt.set(&c)
			err := c.Validate()
			if tt.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestResolverAddresses(t *testing.T) {
	c := config.Config{Resolvers: []string{"192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::54]", "[2001:db8::53]:5353"}}
	got, err := c.ResolverAddresses()
	if want := "[192.0.2.53:53 192.0.2.53:5353 [2001:db8::53]:53 [2001:db8::54]:53 [2001:db8::53]:5353]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}

func TestJoinAddresses(t *testing.T) {
	c := config.Config{Join: []string{"a", "a:1", "10.0.0.1", "fd00::1", "[fd00::1]", "[fd00::1]:3"}}
	want := []string{"a:7947", "a:1", "10.0.0.1:7947", "[fd00::1]:7947", "[fd00::1]:7947", "[fd00::1]:3"}
	if got := c.JoinAddresses(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
