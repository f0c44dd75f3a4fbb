package contender

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"runtime"
	"time"
)

// pauseProgram is the path of the image's only file.
const pauseProgram = "/pause"

// pauseCode waits for signals for ever, in each architecture's instructions.
var pauseCode = map[string]struct {
	machine elf.Machine
	code    []byte
}{
	"amd64": {elf.EM_X86_64, []byte{
		0xb8, 34, 0, 0, 0, // again: mov eax, SYS_pause
		0x0f, 0x05, //        syscall
		0xeb, 0xf7, //        jmp again
	}},
	"arm64": {elf.EM_AARCH64, []byte{
		0x00, 0x00, 0x80, 0xd2, // again: mov x0, 0
		0x01, 0x00, 0x80, 0xd2, // mov x1, 0
		0x02, 0x00, 0x80, 0xd2, // mov x2, 0: no time-out
		0x03, 0x00, 0x80, 0xd2, // mov x3, 0
		0x28, 0x09, 0x80, 0xd2, // mov x8, SYS_ppoll
		0x01, 0x00, 0x00, 0xd4, // svc 0
		0xfa, 0xff, 0xff, 0x17, // b again
	}},
}

// pauseTar returns the root of an image that holds nothing but a static
// program that waits, so that no registry is needed and no C library.
func pauseTar() ([]byte, error) {
	program, err := pauseELF(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// Writes to a bytes.Buffer fail only for a malformed header.
	if err := w.WriteHeader(&tar.Header{Name: pauseProgram[1:], Mode: 0o755, Size: int64(len(program)), ModTime: time.Unix(0, 0)}); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if _, err := w.Write(program); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return b.Bytes(), w.Close()
}

// pauseELF returns the program: a header, one segment, the code.
func pauseELF(arch string) ([]byte, error) {
	p, ok := pauseCode[arch]
	if !ok {
		return nil, fmt.Errorf("image: there is no program for %s", arch)
	}
	const (
		load    = 0x400000
		headers = 64 + 56
	)
	size := uint64(headers + len(p.code))
	header := elf.Header64{
		Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_EXEC),
		Machine: uint16(p.machine),
		Version: uint32(elf.EV_CURRENT),
		Entry:   load + headers,
		Phoff:   64,
		Ehsize:  64, Phentsize: 56, Phnum: 1,
	}
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: load, Paddr: load, Filesz: size, Memsz: size, Align: 0x10000,
	}
	var b bytes.Buffer
	for _, part := range []any{header, segment, p.code} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
	}
	return b.Bytes(), nil
}
