package rules

import (
	"fmt"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// dockerSocketAccessed is PrivilegeEscalation:Runtime/DockerSocketAccessed: a process in a container connects to the control
// socket of a container engine, or tries to. The attempt counts even where no socket is mounted: nothing in a container
// has a reason to look for it except who means to leave the container, or who ought to be known to do so.
//
// The path is the one given to connect(2): a symbolic link of another name that leads to the socket is not followed. What
// is mounted under another name is recognised by the mount's source.
func dockerSocketAccessed() detect.Rule {
	return detect.Rule{
		Type:    "PrivilegeEscalation:Runtime/DockerSocketAccessed",
		Pattern: `{"kind":["connect"],"container":{"id":[{"exists":true}]},"connect":{"engine":[{"exists":true}]}}`,
		Detect: func(m *detect.Match) bool {
			path := m.Event.Connect.Path
			m.Object = path
			m.Context = finding.Context{SocketPath: path, AddressFamily: "AF_UNIX"}
			m.Description = fmt.Sprintf("The %s %s to the control socket of the container engine %s, '%s'%s. Whoever may "+
				"speak to that socket can start a privileged container and so owns the host. Unless this image is meant to "+
				"manage containers, find out how the process came to run, remove the socket from the container's mounts, and "+
				"look for containers that it has started.",
				m.Who(m.Process), m.Did("connected", "tried to connect"), m.Facts.Engine(), event.PrintableN(path, 108), m.Outcome())
			return true
		},
	}
}
