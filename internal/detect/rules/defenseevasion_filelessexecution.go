package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// protExec is PROT_EXEC.
const protExec = 4

// filelessExecution is DefenseEvasion:Runtime/FilelessExecution: code runs that no file on disk holds. Three ways are seen: a
// program (or a script, by #!) is executed from memory (memfd_create, or a file that was removed before), a library is loaded from such memory, and
// the stack or the heap is made executable, as code that was injected there needs.
//
// What stays quiet: container engines, which run a copy of themselves from memory to be safe from the container; a program that
// starts itself again after its file was replaced; runtimes that make code for a living (JIT), which use their own memory.
func filelessExecution() detect.Rule {
	return detect.Rule{
		Type: "DefenseEvasion:Runtime/FilelessExecution",
		Pattern: `{"$or":[
			{"kind":["exec"],"errno":[0],"process":{"executable":{"origin":["memory"]}}},
			{"kind":["exec"],"errno":[0],"process":{"scriptPath":[{"prefix":"/dev/fd/"},{"wildcard":"/proc/*/fd/*"}]}},
			{"kind":["mmap"],"errno":[0],"file":{"origin":["memory"]}},
			{"kind":["mprotect"],"errno":[0],"memory":{"region":["stack","heap"]}}]}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if starting(p) {
				return false
			}
			var what string
			switch m.Event.Kind {
			case event.KindExec:
				if p.Exe.Origin != event.OriginMemory {
					m.Object = "script"
					m.Context = finding.Context{ScriptPath: p.ScriptPath, MemoryRegions: []string{"memfd"}}
					what = fmt.Sprintf("runs a script that it has by a descriptor only ('%s'), not by a name in the file system", event.PrintableN(p.ScriptPath, 200))
					break
				}
				if strings.Contains(p.ExePath, "memfd:") {
					m.Context.MemoryRegions = []string{"memfd"}
				} else if a := p.Parent; a != nil && original(a) && a.ExePath != "" && a.ExePath == strings.TrimSuffix(p.ExePath, " (deleted)") {
					return false
				}
				m.Object = p.ExePath
				what = fmt.Sprintf("runs a program that no file holds ('%s')", event.PrintableN(p.ExePath, 200))
			case event.KindMmap:
				f := m.Event.File
				name := strings.TrimSuffix(f.Path, " (deleted)")
				i := strings.LastIndex(name, "memfd:")
				if i < 0 || jit(p) || p.Exe.Origin == event.OriginMemory || codeMemory(name[i+len("memfd:"):]) {
					return false // Removed files are replaced libraries; what runs from memory has been reported when it started.
				}
				m.Object = "memfd"
				m.Context = finding.Context{MemoryRegions: []string{"memfd"}, LibraryPath: f.Path}
				what = fmt.Sprintf("loaded code from memory that no file holds ('%s')", event.PrintableN(f.Path, 200))
			case event.KindMprotect:
				mem := m.Event.Memory
				if mem == nil || mem.Protection&protExec == 0 || jit(p) || command.Base(p.ExePath) == "ld.so" {
					return false
				}
				m.Object = mem.Region
				m.Context = finding.Context{MemoryRegions: []string{mem.Region}, Flags: protection(mem.Protection)}
				what = fmt.Sprintf("made its %s executable (%s)", mem.Region, strings.Join(m.Context.Flags, ", "))
			}
			m.Description = fmt.Sprintf("The %s %s. Code that never was a file on disk leaves nothing to look at afterwards and gets past whatever "+
				"checks files. Unless this is a program that makes code while it runs, find out which process brought it (its lineage and its "+
				"connections) before you stop the container: the memory is lost then.", m.Who(p), what)
			return true
		},
	}
}

// codeMemory reports whether a name is one that libraries give the memory in which they make code.
func codeMemory(name string) bool {
	name = strings.ToLower(name)
	for _, s := range [...]string{"doublemapper", "libffi", "jit", "wine", "pulseaudio", "wayland", "xshm", "gdk", "nvidia", "v8"} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

func protection(p uint32) (names []string) {
	for i, name := range [...]string{"PROT_READ", "PROT_WRITE", "PROT_EXEC"} {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}
