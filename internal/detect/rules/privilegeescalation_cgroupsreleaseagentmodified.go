package rules

import (
	"fmt"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// releaseAgent is PrivilegeEscalation:Runtime/CGroupsReleaseAgentModified: a release_agent file of a control group is opened for
// writing. The kernel runs the program named there on the host, as root, outside of every container. The attempt counts. Only
// systemd setting its own is left out.
func releaseAgent() detect.Rule {
	return detect.Rule{
		Type:    "PrivilegeEscalation:Runtime/CGroupsReleaseAgentModified",
		Pattern: `{"kind":["open"],"open":{"path":[{"suffix":"/release_agent"},"release_agent"]}}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			path := m.Event.Open.Path
			if original(p) && program(p) == "systemd" && path == "/sys/fs/cgroup/systemd/release_agent" {
				return false
			}
			m.Object = path
			m.Context = finding.Context{ReleaseAgentPath: path}
			m.Description = fmt.Sprintf("The %s %s the file '%s' for writing%s. The kernel runs the program named in it on the host, as root and outside of "+
				"every container, when a control group becomes empty: a well-known way out of a privileged container. Look at what the file "+
				"names now, treat the host as compromised if the write succeeded, and take the container's privileges away.",
				m.Who(p), m.Did("opened", "tried to open"), event.PrintableN(path, 200), m.Outcome())
			return true
		},
	}
}
