package store

import (
	"net/netip"
	"strings"
	"time"
)

// The replicated tables of services. A row of TableService is keyed by the
// service's ID; those of the other two by BackendKey.
const (
	TableService = "service"
	TableBackend = "backend"
	TableHealth  = "health"
)

// Service is the value of a row of TableService: a name in front of endpoints.
// Any node may write it.
type Service struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Network is an ID.
	Network string `json:"network"`
	// Created also decides which of two services with one name or VIP is the
	// older and keeps it; it never changes.
	Created time.Time `json:"created"`
	// DNSRR services have no VIPs, nor what goes with them.
	DNSRR bool `json:"dnsrr,omitempty"`
	// VIPs, at most one of each family, IPv4 first. They never change.
	VIPs []netip.Addr `json:"vips,omitempty"`
	// Ports by protocol and port.
	Ports []ServicePort `json:"ports,omitempty"`
	// Affinity is in nanoseconds.
	Affinity  time.Duration     `json:"affinity,omitempty"`
	TableSize int               `json:"table_size,omitempty"`
	Health    *HealthCheck      `json:"health,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// ServicePort is a port of a service's VIPs, and which port of the backends it
// leads to.
type ServicePort struct {
	Protocol uint8  `json:"protocol"` // 6 is TCP, 17 UDP
	Port     uint16 `json:"port"`
	Target   uint16 `json:"target"`
}

// HealthCheck is how the node of a backend looks at it.
type HealthCheck struct {
	Type string `json:"type"` // tcp or http
	Port uint16 `json:"port"`
	Path string `json:"path,omitempty"`
	// Interval and Timeout are in nanoseconds.
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	Rise     int           `json:"rise"`
	Fall     int           `json:"fall"`
}

// Backend is the value of a row of TableBackend: an endpoint that a service
// leads to. Any node may write it. It counts as long as both have rows.
type Backend struct {
	// Node is the endpoint's, which deletes the row when the endpoint goes.
	Node     string `json:"node"`
	Weight   uint16 `json:"weight"`
	Draining bool   `json:"draining,omitempty"`
	// AwaitsHealth: the service had a health check when the endpoint joined, so
	// it serves once it was found healthy. Others serve until they are found
	// not to be.
	AwaitsHealth bool `json:"awaits_health,omitempty"`
}

// Health is the value of a row of TableHealth: what the last checks of a backend
// came to. Only the endpoint's node writes it.
type Health struct {
	Node    string `json:"node"`
	Healthy bool   `json:"healthy"`
}

// BackendKey is the key of what is known of an endpoint as a backend of a
// service.
func BackendKey(service, endpoint string) string { return service + "/" + endpoint }

// SplitBackendKey takes a BackendKey apart.
func SplitBackendKey(key string) (service, endpoint string, ok bool) {
	service, endpoint, ok = strings.Cut(key, "/")
	return service, endpoint, ok && service != "" && endpoint != "" && !strings.Contains(endpoint, "/")
}
