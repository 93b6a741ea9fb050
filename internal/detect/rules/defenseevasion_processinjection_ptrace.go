package rules

import (
	"fmt"
	"syscall"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// The requests of ptrace(2) that take control of another process or change it. Reading (PTRACE_PEEK…) needs one of the
// first two before it, and PTRACE_TRACEME is another finding type.
var ptraceRequests = map[uint32]string{
	16:     "PTRACE_ATTACH",
	0x4206: "PTRACE_SEIZE",
	4:      "PTRACE_POKETEXT",
	5:      "PTRACE_POKEDATA",
	6:      "PTRACE_POKEUSER",
	13:     "PTRACE_SETREGS",
	15:     "PTRACE_SETFPREGS",
	0x4205: "PTRACE_SETREGSET",
}

// processInjectionPtrace is DefenseEvasion:Runtime/ProcessInjection.Ptrace: a process takes control of, or writes into,
// another one with ptrace(2). A target that the tracer has itself started, as by `gdb ./prog` or `strace ls`, is
// ordinary work and left out, and so are its own threads; `gdb -p` is not, whoever runs it. Injecting code into a child
// that was started for the purpose is therefore not seen.
func processInjectionPtrace() detect.Rule {
	return detect.Rule{
		Type:    "DefenseEvasion:Runtime/ProcessInjection.Ptrace",
		Pattern: `{"kind":["ptrace"],"ptrace":{"request":[4,5,6,13,15,16,16901,16902]}}`,
		Detect: func(m *detect.Match) bool {
			p, target := m.Process, m.Event.Ptrace.Target
			if own(p, target, m.Event.Ptrace.TargetPID) {
				return false
			}
			if target == nil && syscall.Errno(m.Event.Errno) == syscall.ESRCH {
				return false // There is no such process: nobody was touched.
			}
			request := ptraceRequests[m.Event.Ptrace.Request]
			m.Context = finding.Context{TargetProcess: finding.ProcessOf(target), Flags: []string{request}}
			victim := fmt.Sprintf("another process (pid %d)", m.Event.Ptrace.TargetPID)
			m.Object = "unknown"
			if target != nil {
				m.Object = target.ExePath
				victim = fmt.Sprintf("%s (%s, pid %d)", detect.Name(target), event.PrintableN(target.ExePath, 200), target.PID)
			}
			m.Description = fmt.Sprintf("The %s %s ptrace (%s) on %s, a process that it did not start%s. With ptrace a process can run its own "+
				"code inside another, with that one's rights and under its name. If nobody was debugging here, look at what the "+
				"target did afterwards, and treat both processes as compromised.",
				m.Who(p), m.Did("used", "tried to use"), request, victim, m.Outcome())
			return true
		},
	}
}

// own reports whether the target is the tracer itself, one of its threads, or a process that the tracer started.
func own(p, target *event.Process, pid uint32) bool {
	if pid != 0 && pid == p.PID {
		return true
	}
	if target == nil {
		return false
	}
	if !p.UUID.IsZero() && (target.UUID == p.UUID || target.ParentUUID == p.UUID) {
		return true
	}
	for a := range target.Ancestors {
		if same(a, p) {
			return true
		}
	}
	return false
}

// same reports whether a and b are one process.
func same(a, b *event.Process) bool {
	if a.UUID.IsZero() || b.UUID.IsZero() {
		return a == b
	}
	return a.UUID == b.UUID
}
