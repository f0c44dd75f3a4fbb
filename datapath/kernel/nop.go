package kernel

import (
	"math"

	"github.com/cilium/ebpf/asm"
)

// noSuchInterface is an index that no device has.
const noSuchInterface = math.MaxInt32

// nop is the shortest program: it lets every packet pass.
func nop() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
}
