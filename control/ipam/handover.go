package ipam

import (
	"encoding/json"
	"fmt"
)

// handover is a network's records on their way to its next authority.
type handover struct {
	Version int               `json:"version"`
	Records map[string]string `json:"records"`
}

const handoverVersion = 1

// Export returns all that the next authority of a network needs: leases,
// addresses that rest, and where the rotation stands. The caller must have
// seen to it that nothing is handed out after it; see DropNetwork.
func (a *Allocator) Export(network string) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	records, err := a.disk.ReadBucket(bucketPrefix + network)
	if err != nil {
		return nil, fmt.Errorf("leases of network %s: %w", network, err)
	}
	h := handover{Version: handoverVersion, Records: make(map[string]string, len(records))}
	for k, v := range records {
		h.Records[k] = string(v)
	}
	return json.Marshal(h)
}

// Import makes this node's leases of a network those that Export returned.
// They are on disk when it returns; only then may the network's row name this
// node as its authority. Leases of an earlier time as the authority are
// replaced. Importing the same again changes nothing.
func (a *Allocator) Import(network string, data []byte) error {
	if network == "" {
		return fmt.Errorf("%w: the network has no ID", ErrImport)
	}
	var h handover
	if err := json.Unmarshal(data, &h); err != nil {
		return fmt.Errorf("%w of network %s: %w", ErrImport, network, err)
	}
	if h.Version != handoverVersion {
		return fmt.Errorf("%w of network %s: their version is %d, this node reads %d", ErrImport, network, h.Version, handoverVersion)
	}
	records := make(map[string][]byte, len(h.Records))
	for k, v := range h.Records {
		records[k] = []byte(v)
	}
	t, err := readTable(records)
	if err != nil {
		return fmt.Errorf("%w of network %s: %w", ErrImport, network, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.replaceLocked(network, records); err != nil {
		return err
	}
	a.networks[network] = t
	return nil
}
