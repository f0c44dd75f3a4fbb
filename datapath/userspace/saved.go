package userspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/forward"
	"github.com/ovlnet/ovl/encap"
)

// saved is what was counted for things that are gone, and, in its file, by an
// earlier process: Close writes it, and each Apply that looks at all. After a crash,
// what was counted since the last of these, some seconds, is missing.
type saved struct {
	Drops    map[string]datapath.Counter         `json:"drops"`
	Ports    map[string]savedPort                `json:"ports"`
	Peers    map[netip.Addr]datapath.PeerCounter `json:"peers"`
	Networks map[encap.VNI]datapath.PortCounter  `json:"networks"`
	Past     datapath.Past                       `json:"past"`
}

// savedPort is a port's counters, and whose they are.
type savedPort struct {
	VNI     encap.VNI            `json:"vni"`
	MAC     encap.MAC            `json:"mac"`
	Counted datapath.PortCounter `json:"counted"`
}

const savedName = "counters.json"

// load reads what an earlier process has saved.
func load(dir string) (saved, error) {
	none := saved{Networks: map[encap.VNI]datapath.PortCounter{}}
	if dir == "" {
		return none, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, savedName))
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	s := none
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return none, fmt.Errorf("counters of an earlier process: %w", err)
	}
	return s, nil
}

// Left reports whether an earlier process has worked in Options.Dir, and nobody has
// called Remove since.
func Left(o Options) (bool, error) {
	_, err := os.Lstat(filepath.Join(o.Dir, savedName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func removeSaved(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(dir, savedName)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// save writes the counters, whole or not at all. Packets go on without.
func (d *Datapath) save() {
	if d.opts.Dir == "" {
		return
	}
	if err := d.writeCounters(); err != nil {
		d.log.Warn("counters not saved", "error", err)
	}
}

func (d *Datapath) writeCounters() error {
	c := d.counted()
	s := saved{
		Drops: map[string]datapath.Counter{}, Peers: c.Peers, Past: c.Past,
		Ports: map[string]savedPort{}, Networks: maps.Clone(d.saved.Networks),
	}
	for _, p := range d.leaving {
		s.Networks[p.VNI] = s.Networks[p.VNI].Add(p.Counters.Load())
	}
	for r, counted := range c.Drops {
		s.Drops[r.String()] = counted
	}
	for device, p := range d.ports {
		s.Ports[device] = savedPort{p.VNI, p.MAC, c.Ports[device]}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(d.opts.Dir, savedName)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// restoreTotals goes on from the drops that were counted.
func (d *Datapath) restoreTotals() {
	for _, r := range datapath.DropReasons() {
		c := d.saved.Drops[r.String()]
		d.counting.Drop(r, c.Packets, c.Bytes)
	}
}

// restorePort goes on from what was counted for a port, if it is the same.
func (s *saved) restorePort(p *port) {
	if old, ok := s.Ports[p.Device]; ok && old.VNI == p.VNI && old.MAC == p.MAC {
		p.Counters.Restore(old.Counted)
		delete(s.Ports, p.Device)
	}
}

func (s *saved) restorePeer(p *forward.Peer) {
	p.Counters.Restore(s.Peers[p.VTEP])
	delete(s.Peers, p.VTEP)
}

// foldPort keeps what was counted for a port that is gone.
func (s *saved) foldPort(p *port) {
	s.Networks[p.VNI] = s.Networks[p.VNI].Add(p.Counters.Load())
}

func (s *saved) foldPeer(p *forward.Peer) { s.Past.Peers = s.Past.Peers.Add(p.Counters.Load()) }

// foldNetworks keeps what was counted for networks that are gone, and for ports
// and peers of an earlier process that have not come back.
func (s *saved) foldNetworks(now datapath.State) {
	for _, old := range s.Ports {
		s.Networks[old.VNI] = s.Networks[old.VNI].Add(old.Counted)
	}
	for _, old := range s.Peers {
		s.Past.Peers = s.Past.Peers.Add(old)
	}
	s.Ports, s.Peers = nil, nil
	present := map[encap.VNI]bool{}
	for _, n := range now.Networks {
		present[n.VNI] = true
	}
	for vni, c := range s.Networks {
		if !present[vni] {
			s.Past.Ports = s.Past.Ports.Add(c)
			delete(s.Networks, vni)
		}
	}
}
