package e2e

import (
	"cmp"
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// refusalTime is what "refused at once" means: as long as an attach may take.
const refusalTime = attachTime

// hosts N [ipv6] makes that many, called h1, h2, and so on, without agents, on
// an underlay of IPv4 or IPv6. $h1 is then the instance of h1, $state1 its state file, $data1 the folder that holds it.
func (s *script) hosts(neg bool, args []string) {
	o := linktest.Options{}
	if len(args) == 2 && args[1] == "ipv6" {
		o.IPv6, args = true, args[:1]
	}
	n, err := strconv.Atoi(strings.Join(args, " "))
	if neg || err != nil || s.c != nil {
		s.ts.Fatalf("usage, once: hosts N [ipv6]")
	}
	o.Hosts = n
	s.c = newCluster(s, o)
	for i, h := range s.c.hosts {
		number := strconv.Itoa(i + 1)
		s.ts.Setenv(h.name, h.instance)
		s.ts.Setenv("data"+number, h.dataDir())
		s.ts.Setenv("state"+number, h.stateFile())
		s.ts.Setenv("netns"+number, h.NetnsPath)
	}
}

// take returns the host that args begin with.
func (s *script) take(args []string) (*host, []string) {
	if s.c == nil || len(args) == 0 {
		s.ts.Fatalf("which host, and is it there?")
	}
	h, ok := s.c.host(args[0])
	if !ok {
		s.ts.Fatalf("there is no host %q", args[0])
	}
	return h, args[1:]
}

// up HOST ARG… runs the agent until it is ready; $TOKEN is then what admits
// others.
func (s *script) up(neg bool, args []string) {
	h, args := s.take(args)
	if neg {
		s.ts.Fatalf("usage: up HOST ARG…; one that must fail is: refuses HOST up ARG…")
	}
	h.up(args...)
	s.ts.Setenv("TOKEN", s.c.token)
}

// join HOST ARG… is up with what the first host has printed.
func (s *script) join(neg bool, args []string) {
	h, args := s.take(args)
	s.up(neg, append(append([]string{h.name}, h.joinArgs()...), args...))
}

// end HOST ends the agent with SIGTERM, crash HOST with SIGKILL.
func (s *script) end(_ bool, args []string) {
	h, _ := s.take(args)
	h.stop()
}

func (s *script) crash(_ bool, args []string) {
	h, _ := s.take(args)
	h.kill()
}

// ends HOST: the agent, which was ready, ends by itself, and not well.
func (s *script) ends(_ bool, args []string) {
	h, _ := s.take(args)
	select {
	case <-h.agent.exited:
	case <-time.After(readyTime):
		s.ts.Fatalf("the agent of %s goes on:\n%s", h.name, h.log.String())
	}
	if h.agent.err == nil {
		s.ts.Fatalf("the agent of %s ends as if all were well:\n%s", h.name, h.log.String())
	}
}

// [!] log HOST REGEXP looks at what the host's agents have logged.
func (s *script) log(neg bool, args []string) {
	h, args := s.take(args)
	if found := regexp.MustCompile(strings.Join(args, " ")).MatchString(h.log.String()); found == neg {
		s.ts.Fatalf("log of %s:\n%s", h.name, h.log.String())
	}
}

// [!] ovlctl HOST ARG… is what an operator types on it. Standard output and
// error can be looked at as after exec.
func (s *script) run(neg bool, args []string) {
	h, args := s.take(args)
	s.expect(neg, s.ovlctlOf(h, args))
}

// [!] host HOST PROGRAM ARG… runs something else there.
func (s *script) inHost(neg bool, args []string) {
	h, args := s.take(args)
	s.expect(neg, s.ts.Exec("nsenter", append([]string{"--net=" + h.NetnsPath, "--"}, args...)...))
}

// ovlctlOf runs one in the host's namespace. An agent that should not have
// come up is ended.
func (s *script) ovlctlOf(h *host, args []string) error {
	if len(args) > 0 && args[0] == "up" {
		args = h.upLine(args[1:]...)
	}
	line := []string{"--net=" + h.NetnsPath, "--", "timeout", "--kill-after=5", "20", h.ovlctl, "--instance", h.instance}
	return s.ts.Exec("nsenter", append(line, args...)...)
}

func (s *script) expect(neg bool, err error) {
	if (err != nil) != neg {
		s.ts.Fatalf("it should have done otherwise: %v", err)
	}
}

// refuses [CODE] HOST ARG… runs an ovlctl that must end with that exit code
// (default 1), at once, and say why in one line and nothing else; with -o json
// that line is the envelope.
func (s *script) refuses(neg bool, args []string) {
	want := 1
	if n, err := strconv.Atoi(args[0]); err == nil {
		want, args = n, args[1:]
	}
	h, args := s.take(args)
	begin := time.Now()
	err := s.ovlctlOf(h, args)
	took := time.Since(begin)

	got := 0
	var failed interface{ ExitCode() int }
	if errors.As(err, &failed) {
		got = failed.ExitCode()
	}
	if neg || got != want || err != nil && failed == nil {
		s.ts.Fatalf("exit code %d, want %d: %v", got, want, err)
	}
	stdout, stderr := s.ts.ReadFile("stdout"), s.ts.ReadFile("stderr")
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	isUp := args[0] == "up"
	if isUp {
		// What the agent has logged until then is not the answer.
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "time=") })
	}
	begins := "ovlctl: "
	if slices.Contains(args, "json") {
		begins = `{"error":{"code":"`
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], begins) || stdout != "" {
		s.ts.Fatalf("not one line on standard error alone: %q, %q", stderr, stdout)
	}
	if !isUp && took > refusalTime {
		s.ts.Fatalf("refused after %v, want %v at most", took, refusalTime)
	}
}

