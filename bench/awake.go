package main

import (
	"encoding/binary"
	"fmt"
	"os"
)

// keepAwake keeps the CPUs from sleeping until release. A receiver that is
// faster than its sender sleeps between packets, and what it takes to wake a
// CPU, the more so a virtual one, is then most of what a packet costs: the
// faster a path, the more often. A request for no latency at all makes an idle
// CPU spin instead (Documentation/admin-guide/pm/cpuidle.rst); it ends with
// the descriptor, however the process ends.
func keepAwake() (release func(), err error) {
	f, err := os.OpenFile("/dev/cpu_dma_latency", os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("keep the CPUs awake: %w", err)
	}
	if err := binary.Write(f, binary.NativeEndian, int32(0)); err != nil {
		f.Close()
		return nil, fmt.Errorf("keep the CPUs awake: %w", err)
	}
	return func() { f.Close() }, nil
}
