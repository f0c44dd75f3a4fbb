package flow

import (
	"time"

	"github.com/ovlnet/ovl/encap"
)

// maxClients bounds what is remembered of clients for affinity.
const maxClients = 1 << 16

// client is a client of a service with affinity.
type client struct {
	vni       encap.VNI
	addr, vip [16]byte
}

// Client returns the backend that the client of a flow went to, if that was no
// longer than so long ago, to a second.
func (m *Memory) Client(k *Key, now, longest time.Duration) (backend string, ok bool) {
	return m.affinity.get(client{k.VNI, k.Client, k.Server}, now, longest+refresh)
}

// SetClient remembers that the client of a flow goes to a backend.
func (m *Memory) SetClient(k *Key, backend string, now time.Duration) {
	m.affinity.put(client{k.VNI, k.Client, k.Server}, backend, now)
}

// KeepClient remembers that the client of a flow still goes to a backend, unless it
// goes to another since.
func (m *Memory) KeepClient(k *Key, backend string, now time.Duration) {
	m.affinity.keep(client{k.VNI, k.Client, k.Server}, backend, now)
}
