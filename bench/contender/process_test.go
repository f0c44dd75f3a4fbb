package contender

import (
	"os"
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	stat := "42 (a) name) S 1 42 42 0 -1 4194560 1 2 3 4 150 25 7 8 20 0 9 0 100 1000 10"
	if got, err := parseCPU([]byte(stat)); err != nil || got != 1750*time.Millisecond {
		t.Errorf("parseCPU = %v, %v, want 1.75s", got, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 1 2 3 4 x 25 7"} {
		if _, err := parseCPU([]byte(bad)); err == nil {
			t.Errorf("parseCPU(%q): no error", bad)
		}
	}
}

func TestParsePSS(t *testing.T) {
	rollup := "00400000-7ffd r [rollup]\nRss:   200 kB\nPss:                1024 kB\nPss_Anon:  1 kB\n"
	if got, err := parsePSS([]byte(rollup)); err != nil || got != 1<<20 {
		t.Errorf("parsePSS = %d, %v, want 1 MiB", got, err)
	}
	for _, bad := range []string{"", "Rss: 1 kB\n", "Pss: many kB\n"} {
		if _, err := parsePSS([]byte(bad)); err == nil {
			t.Errorf("parsePSS(%q): no error", bad)
		}
	}
}

func TestOwnProcess(t *testing.T) {
	if _, err := processCPU(os.Getpid()); err != nil {
		t.Error(err)
	}
	if bytes, err := processMemory(os.Getpid()); err != nil || bytes < 1<<20 {
		t.Errorf("this process takes %d bytes, %v", bytes, err)
	}
}
