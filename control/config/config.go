// Package config holds what an agent is told at its start: where the values
// come from, what they may be, and which folders follow from them. All of it
// is checked before anything on the host is touched.
//
// A value is taken from the first of: command-line flag, configuration file,
// environment (OVL_INSTANCE only), default.
package config

import (
	"net/netip"
	"path/filepath"
)

// Config is one instance of the agent. The zero value is not valid; start
// from Default.
type Config struct {
	// Instance keeps several agents apart on one machine; empty for the
	// usual single one. At most 15 characters of a-z, 0-9 and "-".
	Instance string `json:"instance"`
	// Name is this host's name in the cluster. Default: the hostname.
	Name string `json:"name"`
	// Advertise is the underlay address, or the device that has it, at which
	// other hosts reach this one. Default: that of the default route.
	Advertise string `json:"advertise"`
	// Datapath is auto, kernel or userspace. Default: auto.
	Datapath DatapathMode `json:"datapath"`

	// GossipPort (UDP and TCP), default 7946; SyncPort (TCP), default 7947;
	// VXLANPort (UDP), default 4789. VXLANPort is the same on every host.
	GossipPort uint16 `json:"gossipPort"`
	SyncPort   uint16 `json:"syncPort"`
	VXLANPort  uint16 `json:"vxlanPort"`

	// Join are hosts of the cluster, HOST or HOST:PORT, PORT being their
	// sync port (default 7947). Empty: found a cluster, or go on with the
	// one on disk.
	Join []string `json:"join"`
	// Token admits to the cluster; TokenFile holds one. At most one is set;
	// Resolve leaves it in Token.
	Token     string `json:"token"`
	TokenFile string `json:"tokenFile"`

	// AddressPool is where subnets come from that nobody asked for by value,
	// each with a prefix of SubnetBits bits. Defaults: 10.0.0.0/8, 24.
	AddressPool netip.Prefix `json:"addressPool"`
	SubnetBits  int          `json:"subnetBits"`
	// AddressPool6 and SubnetBits6 are the same for IPv6. Defaults: the zero
	// Prefix, which is the cluster's own unique local /48, and 64.
	AddressPool6 netip.Prefix `json:"addressPool6"`
	SubnetBits6  int          `json:"subnetBits6"`

	// Resolvers are asked for the names of the outside: IP, or IP:PORT where that is
	// not 53. Default: those of the host's /etc/resolv.conf, as it is at the time.
	Resolvers []string `json:"resolvers"`

	// LogLevel is debug, info, warn or error. Default: info. LogFormat is
	// text or json. Default: text.
	LogLevel  string `json:"logLevel"`
	LogFormat string `json:"logFormat"`

	// Root is put before every folder. It is empty but in tests.
	Root string `json:"-"`
}

// DatapathMode is which datapath the operator wants.
type DatapathMode string

// The values of Config.Datapath.
const (
	DatapathAuto      DatapathMode = "auto"
	DatapathKernel    DatapathMode = "kernel"
	DatapathUserspace DatapathMode = "userspace"
)

// DefaultSyncPort is meant where an address to join has no port: a host that
// joins says hello on TLS before its first word of gossip.
const DefaultSyncPort = 7947

// Default returns the configuration of an agent that was told nothing. Name
// is left empty: Resolve fills it with the hostname.
func Default() Config {
	return Config{
		Datapath:    DatapathAuto,
		GossipPort:  7946,
		SyncPort:    DefaultSyncPort,
		VXLANPort:   4789,
		AddressPool: netip.MustParsePrefix("10.0.0.0/8"),
		SubnetBits:  24,
		SubnetBits6: 64,
		LogLevel:    "info",
		LogFormat:   "text",
	}
}

// RunDir holds what lives as long as the agent: socket and lock.
func (c Config) RunDir() string { return c.dir("/run/ovl") }

// DataDir holds the state that outlives it.
func (c Config) DataDir() string { return c.dir("/var/lib/ovl") }

// BPFDir is the bpffs folder where programs, links and maps are pinned.
func (c Config) BPFDir() string { return c.dir("/sys/fs/bpf/ovl") }

// HolderSocket is where the process listens that keeps the userspace datapath's
// descriptors while no agent runs. It lies beside the run folder, which goes
// with the agent; in the data folder it would survive a reboot, which its
// process does not. No instance has a dot in its name.
func (c Config) HolderSocket() string { return c.RunDir() + ".hold" }

// FlowsFile is where the userspace datapath's flows outlive the agent, but not a
// reboot: beside the run folder, as the socket of the holder.
func (c Config) FlowsFile() string { return c.RunDir() + ".flows" }

// CountersDir is where the userspace datapath's counters outlive the agent.
func (c Config) CountersDir() string { return filepath.Join(c.DataDir(), "counters") }

// Socket is where the agent listens for ovlctl.
func (c Config) Socket() string { return filepath.Join(c.RunDir(), "ovlctl.sock") }

// NetnsDir is where resolv.conf and other files for named network namespaces are
// (ip-netns(8)).
func (c Config) NetnsDir() string { return filepath.Join("/", c.Root, "/etc/netns") }

// ProcDir is the proc file system.
func (c Config) ProcDir() string { return filepath.Join("/", c.Root, "/proc") }

// HostResolvConf says which resolvers the host has (resolv.conf(5)).
func (c Config) HostResolvConf() string { return filepath.Join("/", c.Root, "/etc/resolv.conf") }

// KeptDir holds what was in resolv.conf of processes before the agent wrote it.
func (c Config) KeptDir() string { return filepath.Join(c.DataDir(), "resolvconf") }

// StateFile is the durable store.
func (c Config) StateFile() string { return filepath.Join(c.DataDir(), "state.db") }

func (c Config) dir(base string) string {
	if c.Instance != "" {
		base += "-" + c.Instance
	}
	return filepath.Join("/", c.Root, base)
}
