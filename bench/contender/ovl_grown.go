package contender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bench/crowd"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

const (
	// fillTime bounds how long the agents may take to have the remotes.
	fillTime = 3 * time.Minute
	// restTime bounds how long they may take to come to rest after that.
	restTime = 30 * time.Second
	// rest is how much of a CPU agents use that are at rest, looked at for
	// restWindow.
	rest       = 0.05
	restWindow = time.Second
)

// fill lets a crowd on the third host join and publish the remotes, and
// returns when both agents have brought all of them into the kernel, and are
// at rest.
func (o *ovl) fill(ctx context.Context, lab *linktest.Lab, token string) error {
	ctx, cancel := context.WithTimeout(ctx, fillTime+restTime)
	defer cancel()
	start, err := o.startCrowd(ctx, lab, token, crowd.Options{Endpoints: o.remotes})
	if err != nil {
		return err
	}
	for _, a := range o.agents {
		// Each has the other's endpoint as well.
		if err := a.waitRemotes(ctx, o.remotes+1); err != nil {
			return err
		}
	}
	o.filled = time.Since(start)
	return o.Rest(ctx)
}

// startCrowd lets a crowd on the third host join and publish what, and returns
// when it has, with the time when it began to.
func (o *ovl) startCrowd(ctx context.Context, lab *linktest.Lab, token string, what crowd.Options) (time.Time, error) {
	log, err := os.Create(filepath.Join(o.logs, "crowd.log"))
	if err != nil {
		return time.Time{}, err
	}
	defer log.Close()
	host := lab.Hosts[2]
	what.Addr, what.Join, what.Token = host.Addr, lab.Hosts[0].Addr.String(), token
	what.Network, what.Dir = ovlNetwork, o.logs
	if o.crowd, err = crowd.Start(ctx, host, what, log); err != nil {
		return time.Time{}, err
	}
	if err := o.crowd.Await(ctx, crowd.Publishing); err != nil {
		return time.Time{}, errors.Join(err, lastWords(log.Name()))
	}
	start := time.Now()
	if err := o.crowd.Await(ctx, crowd.Published); err != nil {
		return time.Time{}, errors.Join(err, lastWords(log.Name()))
	}
	return start, nil
}

// Filled implements Grown.
func (o *ovl) Filled() time.Duration { return o.filled }

// waitRemotes returns when the agent's datapath carries n remote endpoints, and
// it knows of nothing that it lacks.
func (a *agent) waitRemotes(ctx context.Context, n int) error {
	return a.poll(ctx, fillTime, func(out []byte) bool {
		var s struct {
			Cluster  struct{ Converged bool }
			Networks []struct {
				Name   string
				Remote int
			}
		}
		if json.Unmarshal(out, &s) != nil || !s.Cluster.Converged {
			return false
		}
		for _, network := range s.Networks {
			if network.Name == ovlNetwork {
				return network.Remote == n
			}
		}
		return false
	}, "status", "-o", "json")
}

// Rest implements Grown: the agents use no CPU any more.
func (o *ovl) Rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restTime)
	defer cancel()
	for {
		before, err := o.cpu()
		if err != nil {
			return err
		}
		if err := measure.Sleep(ctx, restWindow); err != nil {
			return fmt.Errorf("the agents do not come to rest: %w", err)
		}
		after, err := o.cpu()
		if err != nil {
			return err
		}
		if float64(after-before) < rest*float64(restWindow) {
			return nil
		}
	}
}

// cpu is the time that the agents have used so far.
func (o *ovl) cpu() (sum time.Duration, err error) {
	for _, a := range o.agents {
		used, err := processCPU(a.daemon.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// Usage implements Footprint.
func (o *ovl) Usage(context.Context) (Usage, error) {
	a := o.agents[0]
	var u Usage
	var err error
	if u.CPU, err = processCPU(a.daemon.cmd.Process.Pid); err != nil {
		return Usage{}, err
	}
	if u.Processes, err = processMemory(a.daemon.cmd.Process.Pid); err != nil {
		return Usage{}, err
	}
	u.Tables, err = mapsMemory("/sys/fs/bpf/ovl-" + a.instance)
	return u, err
}

// mapsMemory is what the maps pinned in a folder take, as the kernel counts it
// (since Linux 6.4: what they hold, and not what they could), in bytes.
func mapsMemory(dir string) (sum uint64, err error) {
	paths, err := filepath.Glob(dir + "/ovl_*")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			return 0, fmt.Errorf("map %s: %w", path, err)
		}
		info, err := m.Info()
		m.Close()
		if err != nil {
			return 0, fmt.Errorf("map %s: %w", path, err)
		}
		bytes, ok := info.Memlock()
		if !ok {
			return 0, fmt.Errorf("map %s: the kernel does not tell its size", path)
		}
		sum += bytes
	}
	if sum == 0 {
		return 0, fmt.Errorf("no maps are pinned in %s", dir)
	}
	return sum, nil
}
