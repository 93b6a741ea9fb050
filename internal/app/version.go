package app

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// Command returns how a user types this program: its name where the shell finds it by that, else its path.
func Command() string {
	self, err := os.Executable()
	if err != nil {
		return "vedette"
	}
	if found, err := exec.LookPath(filepath.Base(self)); err == nil {
		if found, err = filepath.EvalSymlinks(found); err == nil && found == self {
			return filepath.Base(self)
		}
	}
	return self
}

// Version returns the module version or the commit that the binary was built from, "dev" if neither is known.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}

// ShellQuote returns s as one word of a POSIX shell.
func ShellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
