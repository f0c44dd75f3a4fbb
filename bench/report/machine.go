package report

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine describes where the figures are from, without its name.
type Machine struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	CPUs   int    `json:"cpus"`
	Model  string `json:"cpu_model"`
	// Virtual reports whether there is a hypervisor below. It is nil where
	// the processor does not tell.
	Virtual *bool `json:"virtual,omitempty"`
	// Governor is how the kernel picks the first CPU's frequency, empty where
	// it does not.
	Governor string `json:"cpu_governor,omitempty"`
	// Memory is what the kernel can use, in bytes.
	Memory uint64 `json:"memory_bytes"`
}

// LoadAverage is that of the last minute, when the run began and when it
// ended. The first says what else there was to do; the last has the benchmark
// itself in it.
type LoadAverage struct {
	Begin float64 `json:"begin"`
	End   float64 `json:"end"`
}

// thisMachine leaves empty what the kernel does not tell.
func thisMachine() Machine {
	m := Machine{Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		// What follows the version is whoever built it.
		m.Kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = uint64(info.Totalram) * uint64(info.Unit)
	}
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	m.readCPU(string(cpuinfo))
	governor, _ := os.ReadFile("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	m.Governor = strings.TrimSpace(string(governor))
	return m
}

// readCPU takes the first processor of /proc/cpuinfo. Only x86 has flags that
// tell of a hypervisor.
func (m *Machine) readCPU(cpuinfo string) {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		switch key, value := strings.TrimSpace(key), strings.TrimSpace(value); {
		case key == "model name" && m.Model == "":
			m.Model = value
		case key == "flags" && m.Virtual == nil:
			virtual := slices.Contains(strings.Fields(value), "hypervisor")
			m.Virtual = &virtual
		}
	}
}

func loadAverage() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	load, _ := strconv.ParseFloat(first, 64) // 0 where the kernel does not tell
	return load
}

// busyLoad is a load above which there was more to do than to build and start
// the benchmark.
const busyLoad = 1

// Busy reports whether the machine had other things to do when the run began.
func (l LoadAverage) Busy() bool { return l.Begin > busyLoad }
