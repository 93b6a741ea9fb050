package rules

import (
	"fmt"
	"strings"
	"time"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// newLibraryLoaded is Execution:Runtime/NewLibraryLoaded: a process in a container maps a file as code that was written after the
// container had started.
//
// Ordinary work that is left out: libraries that a package manager of the image, a language's package manager or a compiler
// wrote, and those that a runtime unpacks from its own archive to load them (JNI, PyInstaller). A library named in LD_PRELOAD
// is never left out on account of a runtime. The program itself, mapped when it starts, is NewBinaryExecuted.
func newLibraryLoaded() detect.Rule {
	return detect.Rule{
		Type:    "Execution:Runtime/NewLibraryLoaded",
		Pattern: `{"kind":["mmap"],"errno":[0],"container":{"id":[{"exists":true}]},"file":{"origin":["written"]}}`,
		Detect: func(m *detect.Match) bool {
			p, f := m.Process, m.Event.File
			if f.Path == p.ExePath || starting(p) || f.Path == "" {
				return false
			}
			if startedByPackageManager(p) || packageManager(p) {
				return false
			}
			preloaded := p.LDPreload != "" && strings.Contains(p.LDPreload, f.Path)
			if w := f.Writer; w != nil && service(w) == nil {
				if packageManager(w) || startedByPackageManager(w) || languageManager(w) || compiled(w) {
					return false
				}
				if !preloaded && (same(w, p) || p.Parent != nil && same(w, p.Parent)) && original(p) && (jit(p) || strings.Contains(f.Path, "/_MEI")) {
					return false
				}
			}
			m.Object = f.Path
			m.Context = finding.Context{LibraryPath: f.Path, ModifyingProcess: finding.ProcessOf(f.Writer), ModifiedAt: finding.Epoch(f.WrittenAt)}
			written := "It is not known which process wrote it."
			if w := f.Writer; w != nil {
				written = "It was written by " + detect.Name(w) + " (" + event.PrintableN(w.ExePath, 200) + ")."
			}
			if started := m.Event.Container.StartedAt; started > 0 && f.WrittenAt > started {
				written += " That was " + time.Duration(f.WrittenAt-started).Round(time.Millisecond).String() + " after the container had started."
			}
			if p.LDPreload != "" {
				m.Context.LDPreloadValue = p.LDPreload
				if preloaded {
					written += " LD_PRELOAD makes the program load it before all others, so that it can replace any function."
				}
			}
			m.Description = fmt.Sprintf("The %s loaded the library '%s', which was written after its container had started. %s A library runs with all the "+
				"rights of the program that loads it. Look at who wrote the file and where it came from, and replace the container by a fresh one.",
				m.Who(p), event.PrintableN(f.Path, 200), written)
			return true
		},
	}
}
