package detect

import (
	"strings"

	"vedette.dev/vedette/internal/event"
)

// shellNames are the command shells, by file name.
var shellNames = map[string]bool{
	"sh": true, "bash": true, "dash": true, "ash": true, "zsh": true, "ksh": true, "ksh93": true, "mksh": true, "lksh": true,
	"pdksh": true, "oksh": true, "yash": true, "csh": true, "tcsh": true, "fish": true, "rbash": true, "rzsh": true, "hush": true,
	"posh": true, "elvish": true, "nu": true, "xonsh": true, "pwsh": true, "bash-static": true, "zsh-static": true,
}

// multiCall are programs that are a shell when they are called as one.
var multiCall = map[string]bool{"busybox": true, "toybox": true, "busybox-static": true, "busybox.static": true}

// shellBook recognises shells. It learns the SHA-256 of the executables that are shells by name and come from an image, so
// that a copy under another name is recognised.
type shellBook struct {
	hashes map[string]struct{}
}

// maxShellHashes bounds how many versions of shells are remembered.
const maxShellHashes = 1024

func newShellBook() *shellBook { return &shellBook{hashes: make(map[string]struct{})} }

// learn remembers the executable of p if it is a shell by name.
func (s *shellBook) learn(p *event.Process) {
	if len(p.SHA256) != 64 || p.Exe.Origin == event.OriginWritten || p.Exe.Origin == event.OriginMemory || !shellNames[base(p.ExePath)] {
		return
	}
	if _, ok := s.hashes[p.SHA256]; ok {
		return
	}
	if len(s.hashes) >= maxShellHashes {
		clear(s.hashes)
	}
	s.hashes[strings.Clone(p.SHA256)] = struct{}{}
}

// is reports whether p runs a shell.
func (s *shellBook) is(p *event.Process) bool {
	name := base(p.ExePath)
	if name == "" {
		name = p.Name
	}
	if multiCall[name] {
		applet := ""
		if len(p.Args) > 0 {
			applet = strings.TrimPrefix(base(p.Args[0]), "-")
		}
		if multiCall[applet] {
			applet = ""
			if len(p.Args) > 1 {
				applet = p.Args[1]
			}
		}
		return shellNames[applet]
	}
	if shellNames[name] {
		return true
	}
	if p.SHA256 == "" {
		return false
	}
	_, ok := s.hashes[p.SHA256]
	return ok
}