// soon DURATION has|lacks REGEXP HOST ARG… runs an ovlctl until its output
// has a match, or has none any more, in that time.
func (s *script) soon(_ bool, args []string) {
	if len(args) < 5 || args[1] != "has" && args[1] != "lacks" {
		s.ts.Fatalf("usage: soon DURATION has|lacks REGEXP HOST ARG…")
	}
	limit, err := time.ParseDuration(args[0])
	s.ts.Check(err)
	want := regexp.MustCompile(args[2])
	h, rest := s.take(args[3:])
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		stdout, stderr, err := h.ctl(rest...)
		took := time.Since(begin)
		found := err == nil && want.MatchString(stdout) == (args[1] == "has")
		if found && took <= limit {
			return
		}
		if found || took > 10*limit {
			s.ts.Fatalf("after %v: %v: %s%s", took, err, stdout, stderr)
		}
	}
}

// netns add NAME makes a network namespace; $NAME is then what it is really
// called. netns del NAME deletes it.
func (s *script) netns(neg bool, args []string) {
	if neg || len(args) != 2 || s.c == nil {
		s.ts.Fatalf("usage: netns add|del NAME")
	}
	switch args[0] {
	case "add":
		s.ts.Setenv(args[1], s.c.lab.Endpoint(args[1]).Name)
	case "del":
		s.ts.Check(s.ts.Exec("ip", "netns", "delete", s.ts.Getenv(args[1])))
	}
}

// process NAME runs one in a network namespace of its own; $NAME is its PID.
// process end NAME ends it.
func (s *script) process(_ bool, args []string) {
	if len(args) == 2 && args[0] == "end" {
		s.processes[s.ts.Getenv(args[1])]()
		return
	}
	pid, end := startProcess(s)
	text := strconv.Itoa(pid)
	s.processes[text] = end
	s.ts.Setenv(args[0], text)
}

// clean HOST: `ovlctl down` has left nothing there.
func (s *script) clean(_ bool, args []string) {
	h, _ := s.take(args)
	if left := h.leftovers(); len(left) > 0 {
		s.ts.Fatalf("left behind on %s: %s", h.name, strings.Join(left, ", "))
	}
}

// devices HOST N: that many ends of endpoints are on the host.
func (s *script) devices(_ bool, args []string) {
	h, args := s.take(args)
	names, err := h.devices()
	s.ts.Check(err)
	if want := strings.Join(args, " "); strconv.Itoa(len(names)) != want {
		s.ts.Fatalf("%s has the devices %v, want %s", h.name, names, want)
	}
}

// flip FILE OFFSET [COUNT] inverts bytes of a file; an OFFSET below zero counts
// from the end.
func (s *script) flip(_ bool, args []string) {
	path := args[0]
	b, err := os.ReadFile(path)
	s.ts.Check(err)
	at, err := strconv.Atoi(args[1])
	s.ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	count, err := strconv.Atoi(cmp.Or(strings.Join(args[2:], ""), "1"))
	s.ts.Check(err)
	if at < 0 || at+count > len(b) {
		s.ts.Fatalf("%s has %d bytes", path, len(b))
	}
	for i := range count {
		b[at+i] ^= 0xff
	}
	s.ts.Check(os.WriteFile(path, b, 0o600))
}
