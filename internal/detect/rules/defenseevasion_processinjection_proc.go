package rules

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
)

// maxTracees bounds how many traced children of debuggers a place remembers.
const maxTracees = 64

// tracee is a process that asked its parent to trace it, as debuggers make their children do.
type tracee struct {
	tracer event.UUID
	nspid  uint32
}

// processInjectionProc is DefenseEvasion:Runtime/ProcessInjection.Proc: the memory of another process is opened for writing
// through /proc/PID/mem. Debuggers write to their own children in the same way; those are known because they ask to be traced
// when they start (the last 64 of a place), and are left out.
func processInjectionProc() detect.Rule {
	type children struct {
		list [maxTracees]tracee
		next int
	}
	places := newMemory[children](512)
	return detect.Rule{
		Type: "DefenseEvasion:Runtime/ProcessInjection.Proc",
		Pattern: `{"$or":[
			{"kind":["open"],"open":{"path":[{"wildcard":"/proc/*/mem"}]}},
			{"kind":["ptrace"],"errno":[0],"ptrace":{"request":[0]}}]}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if m.Event.Kind == event.KindPtrace {
				c := places.of(m)
				c.list[c.next] = tracee{parentOf(p), p.NSPID}
				c.next = (c.next + 1) % maxTracees
				return false
			}
			word, _, _ := strings.Cut(strings.TrimPrefix(m.Event.Open.Path, "/proc/"), "/")
			if word == "self" || word == "thread-self" || syscall.Errno(m.Event.Errno) == syscall.ENOENT {
				return false
			}
			n, err := strconv.ParseUint(word, 10, 32)
			if err != nil || uint32(n) == p.NSPID || uint32(n) == p.PID {
				return false
			}
			if c := places.known(m); c != nil {
				for _, t := range c.list {
					if t.nspid == uint32(n) && t.tracer == p.UUID && !p.UUID.IsZero() {
						return false
					}
				}
			}
			// The event has no process for a number in a path, except where it is one of the lineage.
			target := &event.Process{NSPID: uint32(n)}
			for a := range p.Ancestors {
				if a.NSPID == uint32(n) {
					target = a
					break
				}
			}
			injected(m, target, 0)
			m.Object = m.Event.Open.Path
			victim := fmt.Sprintf("of the process with pid %d", n)
			if target.ExePath != "" {
				victim += " there, " + detect.Name(target)
			}
			m.Description = fmt.Sprintf("The %s %s the memory %s for writing (%s)%s. A process can so change what another one does, with that one's "+
				"rights and under its name, without touching a file. If nobody was debugging here, look at what the target did afterwards, "+
				"and treat both processes as compromised.", m.Who(p), m.Did("opened", "tried to open"), victim, event.PrintableN(m.Event.Open.Path, 200), m.Outcome())
			return true
		},
	}
}
