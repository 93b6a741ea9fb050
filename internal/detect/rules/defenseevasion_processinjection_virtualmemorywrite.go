package rules

import (
	"fmt"
	"syscall"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// processInjectionWrite is DefenseEvasion:Runtime/ProcessInjection.VirtualMemoryWrite: process_vm_writev(2) on a process that the
// writer did not start. The attempt counts, whatever comes of it, unless there is no such process.
func processInjectionWrite() detect.Rule {
	return detect.Rule{
		Type:    "DefenseEvasion:Runtime/ProcessInjection.VirtualMemoryWrite",
		Pattern: `{"kind":["vm_write"]}`,
		Detect: func(m *detect.Match) bool {
			t := m.Event.Target
			if t == nil || own(m.Process, t.Target, t.TargetPID) || t.Target == nil && syscall.Errno(m.Event.Errno) == syscall.ESRCH {
				return false
			}
			victim := injected(m, t.Target, t.TargetPID)
			m.Description = fmt.Sprintf("The %s %s into the memory of %s with process_vm_writev%s. A process can so change what another one does, with "+
				"that one's rights and under its name, without touching a file. If nobody was debugging here, look at what the target did "+
				"afterwards, and treat both processes as compromised.", m.Who(m.Process), m.Did("wrote", "tried to write"), victim, m.Outcome())
			return true
		},
	}
}

// injected fills in the target of an injection and returns its description.
func injected(m *detect.Match, target *event.Process, pid uint32) string {
	m.Context.TargetProcess = finding.ProcessOf(target)
	m.Object = "unknown"
	if target == nil {
		return fmt.Sprintf("another process (pid %d)", pid)
	}
	m.Object = target.ExePath
	return fmt.Sprintf("%s (%s, pid %d), a process that it did not start", detect.Name(target), event.PrintableN(target.ExePath, 200), target.PID)
}
