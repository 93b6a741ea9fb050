package rules

import (
	"fmt"
	"slices"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// ptraceAntiDebugging is DefenseEvasion:Runtime/PtraceAntiDebugging: a program asks to be traced (PTRACE_TRACEME) although
// nobody means to trace it, which keeps debuggers away and tells it whether one is there.
//
// The children of debuggers do the same, between fork and exec: they are still copies of the debugger then, with its program
// and its arguments, and are left out. So is a program whose parent is a debugger by name.
func ptraceAntiDebugging() detect.Rule {
	return detect.Rule{
		Type:    "DefenseEvasion:Runtime/PtraceAntiDebugging",
		Pattern: `{"kind":["ptrace"],"ptrace":{"request":[0]}}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if a := p.Parent; a != nil && (a.ExePath == p.ExePath && slices.Equal(a.Args, p.Args) || original(a) && debuggers[versioned(program(a))]) {
				return false
			}
			if original(p) && debuggers[versioned(program(p))] {
				return false
			}
			m.Object = p.ExePath
			m.Context = finding.Context{Flags: []string{"PTRACE_TRACEME"}}
			m.Description = fmt.Sprintf("The %s asked its parent to trace it (PTRACE_TRACEME)%s, although that is no debugger. A program that is "+
				"traced already cannot be looked into by anybody else, and learns so whether somebody does: malicious software uses this "+
				"to hide from analysis. Look at where the program '%s' came from and what it did next.",
				m.Who(p), m.Outcome(), event.PrintableN(p.ExePath, 200))
			return true
		},
	}
}

// debuggers trace what they start.
var debuggers = map[string]bool{
	"gdb": true, "gdbserver": true, "lldb": true, "lldb-server": true, "strace": true, "ltrace": true, "dlv": true, "rr": true, "valgrind": true,
	"perf": true, "bpftrace": true, "uftrace": true, "radare": true, "r": true, "systemd-coredump": true, "fakeroot": true, "proot": true, "reptyr": true,
}
