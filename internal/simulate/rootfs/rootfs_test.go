package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPlanHoldsProgramAndShell(t *testing.T) {
	image, err := Plan()
	if err != nil {
		t.Fatal(err)
	}
	if !image.Has("sh") || !slices.Contains(image.Tools(), "sh") {
		t.Errorf("tools %v do not hold sh", image.Tools())
	}
	var b bytes.Buffer
	if err := image.WriteTar(&b); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]byte{}
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := "/" + strings.TrimSuffix(h.Name, "/")
		if _, ok := names[name]; ok {
			t.Errorf("%s is in the image twice", name)
		}
		if parent := filepath.Dir(name); parent != "/" && names[parent] != tar.TypeDir {
			t.Errorf("%s comes before its folder", name)
		}
		names[name] = h.Typeflag
		if !h.ModTime.Equal(built) {
			t.Errorf("%s: modified %v", name, h.ModTime)
		}
		if name == Executable {
			content, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(content, self) {
				t.Errorf("the program in the image is not the running one (%d and %d bytes, %v)", len(content), len(self), err)
			}
		}
	}
	for _, want := range []string{Executable, "/bin/sh", "/etc/passwd", "/tmp", "/proc", "/var/run", "/home/app"} {
		if _, ok := names[want]; !ok {
			t.Errorf("%s is missing", want)
		}
	}
}

// TestToolsStart proves that the libraries of every tool are there, by asking each tool's own loader within the image.
func TestToolsStart(t *testing.T) {
	needRoot(t)
	image, err := Plan()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := image.WriteFolder(folder); err != nil {
		t.Fatal(err)
	}
	for _, tool := range image.Tools() {
		command := map[string]string{
			"bash": "bash -c :", "busybox": "busybox true", "cat": "cat /etc/passwd", "chmod": "chmod 644 /etc/hosts",
			"cp": "cp /etc/hosts /tmp/cp", "getent": "getent passwd app", "id": "id app", "ln": "ln -s x /tmp/ln", "ls": "ls /",
			"mkfifo": "mkfifo /tmp/fifo", "mv": "mv /etc/vedette-sim /tmp/mv", "rm": "rm -f /tmp/none", "sleep": "sleep 0",
			"true": "true", "sh": ":", "nc": "nc -h; test $? -lt 126", "nslookup": "nslookup -h; test $? -lt 126",
			"base64": "base64 /etc/hosts", "find": "find /etc",
		}[tool]
		if command == "" { // An error of the tool itself is none of its loader, which would end with 127.
			command = tool + " --help; test $? -lt 126"
		}
		out, err := exec.Command("chroot", folder, "/bin/sh", "-c", command).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
	if info, err := os.Stat(filepath.Join(folder, "tmp")); err != nil || info.Mode()&os.ModeSticky == 0 || info.Mode().Perm() != 0o777 {
		t.Errorf("/tmp: %v %v", info.Mode(), err)
	}
}

func TestMissingLibraryIsNamed(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash on this machine")
	}
	l := &libraries{folders: []string{t.TempDir()}}
	needed, err := l.needed(bash)
	if err == nil && len(needed) > 0 {
		t.Fatalf("libraries %v were found in an empty folder", needed)
	}
	if err != nil && (!strings.Contains(err.Error(), bash) || !strings.Contains(err.Error(), ".so")) {
		t.Errorf("error %q does not say which library of which program", err)
	}
}

func TestConfFolders(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("main.conf", "# comment\n/opt/lib # more\n  /opt/b/\ninclude extra*.conf\nincludes/none\nrelative\n")
	write("extra1.conf", "/opt/c\ninclude main.conf\n")
	got := confFolders(filepath.Join(dir, "main.conf"), 0)
	if len(got) < 3 || got[0] != "/opt/lib" || got[1] != "/opt/b" || got[2] != "/opt/c" {
		t.Errorf("folders %v", got)
	}
	for _, folder := range got {
		if !filepath.IsAbs(folder) {
			t.Errorf("%q is not absolute", folder)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}
