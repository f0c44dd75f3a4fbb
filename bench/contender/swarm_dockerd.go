package contender

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// dockerd is a daemon on one host of the lab, with its containerd and its
// containers.
//
// It is the first process of a PID namespace, so that everything it starts
// ends with it, and has a mount namespace in which all that it writes is in
// memory: its end, however it comes, leaves nothing but empty cgroups.
type dockerd struct {
	*daemon
	host   *linktest.Host
	cgroup string
	client *http.Client
}

// dockerdScript becomes dockerd. Its argument is the path of the cgroup, from
// the root of the hierarchy.
//
//go:embed swarm_dockerd.sh
var dockerdScript string

const (
	// dockerSocket is where dockerd listens, as it sees it; no other dockerd
	// has it there, so that one of the machine's own is never talked to.
	dockerSocket = "/run/ovlbench.sock"
	// dockerdPatience is how long dockerd may take until it answers.
	dockerdPatience = 15 * time.Second
)

// startDockerd returns a daemon that answers soon, or has ended (prepare).
// The folder is for its log.
func startDockerd(ctx context.Context, h *linktest.Host, logs, cgroup string) (*dockerd, error) {
	for _, program := range []string{"dockerd", "containerd", "runc", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("docker is not installed: %w", err)
		}
	}
	process, err := startDaemonIn(ctx, unix.CLONE_NEWPID|unix.CLONE_NEWNS, h, filepath.Join(logs, cgroup+".log"),
		"sh", "-c", dockerdScript, "dockerd", "/"+cgroup)
	if err != nil {
		return nil, fmt.Errorf("dockerd: %w", err)
	}
	d := &dockerd{daemon: process, host: h, cgroup: cgroup}
	var dialer net.Dialer
	d.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", d.path(dockerSocket))
		},
		DisableKeepAlives: true,
	}}
	return d, nil
}

// path returns where a path that dockerd names is found from here.
func (d *dockerd) path(inside string) string {
	return "/proc/" + strconv.Itoa(d.cmd.Process.Pid) + "/root" + inside
}

// prepare waits until the daemon answers, and gives it the image.
func (d *dockerd) prepare(ctx context.Context) error {
	if err := d.waitReady(ctx); err != nil {
		return err
	}
	image, err := pauseTar()
	if err != nil {
		return err
	}
	return d.call(ctx, http.MethodPost, "/images/create?fromSrc=-&repo="+swarmImage, bytes.NewReader(image), nil)
}

func (d *dockerd) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dockerdPatience)
	defer cancel()
	for {
		err := d.call(ctx, http.MethodGet, "/_ping", nil, nil)
		if err == nil {
			return nil
		}
		if stop := d.sleep(ctx, 50*time.Millisecond); stop != nil {
			return fmt.Errorf("dockerd does not answer: %w: %s", stop, d.reason())
		}
	}
}

// call asks the daemon. A body that is an io.Reader is sent as it is, any
// other but nil as JSON; the answer is read into out unless that is nil.
func (d *dockerd) call(ctx context.Context, method, path string, body, out any) error {
	answer, err := d.ask(ctx, method, path, body)
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return fmt.Errorf("dockerd: %s %s: %w", method, path, err)
	}
	return nil
}

func (d *dockerd) ask(ctx context.Context, method, path string, body any) ([]byte, error) {
	kind, content := "application/x-tar", io.Reader(nil)
	switch b := body.(type) {
	case nil:
	case io.Reader:
		content = b
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		kind, content = "application/json", bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://dockerd"+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < http.StatusBadRequest {
		return answer, nil
	}
	var refusal struct{ Message string }
	if json.Unmarshal(answer, &refusal) != nil || refusal.Message == "" {
		refusal.Message = resp.Status
	}
	return nil, errors.New(refusal.Message)
}

// stop ends the daemon with all that it started. There is nothing to be
// polite about: its swarm, its containers and its files end with it.
func (d *dockerd) stop(ctx context.Context) error {
	_ = d.cmd.Process.Kill() // it may have ended
	select {
	case <-d.ended:
	case <-ctx.Done():
		return fmt.Errorf("dockerd (PID %d) does not end: %w", d.cmd.Process.Pid, ctx.Err())
	}
	return removeCgroups(ctx, d.cgroup)
}

// reason is why the daemon did not start.
func (d *dockerd) reason() string {
	log, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return dockerdReason(string(log))
}

// dockerdReason picks the line of a dockerd's log that tells why it did not
// start; that is the last line unless dockerd says so itself.
func dockerdReason(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for _, line := range lines {
		if strings.Contains(line, "failed to start") {
			return line
		}
	}
	return lines[len(lines)-1]
}
