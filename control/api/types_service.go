package api

import (
	"net/netip"
	"time"
)

// ServiceMode says how clients come from a service's name to its backends.
type ServiceMode string

// The modes of a service.
const (
	// ServiceVIP: the name stands for a virtual address, behind which flows are
	// balanced.
	ServiceVIP ServiceMode = "vip"
	// ServiceDNSRR: the name stands for the backends' own addresses, in turn.
	ServiceDNSRR ServiceMode = "dnsrr"
)

// Protocols of ServicePort.
const (
	ProtocolTCP = "tcp"
	ProtocolUDP = "udp"
)

// ServiceRequest asks for a service.
type ServiceRequest struct {
	// Name is unique in the network.
	Name string
	// Network is a reference to the network.
	Network string
	// Mode is ServiceVIP by default. VIPs, Ports, Affinity and TableSize do not
	// go with ServiceDNSRR.
	Mode ServiceMode `json:",omitempty"`
	// VIPs are wanted addresses, at most one of each family; for each of the
	// network's families with none, one is handed out.
	VIPs []netip.Addr `json:",omitempty"`
	// Ports are what the VIPs offer; none: every port of TCP and UDP, each led
	// to the same port of a backend.
	Ports []ServicePort `json:",omitempty"`
	// Affinity is for how long a client that has been quiet goes to the same
	// backend again, in whole seconds; 0: flows are balanced one by one.
	Affinity Duration `json:",omitzero"`
	// TableSize is the number of entries that backends share, one of
	// balance.Sizes; 0: balance.DefaultSize.
	TableSize int `json:",omitempty"`
	// Health says how backends are looked at; nil: they are not.
	Health *HealthCheck      `json:",omitempty"`
	Labels map[string]string `json:",omitempty"`
}

// ServicePort is a port of a service's VIPs, and which of its backends' it
// leads to.
type ServicePort struct {
	// Protocol is ProtocolTCP, the default, or ProtocolUDP.
	Protocol string
	Port     uint16
	// Target in a request is Port by default.
	Target uint16
}

// HealthType says what a backend has to do to be healthy.
type HealthType string

// The types of health check.
const (
	// HealthTCP: it accepts a connection.
	HealthTCP HealthType = "tcp"
	// HealthHTTP: it answers a GET with a status of 200 to 399.
	HealthHTTP HealthType = "http"
)

// HealthCheck is how the host of a backend looks at it, from inside the
// backend's namespace: a TAP, which has none, is not looked at and serves. An
// endpoint that joins a service with a check serves once it was found healthy;
// one that was there before the check, until it is found not to be. What is left
// out of a request has its default.
type HealthCheck struct {
	Type HealthType
	// Port of the backend.
	Port uint16
	// Path is what HealthHTTP asks for; "/" by default.
	Path string `json:",omitempty"`
	// Interval is from the begin of a check to the next one, 2 s by default;
	// Timeout is what one may take, 1 s by default or Interval if that is less.
	Interval Duration `json:",omitzero"`
	Timeout  Duration `json:",omitzero"`
	// Rise is how many checks in a row have to succeed until a backend is
	// healthy again, 2 by default; Fall how many have to fail until it is not,
	// 3 by default. The first one decides alone.
	Rise int `json:",omitempty"`
	Fall int `json:",omitempty"`
}

// ServiceRef names a service.
type ServiceRef struct {
	// Service is a reference to it.
	Service string
	// Network is a reference to its network, needed where the service's name
	// exists on several.
	Network string `json:",omitempty"`
}

// ServiceUpdate changes a service, all or nothing. What is nil or empty stays
// as it is.
type ServiceUpdate struct {
	ServiceRef
	// Ports replace those that there are; an empty list offers every port.
	Ports *[]ServicePort `json:",omitempty"`
	// Affinity of 0 ends it.
	Affinity *Duration    `json:",omitempty"`
	Health   *HealthCheck `json:",omitempty"`
	// NoHealth ends health checks. It does not go with Health.
	NoHealth bool `json:",omitempty"`
	// Labels replace those that there are.
	Labels *map[string]string `json:",omitempty"`
	// Add makes endpoints backends. One that is a backend gets the weight.
	Add []ServiceMember `json:",omitempty"`
	// Remove are references to endpoints that end to be backends. Their flows
	// are cut.
	Remove []string `json:",omitempty"`
}

// ServiceMember is an endpoint that is to be a backend.
type ServiceMember struct {
	// Endpoint is a reference to it, on whichever host it is.
	Endpoint string
	// Weight is its share of new flows in proportion to the others', 1 to
	// 65535; 0: 1, or what it is already.
	Weight uint16 `json:",omitempty"`
}

// ServiceDrain keeps new flows from a backend, and lets it keep those that it
// has.
type ServiceDrain struct {
	ServiceRef
	// Endpoint is a reference to the backend.
	Endpoint string
	// Undo gives it new flows again.
	Undo bool `json:",omitempty"`
}

// ServiceSummary is a line of `ovlctl service ls`.
type ServiceSummary struct {
	Name      string
	ID        string
	Network   string
	NetworkID string
	Mode      ServiceMode
	VIPs      []netip.Addr
	Ports     []ServicePort
	// Backends counts all, Serving those that take new flows.
	Backends int
	Serving  int
	Created  time.Time
	Labels   map[string]string
}

// Service is what `ovlctl service inspect` prints.
type Service struct {
	Name      string
	ID        string
	Network   string
	NetworkID string
	Created   time.Time
	Mode      ServiceMode
	// VIPs are its addresses, IPv4 first; none in mode ServiceDNSRR.
	VIPs []netip.Addr
	// Ports by protocol and port; none: every port of TCP and UDP.
	Ports []ServicePort
	// Affinity of 0: none.
	Affinity Duration
	// TableSize is 0 in mode ServiceDNSRR.
	TableSize int
	// Health has no field left out.
	Health *HealthCheck `json:",omitempty"`
	Labels map[string]string
	// Backends by ascending name.
	Backends []ServiceBackend
}

// BackendState is whether a backend gets flows.
type BackendState string

// The states of a backend. Where several are true it is the first of failed,
// draining and unhealthy.
const (
	// BackendServing: it takes new flows.
	BackendServing BackendState = "serving"
	// BackendDraining: it keeps its flows and gets no new ones.
	BackendDraining BackendState = "draining"
	// BackendUnhealthy: its health check fails. It gets no flows.
	BackendUnhealthy BackendState = "unhealthy"
	// BackendFailed: its host is not alive. It gets no flows.
	BackendFailed BackendState = "failed"
)

// ServiceBackend is an endpoint that a service leads to.
type ServiceBackend struct {
	// Name is the endpoint's.
	Name       string
	EndpointID string
	// Node is the name of the host that it lives on.
	Node string
	// Addresses are the endpoint's, IPv4 first.
	Addresses []netip.Addr
	Weight    uint16
	State     BackendState
	// Share is which part of new flows it gets, 0 to 1: of the service's table
	// for its first family.
	Share float64
	// Flows counts those of clients on this host that live: that are new or
	// established. Sent and Received are what these have carried, and those that
	// are closing. Only ServiceInspect counts them.
	Flows    int
	Sent     Traffic
	Received Traffic
}

// NetworkService is a service as Network lists it.
type NetworkService struct {
	VIPs  []netip.Addr
	Ports []ServicePort
	// Backends counts all.
	Backends int
}
