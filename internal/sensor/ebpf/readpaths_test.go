package ebpf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

func TestMatchRead(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/etc/shadow", "/etc/shadow", true},
		{"/etc/shadow", "/etc/shadow-", false},
		{"/etc/shadow", "/x/etc/shadow", false},
		{"/etc/shadow", "/etc/shadow/x", false},
		{"/etc/shadow", "etc/shadow", false},
		{"/proc/*/environ", "/proc/17/environ", true},
		{"/proc/*/environ", "/proc/17/task/environ", false},
		{"/root/.ssh/", "/root/.ssh/id_rsa", true},
		{"/root/.ssh/", "/root/.ssh/old/id_rsa", true},
		{"/root/.ssh/", "/root/.ssh/very/old/id_rsa", false},
		{"/root/.ssh/", "/root/.ssh", false},
		{"/root/.ssh/", "/root/.ssh/", false},
		{"/home/*/.ssh/", "/home/me/.ssh/id_rsa", true},
		{"/a", "", false},
	} {
		if got := matchRead(c.pattern, []byte(c.path)); got != c.want {
			t.Errorf("matchRead(%q, %q) = %v", c.pattern, c.path, got)
		}
	}
}

func FuzzMatchRead(f *testing.F) {
	f.Add("/proc/*/environ", []byte("/proc/1/environ"))
	f.Add("/a/", []byte("/a/b/c"))
	f.Fuzz(func(t *testing.T, pattern string, path []byte) {
		if strings.HasPrefix(pattern, "/") {
			matchRead(pattern, path)
		}
	})
}

func init() {
	testers["read-files"] = func(args []string) error {
		if err := unix.Chdir(args[0]); err != nil {
			return err
		}
		open := func(name string, flags int) error {
			fd, err := unix.Open(name, flags, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
		r, err := openUring()
		if err != nil {
			return err
		}
		result, err := r.do(entry{opcode: 18, fd: -100, addr: uint64(text("secret"))})
		if err != nil || result < 0 {
			return fmt.Errorf("io_uring: result %d, %v", result, err)
		}
		do := func(number uintptr, args ...uintptr) error { _, err := call(number, args...); return err }
		return check(
			step{"secret", open("secret", unix.O_RDONLY), nil},
			step{"through a link", open("link", unix.O_RDONLY), nil},
			step{"by its name alone", open("secret", unix.O_PATH), nil}, // no event
			step{"namesake", open("sub/secret", unix.O_RDONLY), nil},    // no event
			step{"other", open("other", unix.O_RDONLY), nil},            // no event
			step{"in the folder", open("keys/a", unix.O_RDONLY), nil},
			step{"below the folder", open("keys/more/b", unix.O_RDONLY), nil},
			step{"the folder", open("keys", unix.O_RDONLY), nil},        // no event
			step{"missing", open("keys/c", unix.O_RDONLY), unix.ENOENT}, // no event
			step{"for both", open("other", unix.O_RDWR), nil},
			step{"setresuid", do(unix.SYS_SETRESUID, 1234, 1234, 1234), nil},
			step{"refused", open("secret", unix.O_RDONLY), unix.EACCES},
			step{"refused other", open("other", unix.O_RDONLY), unix.EACCES}, // no event
		)
	}
}

func TestReads(t *testing.T) {
	privileged(t)
	tmp := realDir(t)
	for _, d := range []string{tmp, filepath.Dir(tmp)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"secret", "other", "sub/secret", "keys/a", "keys/more/b"} {
		file := filepath.Join(tmp, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("secret", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	dir := newCgroup(t)
	s, end := watch(t, Options{Scope: dir, Kinds: event.Kinds(0).With(event.KindOpen)})
	for _, bad := range [][]string{{"relative"}, {"/"}, {"/a/*"}, {""}, make([]string, maxReadPaths+1)} {
		if err := s.SetReadPaths(bad); err == nil {
			t.Errorf("%d patterns like %q were taken", len(bad), bad[0])
		}
	}
	start := func() uint32 {
		cmd := testerCommand("read-files", tmp)
		inCgroup(t, dir, cmd)
		return runTester(t, cmd, true).pid
	}
	before := start()
	if err := s.SetReadPaths([]string{tmp + "/secret", filepath.Dir(tmp) + "/*/keys/"}); err != nil {
		t.Fatal(err)
	}
	during := start()
	time.Sleep(3 * idleWait) // what is in the ring is judged by the list of that moment
	if err := s.SetReadPaths(nil); err != nil {
		t.Fatal(err)
	}
	after := start()
	records := end()
	lines := func(pid uint32) (out []string) {
		for _, r := range of(records, event.KindOpen, pid) {
			out = append(out, openLine(&r, tmp))
		}
		return out
	}
	want := []string{
		"TMP/secret 0x0", "TMP/secret 0x0", "TMP/secret 0x0", "TMP/keys/a 0x0", "TMP/keys/more/b 0x0", "TMP/other 0x2", "TMP/secret 0x0 EACCES",
	}
	if diff := cmp.Diff(want, lines(during)); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
	for _, pid := range []uint32{before, after} {
		if diff := cmp.Diff([]string{"TMP/other 0x2"}, lines(pid)); diff != "" {
			t.Errorf("while reads are not watched (-want +got):\n%s", diff)
		}
	}
}

func openLine(r *sensor.Record, tmp string) string {
	line := fmt.Sprintf("%s %#x %s", r.Open.Path, r.Open.Flags&^0x8000, unix.ErrnoName(syscall.Errno(r.Errno)))
	return strings.TrimSpace(strings.ReplaceAll(line, tmp, "TMP"))
}
