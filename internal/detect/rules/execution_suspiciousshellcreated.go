package rules

import (
	"fmt"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
)

// maxListeners bounds how many processes that listen a place remembers.
const maxListeners = 64

// suspiciousShell is Execution:Runtime/SuspiciousShellCreated: a program that can be reached over the network starts a shell that
// takes commands from somebody: one with -i, or one without commands of its own that reads from a terminal, a pipe or a
// connection. Which programs can be reached is known by what they are, and because they were seen to listen on an internet
// address (the last 64 of a place).
//
// What gives people shells for a living (sshd, login, terminal multiplexers) and what a shell runs with -c or from a script
// stays quiet.
func suspiciousShell() detect.Rule {
	type listening struct {
		list [maxListeners]event.UUID
		next int
	}
	places := newMemory[listening](1024)
	return detect.Rule{
		Type: "Execution:Runtime/SuspiciousShellCreated",
		Pattern: `{"errno":[0],"$or":[
			{"kind":["exec"],"process":{"shell":[true]}},
			{"kind":["listen"],"socket":{"addressFamily":[2,10]}},
			{"kind":["bind"],"bind":{"addressFamily":[2,10],"protocol":[0,6]}}]}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if m.Event.Kind != event.KindExec {
				if s := m.Event.Bind; s != nil && (s.Local.Port() == 0 || detect.Protocol(s) != protocolTCP) {
					return false
				}
				l := places.of(m)
				for _, u := range l.list {
					if u == p.UUID {
						return false
					}
				}
				l.list[l.next] = p.UUID
				l.next = (l.next + 1) % maxListeners
				return false
			}
			if !interactive(p) {
				return false
			}
			l := places.known(m)
			var server *event.Process
			n := 0
			for a := range p.Ancestors {
				if n++; n > 3 || original(a) && (logins[program(a)] || session(a)) {
					break
				}
				if original(a) && (services[program(a)] || services[versioned(program(a))]) && !tooling(a) {
					server = a
					break
				}
				if l != nil {
					for _, u := range l.list {
						if u == a.UUID && !u.IsZero() {
							server = a
						}
					}
				}
				// Whatever a shell starts is that shell's doing: the first one has been judged.
				if server != nil || m.Facts.Shell(a) && interactive(a) {
					break
				}
			}
			if server == nil || ancestor(p, buildTools) != nil {
				return false
			}
			m.Object = server.ExePath
			m.Description = fmt.Sprintf("The %s is a shell that takes commands, started by %s (%s), which can be reached over the network. Servers seldom need that; "+
				"who finds a hole in one wants just this. Look at what the server was sent at that time and at what the shell ran.",
				m.Who(p), detect.Name(server), event.PrintableN(server.ExePath, 200))
			return true
		},
	}
}

// interactive reports whether a shell takes commands from somebody.
func interactive(p *event.Process) bool {
	for i, a := range p.Args {
		if i > 0 && len(a) > 1 && a[0] == '-' && a[1] != '-' {
			for _, f := range a[1:] {
				if f == 'i' {
					return true
				}
				if f == 'c' {
					return false
				}
			}
		}
	}
	if !readsCommands(p, true) {
		return false
	}
	switch p.Stdin.Kind {
	case event.StdioTTY, event.StdioSocket, event.StdioPipe, event.StdioUnix:
		return true
	}
	return false
}
