package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/finding"
)

// uffdUserModeOnly is UFFD_USER_MODE_ONLY: faults of the kernel itself are not handled.
const uffdUserModeOnly = 1

// userfaultfdUsage is PrivilegeEscalation:Runtime/UserfaultfdUsage: a process calls userfaultfd(2), or tries to. Virtual machine
// monitors and checkpointing (QEMU, Firecracker, CRIU) need it and are left out.
func userfaultfdUsage() detect.Rule {
	return detect.Rule{
		Type:    "PrivilegeEscalation:Runtime/UserfaultfdUsage",
		Pattern: `{"kind":["userfaultfd"]}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if name := command.Base(p.ExePath); original(p) && (strings.HasPrefix(name, "qemu-") || name == "criu" || name == "firecracker" || name == "cloud-hypervisor") {
				return false
			}
			m.Object = p.ExePath
			only := ""
			if c := m.Event.Call; c != nil && c.Flags&uffdUserModeOnly != 0 {
				m.Context = finding.Context{Flags: []string{"UFFD_USER_MODE_ONLY"}}
				only = " for its own memory only (UFFD_USER_MODE_ONLY), which is the less dangerous form"
			}
			m.Description = fmt.Sprintf("The %s %s userfaultfd%s%s. With it a program can hold the kernel up in the middle of its work, which exploits use "+
				"to win races and become root; few other programs need it. Look at where the program came from and whether it, or what it "+
				"started, runs as root now.", m.Who(p), m.Did("used", "tried to use"), only, m.Outcome())
			return true
		},
	}
}
