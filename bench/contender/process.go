package contender

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the kernel's USER_HZ, the same on every architecture that Go
// runs on.
const clockTick = time.Second / 100

// processCPU is the time that a process has used so far, in steps of 10 ms.
func processCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseCPU(stat)
}

// parseCPU reads utime and stime, fields 14 and 15 of /proc/PID/stat. The
// second field, the name, may hold spaces and ends in the last ')'.
func parseCPU(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("process: malformed stat %q", stat)
	}
	var sum time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("process: malformed stat %q: %w", stat, err)
		}
		sum += time.Duration(ticks) * clockTick
	}
	return sum, nil
}

// processMemory is what a process holds in memory, in bytes, its part of what
// it shares with others included (PSS).
func processMemory(pid int) (uint64, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	return parsePSS(rollup)
}

func parsePSS(rollup []byte) (uint64, error) {
	for line := range strings.Lines(string(rollup)) {
		text, ok := strings.CutPrefix(line, "Pss:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("process: malformed line %q: %w", line, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("process: no Pss in %q", rollup)
}
