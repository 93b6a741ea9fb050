package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// runcEscape is PrivilegeEscalation:Runtime/RuncContainerEscape: a process in a container writes to, or replaces, the program of
// the container runtime that started it (CVE-2019-5736), directly or through /proc/PID/exe, or runs with a working directory
// that a file descriptor of the runtime leaks (CVE-2024-21626). The attempt counts.
//
// A package manager that installs a container engine in a container of its own (Docker in Docker) is left out.
func runcEscape() detect.Rule {
	return detect.Rule{
		Type: "PrivilegeEscalation:Runtime/RuncContainerEscape",
		Pattern: `{"container":{"id":[{"exists":true}]},"$or":[
			{"kind":["open"],"open":{"path":[{"suffix":"/runc"},{"suffix":"/docker-runc"},{"suffix":"/crun"},{"suffix":"/runc-fargate"},
				{"suffix":"/containerd-shim-runc-v2"},{"wildcard":"/proc/*/exe"}]}},
			{"kind":["rename","link","symlink"],"file":{"target":[{"suffix":"/runc"},{"suffix":"/docker-runc"},{"suffix":"/crun"},{"suffix":"/containerd-shim-runc-v2"}]}},
			{"kind":["exec"],"process":{"pwd":[{"wildcard":"/proc/*/fd/*"},{"wildcard":"/proc/*/fd"},{"prefix":"/dev/fd/"}]}}]}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if starting(p) || packageManager(p) || startedByPackageManager(p) {
				return false
			}
			var did, path string
			switch {
			case m.Event.Open != nil:
				path = m.Event.Open.Path
				what := "the program of the container runtime"
				if command.Base(path) == "exe" {
					what = "a running program through the proc file system"
				}
				did = fmt.Sprintf("%s %s ('%s') for writing%s", m.Did("opened", "tried to open"), what, event.PrintableN(path, 200), m.Outcome())
			case m.Event.File != nil:
				path = m.Event.File.Target
				if m.Event.Kind == event.KindSymlink {
					return false // A link to the runtime changes nothing of it.
				}
				if m.Event.Kind == event.KindLink {
					path = m.Event.File.Path
					if !strings.Contains(command.Base(path), "runc") {
						return false
					}
				}
				did = fmt.Sprintf("%s the program of the container runtime ('%s')%s", m.Did("replaced", "tried to replace"), event.PrintableN(path, 200), m.Outcome())
			default:
				path = p.Cwd
				did = fmt.Sprintf("runs in the working directory '%s', which leads through a file descriptor out of the container", event.PrintableN(path, 200))
			}
			m.Object = path
			m.Context = finding.Context{RuncBinaryPath: path}
			m.Description = fmt.Sprintf("The %s %s. That is how a container breaks out: the host runs the changed program as root the next time it starts "+
				"or enters a container. Isolate the host, compare the runtime's program with the package it came from, and update the runtime.", m.Who(p), did)
			return true
		},
	}
}
