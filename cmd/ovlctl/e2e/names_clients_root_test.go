package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// nameCase is a question and what every client has to make of it.
type nameCase struct {
	// name to ask for; of a PTR it is the address.
	name  string
	qtype uint16
	// want are the values, sorted. None: there is no such name.
	want []string
}

func (c nameCase) String() string { return dns.TypeToString[c.qtype] + " " + c.name }

// check compares what a client has got.
func (c nameCase) check(t *testing.T, client string, e *endpoint, got []string, none bool) {
	t.Helper()
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, c.want) || none != (len(c.want) == 0) {
		t.Errorf("%s in %s asks for %s: %q, not there: %v; want %q", client, e.info.Name, c, got, none, c.want)
	}
}

// output runs a program with the endpoint's own resolv.conf, which `ip netns exec`
// puts in its place, and returns what it prints; how it ends is its own affair.
func (e *endpoint) output(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), trafficTime)
	defer cancel()
	stdout, stderr, err := capture(exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", e.Name, name}, args...)...))
	if stdout == "" {
		t.Fatalf("%s in %s: %v: %s", name, e.info.Name, err, stderr)
	}
	return stdout
}

var digStatus = regexp.MustCompile(`->>HEADER<<-.* status: (\w+),`)

// checkDig asks everything with dig.
func checkDig(t *testing.T, e *endpoint, cases []nameCase) {
	t.Helper()
	args := []string{"+noall", "+comments", "+answer"}
	for _, c := range cases {
		if c.qtype == typePTR {
			args = append(args, "-x", c.name)
			continue
		}
		args = append(args, "-q", c.name, "-t", dns.TypeToString[c.qtype])
	}
	out := e.output(t, "dig", args...)
	var statuses []string
	var answers [][]string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if m := digStatus.FindStringSubmatch(line); m != nil {
			statuses, answers = append(statuses, m[1]), append(answers, nil)
			continue
		}
		if line == "" || strings.HasPrefix(line, ";") || len(answers) == 0 {
			continue
		}
		r, err := dns.NewRR(line)
		if err != nil {
			t.Fatalf("dig in %s: %v:\n%s", e.info.Name, err, out)
		}
		last := len(answers) - 1
		answers[last] = append(answers[last], valueOf(r))
	}
	if len(answers) != len(cases) {
		t.Fatalf("dig in %s answers %d of %d questions:\n%s", e.info.Name, len(answers), len(cases), out)
	}
	for i, c := range cases {
		if status := statuses[i]; status != "NOERROR" && status != "NXDOMAIN" {
			t.Errorf("dig in %s asks for %s: %s", e.info.Name, c, status)
		}
		c.check(t, "dig", e, answers[i], statuses[i] == "NXDOMAIN")
	}
}

// getentAll runs getent for each of its arguments, and prints how it ended.
const getentAll = `for q; do echo "? $q"; getent $q; echo "= $?"; done`

// checkGetent asks everything that the C library can ask for with getent.
func checkGetent(t *testing.T, e *endpoint, cases []nameCase) {
	t.Helper()
	args := []string{"-c", getentAll, "sh"}
	var asked []nameCase
	for _, c := range cases {
		// hosts takes IPv6 addresses before others.
		database := map[uint16]string{typeA: "ahostsv4", typeAAAA: "hosts", typePTR: "hosts"}[c.qtype]
		if database != "" {
			asked, args = append(asked, c), append(args, database+" "+c.name)
		}
	}
	blocks := strings.Split(e.output(t, "sh", args...), "? ")[1:]
	if len(blocks) != len(asked) {
		t.Fatalf("getent in %s answers %d of %d questions", e.info.Name, len(blocks), len(asked))
	}
	for i, c := range asked {
		lines := strings.Split(strings.TrimSpace(blocks[i]), "\n")
		var got []string
		for _, line := range lines[1 : len(lines)-1] {
			fields := strings.Fields(line)
			if c.qtype == typePTR {
				got = append(got, dns.Fqdn(fields[1]))
			} else {
				got = append(got, fields[0])
			}
		}
		c.check(t, "getent", e, got, lines[len(lines)-1] == "= 2")
	}
}

// checkGo asks everything with a Go program.
func checkGo(t *testing.T, e *endpoint, cases []nameCase) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{resolve}
	for _, c := range cases {
		args = append(args, c.String())
	}
	var all []resolved
	out := e.output(t, self, args...)
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != len(cases) {
		t.Fatalf("a Go program in %s: %v:\n%s", e.info.Name, err, out)
	}
	for i, c := range cases {
		if all[i].Error != "" {
			t.Errorf("a Go program in %s asks for %s: %s", e.info.Name, c, all[i].Error)
		}
		c.check(t, "a Go program", e, all[i].Values, all[i].None)
	}
}
