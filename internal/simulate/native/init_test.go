package native

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"var/run": "/run", "up": "../../..", "loop": "loop", "abs": "/etc"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for target, want := range map[string]string{
		"/mnt/x": "/mnt/x", "/var/run/docker.sock": "/run/docker.sock", "/abs/x": "/etc/x", "/a/../b": "/b", "/../../x": "/x",
	} {
		if got, err := inRoot(root, target); err != nil || got != root+want {
			t.Errorf("%s: %s, %v", target, got, err)
		}
	}
	for _, target := range []string{"/up/x", "/loop/x"} {
		if got, err := inRoot(root, target); err == nil {
			t.Errorf("%s: %s", target, got)
		}
	}
}

func TestCopyImageByDescriptor(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, folder := range []string{"tmp", "bin"} {
		if err := os.Mkdir(filepath.Join(from, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(from, "bin/tool"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/tool", filepath.Join(from, "bin/other")); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(from, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := copyImage(fmt.Sprintf("/proc/self/fd/%d", fd), to); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(to, "bin/tool")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("tool: %v, %v", info, err)
	}
	if link, err := os.Readlink(filepath.Join(to, "bin/other")); err != nil || !strings.HasSuffix(link, "/bin/tool") {
		t.Errorf("link: %q, %v", link, err)
	}
	if info, err := os.Stat(filepath.Join(to, "tmp")); err != nil || info.Mode()&os.ModeSticky == 0 {
		t.Errorf("tmp: %v, %v", info, err)
	}
}
