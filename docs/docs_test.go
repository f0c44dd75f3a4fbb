// Package docs has nothing but a test: that what the documents name is there.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/datapath"
)

// documents returns every Markdown file of the repository by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"../*.md", "*.md", "adr/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out[path] = string(b)
		}
	}
	if len(out) < 5 {
		t.Fatalf("only %d documents found", len(out))
	}
	return out
}

var mdLink = regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for path, text := range documents(t) {
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			target, anchor := m[1], strings.TrimPrefix(m[2], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: link to %s: %v", path, target, err)
			}
			if anchor == "" {
				continue
			}
			if text, err := os.ReadFile(file); err != nil || !hasHeading(string(text), anchor) {
				t.Errorf("%s: %s has no heading for #%s: %v", path, file, anchor, err)
			}
		}
	}
}

var notInAnchor = regexp.MustCompile(`[^a-z0-9 -]`)

// hasHeading reports whether a heading of text has that anchor, as GitHub
// makes it.
func hasHeading(text, anchor string) bool {
	for line := range strings.Lines(text) {
		title := strings.TrimSpace(strings.TrimLeft(line, "#"))
		if !strings.HasPrefix(line, "#") || title == "" {
			continue
		}
		made := notInAnchor.ReplaceAllString(strings.ToLower(title), "")
		if strings.ReplaceAll(made, " ", "-") == anchor {
			return true
		}
	}
	return false
}

func TestEveryDropReasonIsExplained(t *testing.T) {
	text := documents(t)["operations.md"]
	for _, r := range datapath.DropReasons() {
		if !strings.Contains(text, "\n| `"+r.String()+"` |") {
			t.Errorf("operations.md does not explain %s", r)
		}
	}
}

// TestDropReasonsStandWhereTheyBelong: the table has no reason that is none, and
// each is under the side that it is numbered with.
func TestDropReasonsStandWhereTheyBelong(t *testing.T) {
	byName := map[string]datapath.DropReason{}
	for _, r := range datapath.DropReasons() {
		byName[r.String()] = r
	}
	text := documents(t)["operations.md"]
	_, table, _ := strings.Cut(text, "\n| reason | a packet was dropped because |")
	table, _, _ = strings.Cut(table, "\n\n")
	const first, underlay = datapath.DropSourceMAC, datapath.DropUnknownVTEP
	side, rows := datapath.DropReason(0), 0
	for line := range strings.Lines(table) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
		switch r := byName[name]; {
		case strings.HasPrefix(line, "| **from an endpoint**"):
			side = first
		case strings.HasPrefix(line, "| **from the underlay**"):
			side = underlay
		case !strings.HasPrefix(line, "| `"):
		case r == 0:
			t.Errorf("operations.md explains %s, which is no reason", name)
		case (r >= underlay) != (side == underlay):
			t.Errorf("operations.md has %s, number %d, on the wrong side", name, r)
		default:
			rows++
		}
	}
	if rows != len(byName) {
		t.Errorf("operations.md has %d reasons where they belong, want %d", rows, len(byName))
	}
}

func TestEveryMapIsExplained(t *testing.T) {
	header, err := os.ReadFile("../bpf/maps.h")
	if err != nil {
		t.Fatal(err)
	}
	maps := regexp.MustCompile(`\} (ovl_[a-z_]+) SEC`).FindAllStringSubmatch(string(header), -1)
	if len(maps) == 0 {
		t.Fatal("no map found in bpf/maps.h")
	}
	text := documents(t)["operations.md"]
	for _, m := range maps {
		if !strings.Contains(text, "\n| `"+m[1]+"` |") {
			t.Errorf("operations.md does not explain %s", m[1])
		}
	}
}

func TestTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range documents(t) {
		for _, m := range regexp.MustCompile("`make ([a-z-]+)`|(?m:^make ([a-z-]+))").FindAllStringSubmatch(text, -1) {
			target := m[1] + m[2]
			if !strings.Contains(string(makefile), "\n"+target+":") {
				t.Errorf("%s: there is no `make %s`", path, target)
			}
		}
	}
}
