package rules

import (
	"fmt"
	"strings"
	"time"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// newBinaryExecuted is Execution:Runtime/NewBinaryExecuted: a container runs an executable that was written after the
// container had started. Containers are built once and replaced, so a new program is either a deviation or an intruder's.
// An executable in memory only is another type (FilelessExecution), and a script is run by an interpreter that is not new.
//
// Ordinary work that is left out: what a package manager of the image runs itself while it installs (the helpers and
// triggers of the packages it has just written), where running the installed program afterwards is a finding; and what a
// compiler or another part of a build wrote, unless a network service started it: an image that holds a compiler is made to
// compile and run.
func newBinaryExecuted() detect.Rule {
	return detect.Rule{
		Type: "Execution:Runtime/NewBinaryExecuted",
		Pattern: `{"kind":["exec"],"errno":[0],"container":{"id":[{"exists":true}]},
			"process":{"executable":{"origin":["written"]}}}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if packageManager(p.Exe.Writer) && startedByPackageManager(p) {
				return false
			}
			if compiled(p.Exe.Writer) && service(p) == nil {
				return false
			}
			m.Object = p.ExePath
			modified := p.Exe.WrittenAt
			if modified == 0 {
				modified = max(p.Exe.MTime, p.Exe.CTime)
			}
			m.Context = finding.Context{ModifiedAt: finding.Epoch(modified), ModifyingProcess: finding.ProcessOf(p.Exe.Writer),
				ScriptPath: p.ScriptPath}
			written := "It is not known which process wrote it."
			if w := p.Exe.Writer; w != nil {
				written = "It was written by " + detect.Name(w) + " (" + event.PrintableN(w.ExePath, 200) + ")."
			}
			age := ""
			if started := m.Event.Container.StartedAt; started > 0 && modified > started {
				age = " " + elapsed(time.Duration(modified-started)) + " after the container had started"
			}
			m.Description = fmt.Sprintf("The %s runs the executable '%s', which was written%s. %s A container that runs what its "+
				"image did not bring may be running an intruder's program. Look at who wrote the file and where it came from, "+
				"compare its SHA-256 with what you know, and replace the container by a fresh one.",
				m.Who(p), event.PrintableN(p.ExePath, 200), age, written)
			return true
		},
	}
}

// elapsed writes a duration for people: a file written at once after the start was not written "0s" after it.
func elapsed(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "less than a millisecond"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	}
	return d.Truncate(time.Second).String()
}

// packageManagers are the programs that write executables for a living, by file name.
var packageManagers = map[string]bool{
	"dpkg": true, "dpkg-deb": true, "apt": true, "apt-get": true, "aptitude": true, "apk": true, "rpm": true, "yum": true,
	"dnf": true, "dnf5": true, "microdnf": true, "tdnf": true, "zypper": true, "pacman": true, "opkg": true,
}

// packageManager reports whether p is a package manager that the image brought: one that was itself written later is no
// excuse for anything.
func packageManager(p *event.Process) bool {
	if p == nil || p.Exe.Origin == event.OriginWritten || p.Exe.Origin == event.OriginMemory {
		return false
	}
	if !strings.HasPrefix(p.ExePath, "/usr/") && !strings.HasPrefix(p.ExePath, "/bin/") && !strings.HasPrefix(p.ExePath, "/sbin/") {
		return false
	}
	name := p.ExePath[strings.LastIndexByte(p.ExePath, '/')+1:]
	// dnf and yum are scripts of a Python interpreter.
	if p.ScriptPath != "" {
		name = p.ScriptPath[strings.LastIndexByte(p.ScriptPath, '/')+1:]
	}
	return packageManagers[name]
}

func startedByPackageManager(p *event.Process) bool {
	for a := range within(p) {
		if packageManager(a) {
			return true
		}
	}
	return false
}
