package crowd

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Subcommand is the first argument of a process that is a crowd: Main takes
// what follows it.
const Subcommand = "crowd"

// Main is the life of a crowd's process: it reads the token from its standard
// input and ends when that is closed, also by the death of who started it. It
// returns the exit code.
func Main(args []string) int {
	o := Options{Log: os.Stderr}
	flags := flag.NewFlagSet(Subcommand, flag.ContinueOnError)
	flags.Func("addr", "underlay `address` of this host", func(s string) (err error) {
		o.Addr, err = netip.ParseAddr(s)
		return err
	})
	flags.StringVar(&o.Join, "join", "", "`address` of a host of the cluster")
	flags.StringVar(&o.Network, "network", "", "`name` of the network")
	flags.IntVar(&o.Endpoints, "endpoints", 0, "how many there are")
	flags.IntVar(&o.Services, "services", 0, "how many services there are")
	flags.StringVar(&o.Backend, "backend", "", "`name` of the endpoint that they lead to")
	flags.StringVar(&o.Dir, "dir", "", "`folder` for its state")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	stdin := bufio.NewReader(os.Stdin)
	token, err := stdin.ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, "crowd: no token:", err)
		return 1
	}
	o.Token = token
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, stdin) // its end is what counts
	}()
	if err := Run(ctx, o, func(what string) { fmt.Println(what) }); err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		return 1
	}
	return 0
}

// Process is a crowd on a host of a lab.
type Process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	tells *bufio.Reader
}

// Start runs this program again, as a crowd on host h. Its warnings and errors
// go to log.
func Start(ctx context.Context, h *linktest.Host, o Options, log *os.File) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("crowd: %w", err)
	}
	// It ends by Stop, not by ctx.
	p := &Process{cmd: h.Command(context.WithoutCancel(ctx), self, Subcommand,
		"-addr", o.Addr.String(), "-join", o.Join, "-network", o.Network,
		"-endpoints", strconv.Itoa(o.Endpoints), "-services", strconv.Itoa(o.Services), "-backend", o.Backend, "-dir", o.Dir)}
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("crowd: %w", err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("crowd: %w", err)
	}
	p.tells = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("crowd: %w", err)
	}
	if _, err := fmt.Fprintln(p.stdin, strings.TrimSpace(o.Token)); err != nil {
		return nil, errors.Join(fmt.Errorf("crowd: hand over the token: %w", err), p.Stop())
	}
	return p, nil
}

// Await returns when the crowd has told that.
func (p *Process) Await(ctx context.Context, what string) error {
	// Closing its standard input ends it, and so what is read here.
	defer context.AfterFunc(ctx, func() { _ = p.stdin.Close() })()
	for {
		line, err := p.tells.ReadString('\n')
		if strings.TrimSpace(line) == what {
			return nil
		}
		if err != nil {
			return errors.Join(fmt.Errorf("crowd ended before it was %s: %w", what, err), ctx.Err())
		}
	}
}

// patience is how long a crowd has to end.
const patience = 3 * time.Second

// Stop ends it.
func (p *Process) Stop() error {
	_ = p.stdin.Close() // it is closed already if it was interrupted
	timer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("crowd: %w", err)
	}
	return nil
}
