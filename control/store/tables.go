package store

import (
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// The replicated tables. A key is the ID of the object that the row is about.
const (
	TableNode     = "node"
	TableNetwork  = "network"
	TableEndpoint = "endpoint"
)

// Node is the value of a row of TableNode: a member and how its peers reach
// it. Only the node itself writes its row; it deletes it when it leaves, and a
// node that failed keeps it.
type Node struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// VTEP and VXLANPort are where the node takes VXLAN.
	VTEP      netip.Addr `json:"vtep"`
	VXLANPort uint16     `json:"vxlan_port"`
	// MTU is the largest IP packet that the node's underlay device takes.
	MTU      int           `json:"mtu"`
	Datapath datapath.Kind `json:"datapath"`
	Version  string        `json:"version"`
	// Started is when the agent that wrote the row came up.
	Started time.Time `json:"started"`
}

// Network is the value of a row of TableNetwork. Any node may write it; after
// the creation only its authority does, and whoever removes it.
type Network struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	VNI  encap.VNI `json:"vni"`
	// Created also decides which of two networks with one name or one VNI is
	// the older and keeps it; it never changes.
	Created time.Time `json:"created"`
	// Authority is the ID of the node that hands out the network's addresses.
	Authority string   `json:"authority"`
	Subnets   []Subnet `json:"subnets"`
	// MTU is the largest inner IP packet in bytes.
	MTU      int  `json:"mtu"`
	Internal bool `json:"internal,omitempty"`
	// Multicast networks carry broadcast and multicast.
	Multicast bool              `json:"multicast,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// Subnet is one range of addresses of a network.
type Subnet struct {
	// Prefix has its host bits clear.
	Prefix  netip.Prefix `json:"prefix"`
	Gateway netip.Addr   `json:"gateway"`
	// Range is the part of Prefix that addresses are picked from when none is
	// asked for; the zero Prefix means all of it.
	Range netip.Prefix `json:"range,omitzero"`
	// Aux are addresses that are never handed out, by what has them.
	Aux map[string]netip.Addr `json:"aux,omitempty"`
}

// Endpoint is the value of a row of TableEndpoint: one interface on a
// network. Only the node that it lives on writes it.
type Endpoint struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Network and Node are IDs.
	Network string    `json:"network"`
	Node    string    `json:"node"`
	MAC     encap.MAC `json:"mac"`
	// Addrs have the length of the subnet that each address is from.
	Addrs []netip.Prefix `json:"addrs"`
	// MTU is what the interface was given, in bytes of inner IP packet.
	MTU int `json:"mtu"`
	// Kind and Device are the port on the endpoint's own host.
	Kind   datapath.PortKind `json:"kind"`
	Device string            `json:"device"`
	// Netns (a name or path) or PID is the network namespace as the caller
	// gave it, and NetnsInode which one that was; all are unset for a TAP.
	Netns      string `json:"netns,omitempty"`
	PID        int    `json:"pid,omitempty"`
	NetnsInode uint64 `json:"netns_inode,omitempty"`
	// IfName is the interface inside the namespace.
	IfName  string            `json:"ifname,omitempty"`
	Aliases []string          `json:"aliases,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// ResolvConf: the resolv.conf of its namespace is replaced, if it has a name, or that
	// of its process written.
	ResolvConf bool `json:"resolv_conf,omitempty"`
	// Created also decides which of two endpoints with one name, MAC or
	// address keeps it; it never changes.
	Created time.Time `json:"created"`
}

// OwnerOf is the Options.Owner of these tables: a node's row is its own, an
// endpoint's and its health's those of the node that it lives on, all others
// anybody's.
func OwnerOf(r Row) string {
	switch r.Table {
	case TableNode:
		return r.Key
	case TableEndpoint, TableHealth:
		if r.Deleted {
			return ""
		}
		var about struct {
			Node string `json:"node"`
		}
		if err := r.Decode(&about); err != nil || about.Node == "" {
			return "nobody"
		}
		return about.Node
	}
	return ""
}
