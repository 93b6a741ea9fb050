package detect

import (
	"strings"

	"vedette.dev/vedette/internal/event"
)

// CloneProcess returns a copy of p and its lineage that shares no memory with the batch it came from, for rules that must
// remember a process.
func CloneProcess(p *event.Process) *event.Process {
	var first *event.Process
	link := &first
	for n := 0; p != nil && n <= event.MaxLineage; p, n = p.Parent, n+1 {
		c := *p
		for _, s := range [...]*string{&c.Name, &c.User, &c.ExePath, &c.SHA256, &c.Cwd, &c.ScriptPath, &c.LDPreload, &c.LDLibPath} {
			*s = strings.Clone(*s)
		}
		c.Args, c.Parent, c.Exe.Writer = nil, nil, nil
		*link = &c
		link = &c.Parent
	}
	return first
}

// Clone returns a copy that shares no memory with a batch.
func (p Place) Clone() Place { return Place{strings.Clone(p.Host), strings.Clone(p.Container)} }
