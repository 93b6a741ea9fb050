package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// kernelModuleLoaded is DefenseEvasion:Runtime/KernelModuleLoaded: a module is loaded into the kernel, or the attempt is made,
// from a file (finit_module) or from memory (init_module). In a container every attempt counts.
//
// On the host itself a module of the running system's own folder, loaded by the programs that do so all day (modprobe, udev,
// systemd), is ordinary work and left out, unless the file was written just now.
func kernelModuleLoaded() detect.Rule {
	return detect.Rule{
		Type:    "DefenseEvasion:Runtime/KernelModuleLoaded",
		Pattern: `{"$or":[{"kind":["module"]},{"kind":["exec"],"errno":[0],"container":{"id":[{"exists":true}]},"command":{"name":["insmod"]}}]}`,
		Detect: func(m *detect.Match) bool {
			p, f := m.Process, m.Event.File
			if f == nil {
				f = &event.FileChange{}
			}
			if m.Event.Kind == event.KindExec {
				// What keeps a container from loading modules may also keep the sensor from seeing the call.
				for i, c := range m.Facts.Commands() {
					if file := c.Operand(0); c.Name == "insmod" && !c.Nested && file != "" {
						return moduleFound(m, &event.FileChange{Path: file}, "started insmod on")
					} else if i > 8 {
						break
					}
				}
				return false
			}
			if m.Event.Container == nil && moduleLoaders[program(p)] && f.Origin != event.OriginWritten && f.Origin != event.OriginMemory &&
				(f.Path == "" || strings.HasPrefix(f.Path, "/lib/modules/") || strings.HasPrefix(f.Path, "/usr/lib/modules/")) {
				return false
			}
			return moduleFound(m, f, m.Did("loaded", "tried to load"))
		},
	}
}

func moduleFound(m *detect.Match, f *event.FileChange, did string) bool {
	name := f.Target
	if name == "" && f.Path != "" {
		name = moduleName(f.Path)
	}
	m.Object = f.Path + " " + name
	m.Context = finding.Context{ModuleName: name, ModuleFilePath: f.Path}
	which := "a kernel module"
	if name != "" {
		which = "the kernel module " + finding.Quote(name)
	}
	from := " from memory"
	if f.Path != "" {
		from = " from the file '" + event.PrintableN(f.Path, 200) + "'"
	}
	m.Description = fmt.Sprintf("The %s %s %s%s%s. A module is part of the kernel: it can hide processes, files and connections from everybody, "+
		"this agent included. If nobody meant to load it, treat the host as compromised and look at it from outside (a snapshot of "+
		"its disk), not from within.", m.Who(m.Process), did, which, from, m.Outcome())
	return true
}

// moduleLoaders load the system's own modules.
var moduleLoaders = map[string]bool{
	"kmod": true, "modprobe": true, "systemd-udevd": true, "udevadm": true, "udevd": true, "systemd-modules-load": true, "systemd": true, "(udev-worker)": true,
}

// moduleName is the name that the kernel gives the module in a file.
func moduleName(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	for _, end := range [...]string{".gz", ".xz", ".zst", ".ko"} {
		name = strings.TrimSuffix(name, end)
	}
	return strings.ReplaceAll(name, "-", "_")
}
