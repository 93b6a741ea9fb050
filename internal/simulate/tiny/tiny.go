// Package tiny makes complete ELF executables of a few hundred bytes that make given system calls and end: programs of a
// language without any runtime or library, whose every call is known. They are the simulation's stand-ins for tools, miners
// and malware, and carry no harmful code.
//
// In goes a [Program]; out come the bytes of the file. The package is safe for concurrent use.
package tiny

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// base is where the kernel maps the file; headers is how many bytes of it come before the data.
const (
	base    = 0x400000
	headers = 64 + 56
)

// DataAddress is where Program.Data is in the running program's memory.
const DataAddress = base + headers

// Program is what a program does.
type Program struct {
	Data  []byte // read-only; makes the file unique, or is what the calls point to (see DataAddress)
	Calls []Call // made in order; their results are not looked at
	Exit  byte   // the exit code
}

// Call is one system call.
type Call struct {
	Number uintptr
	Args   [6]uint64
	// Compat makes an amd64 program call through the kernel's entry for 32-bit programs (int $0x80), with that entry's numbers
	// and the first five arguments cut to 32 bits. A kernel without the entry kills the program with SIGSEGV.
	Compat bool
}

// ErrMachine says that programs for this machine's processor cannot be made.
var ErrMachine = errors.New("no small programs for " + runtime.GOARCH)

// ELF returns the executable file (see elf(5)).
func (p Program) ELF() ([]byte, error) {
	calls := append(append([]Call(nil), p.Calls...), Call{Number: unix.SYS_EXIT_GROUP, Args: [6]uint64{uint64(p.Exit)}})
	var machine uint16
	var code []byte
	for _, c := range calls {
		switch {
		case runtime.GOARCH == "amd64" && c.Compat:
			code = appendCompat(code, c)
		case c.Compat:
			return nil, fmt.Errorf("calls of 32-bit programs: %w", ErrMachine)
		case runtime.GOARCH == "amd64":
			code = appendAMD64(code, c)
		case runtime.GOARCH == "arm64":
			code = appendARM64(code, c)
		}
	}
	switch runtime.GOARCH {
	case "amd64":
		machine = 62 // EM_X86_64
	case "arm64":
		machine = 183 // EM_AARCH64
	default:
		return nil, ErrMachine
	}
	data := append([]byte(nil), p.Data...)
	for len(data)%8 != 0 { // Instructions must be aligned on arm64.
		data = append(data, 0)
	}
	le := binary.LittleEndian
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	for _, v := range []uint64{uint64(DataAddress + len(data)), 64, 0} { // entry, program headers, section headers
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // readable and executable
	size := uint64(headers + len(data) + len(code))
	for _, v := range []uint64{0, base, base, size, size, 0x1000} {
		b = le.AppendUint64(b, v)
	}
	return append(append(b, data...), code...), nil
}

// appendAMD64 loads the registers and calls: the number in rax, arguments in rdi, rsi, rdx, r10, r8 and r9.
func appendAMD64(code []byte, c Call) []byte {
	code = binary.LittleEndian.AppendUint64(append(code, 0x48, 0xb8), uint64(c.Number)) // movabs
	for i, prefix := range [6][2]byte{{0x48, 0xbf}, {0x48, 0xbe}, {0x48, 0xba}, {0x49, 0xba}, {0x49, 0xb8}, {0x49, 0xb9}} {
		code = binary.LittleEndian.AppendUint64(append(code, prefix[0], prefix[1]), c.Args[i])
	}
	return append(code, 0x0f, 0x05) // syscall
}

// appendCompat does the same for int $0x80: the number in eax, arguments in ebx, ecx, edx, esi and edi.
func appendCompat(code []byte, c Call) []byte {
	code = binary.LittleEndian.AppendUint32(append(code, 0xb8), uint32(c.Number))
	for i, move := range [5]byte{0xbb, 0xb9, 0xba, 0xbe, 0xbf} {
		code = binary.LittleEndian.AppendUint32(append(code, move), uint32(c.Args[i]))
	}
	return append(code, 0xcd, 0x80)
}

// appendARM64 does the same for arm64: the number in x8, arguments in x0 to x5.
func appendARM64(code []byte, c Call) []byte {
	load := func(register uint32, value uint64) {
		for part := range uint32(4) {
			instruction := uint32(0xf2800000) // movk: the other bits stay
			if part == 0 {
				instruction = 0xd2800000 // movz: the other bits become zero
			}
			code = binary.LittleEndian.AppendUint32(code, instruction|part<<21|uint32(value>>(16*part)&0xffff)<<5|register)
		}
	}
	for i, value := range c.Args {
		load(uint32(i), value)
	}
	load(8, uint64(c.Number))
	return binary.LittleEndian.AppendUint32(code, 0xd4000001) // svc 0
}
