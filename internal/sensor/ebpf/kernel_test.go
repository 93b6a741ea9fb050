package ebpf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// privileged skips the test where BPF cannot be used, unless VEDETTE_REQUIRE_PRIVILEGED says that it must be.
func privileged(t testing.TB) {
	t.Helper()
	err := Check()
	if err == nil {
		var root string
		if root, err = cgroupRoot(); root == "" && err == nil {
			err = errNoCgroup2
		}
	}
	switch {
	case err == nil:
	case os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// newCgroup makes a cgroup for the test and removes it afterwards.
func newCgroup(t testing.TB) string {
	t.Helper()
	root, err := cgroupRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(root, "vedette-sensor-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 { // the last process may still be on its way out
			if err = unix.Rmdir(dir); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("removing %s: %v", dir, err)
	})
	return dir
}

// absent reports whether a hook is one that the kernel need not have.
func absent(err error) bool { return errors.Is(err, errNoCall) || errors.Is(err, errRenamed) }

// watch opens a source for the cgroup and returns a function that ends it and gives all its records.
func watch(t testing.TB, opts Options) (*Source, func() []sensor.Record) {
	t.Helper()
	opts.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range s.kernel.hooks {
		if h := &s.kernel.hooks[i]; h.kinds&(opts.Kinds|always) != 0 && h.link == nil && !absent(h.err) {
			t.Errorf("%s is not attached: %v", h.section, h.err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var records []sensor.Record
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(r *sensor.Record) { records = append(records, cloned(r)) })
	}()
	ended := false
	end := func() []sensor.Record {
		if !ended {
			ended = true
			time.Sleep(3 * idleWait) // a record that is in a ring is read within one wait
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		return records
	}
	t.Cleanup(func() { end() })
	return s, end
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) { w.t.Logf("%s", b); return len(b), nil }

func cloned(r *sensor.Record) sensor.Record {
	c := *r
	for _, b := range []*[]byte{&c.Comm, &c.Exec.Exe, &c.Exec.Script, &c.Exec.Cwd, &c.Exec.Args, &c.Exec.Preload, &c.Exec.LibPath, &c.Open.Path, &c.Socket.Path, &c.DNS.Payload, &c.File.Path, &c.File.Target, &c.Mount.Source, &c.Mount.Target, &c.Mount.FSType} {
		*b = bytes.Clone(*b)
	}
	return c
}

func of(records []sensor.Record, kind event.Kind, pid uint32) (out []sensor.Record) {
	for _, r := range records {
		if r.Kind == kind && r.PID == pid {
			out = append(out, r)
		}
	}
	return out
}

// program copies a small program to a path.
func program(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLifecycle(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	before := boottime()
	_, end := watch(t, Options{Scope: dir})
	var pids []uint32
	for _, name := range []string{"status", "signal"} {
		cmd := testerCommand(name)
		inCgroup(t, dir, cmd)
		pids = append(pids, runTester(t, cmd, false).pid)
	}
	records := end()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	for i, want := range []event.Exit{{Code: 7}, {Signal: 9}} {
		forks, execs, exits := of(records, event.KindFork, pids[i]), of(records, event.KindExec, pids[i]), of(records, event.KindExit, pids[i])
		if len(forks) != 1 || len(execs) != 1 || len(exits) != 1 {
			t.Fatalf("%d forks, %d execs, %d exits of process %d", len(forks), len(execs), len(exits), pids[i])
		}
		f, e, x := forks[0], execs[0], exits[0]
		if x.Exit != want {
			t.Errorf("exit %+v, want %+v", x.Exit, want)
		}
		if f.Start == 0 || f.Start != e.Start || f.Start != x.Start || f.Start < before || f.Boottime > e.Boottime || e.Boottime > x.Boottime {
			t.Errorf("start %d, %d, %d; times %d, %d, %d; test began at %d", f.Start, e.Start, x.Start, f.Boottime, e.Boottime, x.Boottime, before)
		}
		ticks, err := startTicks("/proc/self")
		if err != nil {
			t.Fatal(err)
		}
		if f.PPID != uint32(os.Getpid()) || f.ParentStart/1e7 != ticks {
			t.Errorf("parent %d since %d, want %d since %d0 ms", f.PPID, f.ParentStart, os.Getpid(), ticks)
		}
		for _, r := range []sensor.Record{f, e, x} {
			if r.CgroupID != st.Ino || r.NSPID != r.PID || (r.TID != r.PID && r.Kind != event.KindExit) || r.UID != 0 || r.EUID != 0 || r.GID != 0 || r.EGID != 0 {
				t.Errorf("%s: cgroup %d (want %d), nspid %d, tid %d, uid %d", r.Kind, r.CgroupID, st.Ino, r.NSPID, r.TID, r.UID)
			}
			if mnt, pid := namespace(t, "mnt"), namespace(t, "pid"); r.MntNS != mnt || r.PIDNS != pid {
				t.Errorf("%s: namespaces %d and %d, want %d and %d", r.Kind, r.MntNS, r.PIDNS, mnt, pid)
			}
		}
	}
	for i := 1; i < len(records); i++ {
		if records[i].Boottime+1e6 < records[i-1].Boottime {
			t.Errorf("record %d is %d ns older than the one before", i, records[i-1].Boottime-records[i].Boottime)
		}
	}
}

func namespace(t *testing.T, name string) (inode uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/"+name, &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

func TestExec(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	tmp := realDir(t)
	exe := filepath.Join(tmp, "folder", "program")
	program(t, exe)
	script := filepath.Join(tmp, "script")
	if err := os.WriteFile(script, []byte("#!"+exe+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(exe, &st); err != nil {
		t.Fatal(err)
	}
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()

	_, end := watch(t, Options{Scope: dir})
	start := func(name string, stdin *os.File, args ...string) uint32 {
		cmd := testerCommand(name, args...)
		cmd.Dir = tmp
		cmd.Stdin = stdin
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 0, Gid: 0}}
		inCgroup(t, dir, cmd)
		return runTester(t, cmd, true).pid
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	plain := start("exec", r, exe, "one", "", "three")
	scripted := start("exec", nil, script, "arg")
	many := start("exec-many-args", nil, exe)
	memory := start("exec-memory", nil, exe)
	socket := start("exec-from-socket", nil, exe, server.Addr().String())
	thread := start("exec-from-thread", nil, exe)
	records := end()

	last := func(name string, pid uint32) sensor.Record {
		t.Helper()
		execs := of(records, event.KindExec, pid)
		if len(execs) != 2 { // the tester's own is the first
			t.Fatalf("%s: %d execs", name, len(execs))
		}
		return execs[1]
	}
	t.Run("plain", func(t *testing.T) {
		rec := last("plain", plain)
		e := rec.Exec
		got := []string{string(e.Exe), string(e.Cwd), string(e.Script), string(e.Args), string(e.Preload), string(e.LibPath), string(rec.Comm)}
		want := []string{exe, tmp, "", exe + "\x00one\x00\x00three", "/nothing.so", "/nowhere", "program"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("strings (-want +got):\n%s", diff)
		}
		wantFile := event.File{Dev: st.Dev, Inode: st.Ino, Size: st.Size, MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano()}
		if diff := cmp.Diff(wantFile, e.File); diff != "" {
			t.Errorf("file (-want +got):\n%s", diff)
		}
		var pipe unix.Stat_t
		unix.Fstat(int(r.Fd()), &pipe)
		if e.Stdin.Kind != event.StdioPipe || e.Stdin.Inode != pipe.Ino || e.Stdout.Kind != event.StdioPipe || e.ArgsCut {
			t.Errorf("stdin %+v, want pipe %d; stdout %+v; cut %v", e.Stdin, pipe.Ino, e.Stdout, e.ArgsCut)
		}
	})
	t.Run("script", func(t *testing.T) {
		e := last("script", scripted).Exec
		if string(e.Exe) != exe || string(e.Script) != script || string(e.Args) != exe+"\x00"+script+"\x00arg" {
			t.Errorf("exe %s, script %s, args %q", e.Exe, e.Script, e.Args)
		}
		if e.Stdin.Kind != event.StdioOther { // /dev/null
			t.Errorf("stdin %+v", e.Stdin)
		}
	})
	t.Run("many arguments", func(t *testing.T) {
		e := last("many", many).Exec
		if want := exe + "\x00" + strings.Repeat("y", 5000); !e.ArgsCut || string(e.Args) != want[:4096] {
			t.Errorf("cut %v, %d bytes", e.ArgsCut, len(e.Args))
		}
	})
	t.Run("memory", func(t *testing.T) {
		e := last("memory", memory).Exec
		if e.File.Origin != event.OriginMemory || string(e.Exe) != "/memfd:hidden" || string(e.Args) != "kworker" {
			t.Errorf("origin %s, exe %s, args %q", e.File.Origin, e.Exe, e.Args)
		}
	})
	t.Run("from a socket", func(t *testing.T) {
		e := last("socket", socket).Exec
		if e.Stdin.Kind != event.StdioSocket || e.Stdin.Remote.String() != server.Addr().String() || e.Stdin.Local.Addr() != netip.MustParseAddr("127.0.0.1") || e.Stdin.Local.Port() == 0 || e.Stdin.Inode == 0 {
			t.Errorf("stdin %+v, want remote %s", e.Stdin, server.Addr())
		}
		if e.Stdout.Kind != event.StdioUnix {
			t.Errorf("stdout %+v", e.Stdout)
		}
	})
	t.Run("from a thread", func(t *testing.T) {
		rec := last("thread", thread)
		if string(rec.Exec.Exe) != exe || rec.TID != rec.PID || rec.Start != of(records, event.KindFork, thread)[0].Start {
			t.Errorf("exe %s, tid %d of %d", rec.Exec.Exe, rec.TID, rec.PID)
		}
		if exits := of(records, event.KindExit, thread); len(exits) != 1 {
			t.Errorf("%d exits", len(exits))
		}
	})
}

// A program on an overlay file system, seen from inside its own root, as in a container.
func TestExecOnOverlay(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	tmp := realDir(t)
	for _, d := range []string{"lower/sub", "upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(tmp, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The file systems under a temporary folder may refuse to be an overlay's upper layer; a tmpfs does not.
	layers := filepath.Join(tmp, "layers")
	if err := os.Mkdir(layers, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", layers, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(layers, unix.MNT_DETACH) })
	for _, d := range []string{"lower/sub", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(layers, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The program needs its libraries inside the new root.
	libraries, err := exec.Command("ldd", "/bin/true").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(libraries)) {
		if strings.HasPrefix(word, "/") {
			b, err := os.ReadFile(word)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(layers, "lower", word)
			os.MkdirAll(filepath.Dir(to), 0o755)
			if err := os.WriteFile(to, b, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	program(t, filepath.Join(layers, "lower/bin/program"))
	root := filepath.Join(tmp, "root")
	options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", layers, layers, layers)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })

	_, end := watch(t, Options{Scope: dir})
	start := func() uint32 {
		cmd := testerCommand("exec-in-root", root)
		inCgroup(t, dir, cmd)
		return runTester(t, cmd, true).pid
	}
	image := start()
	program(t, filepath.Join(root, "bin/program")) // the same path, now written on top
	var written unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "bin/program"), &written); err != nil {
		t.Fatal(err)
	}
	upper := start()
	records := end()
	for _, c := range []struct {
		name  string
		pid   uint32
		upper bool
	}{{"from the image", image, false}, {"written later", upper, true}} {
		execs := of(records, event.KindExec, c.pid)
		if len(execs) != 2 {
			t.Fatalf("%s: %d execs", c.name, len(execs))
		}
		e := execs[1].Exec
		if string(e.Exe) != "/bin/program" || string(e.Cwd) != "/sub" || e.File.UpperLayer != c.upper {
			t.Errorf("%s: exe %s, cwd %s, upper layer %v", c.name, e.Exe, e.Cwd, e.File.UpperLayer)
		}
		if c.upper && (e.File.MTime != written.Mtim.Nano() || e.File.Size != written.Size || e.File.Inode != written.Ino) {
			t.Errorf("%s: %+v, stat says %+v", c.name, e.File, written)
		}
	}
}

func TestOpen(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	tmp := realDir(t)
	if err := os.Symlink("relative", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	_, end := watch(t, Options{Scope: dir, Kinds: event.Kinds(0).With(event.KindOpen)})
	cmd := testerCommand("open", tmp)
	inCgroup(t, dir, cmd)
	pid := runTester(t, cmd, true).pid
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(tmp, "relative"), &st); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range of(end(), event.KindOpen, pid) {
		path := strings.Replace(string(r.Open.Path), tmp, "TMP", 1)
		got = append(got, fmt.Sprintf("%s %#x %s", path, r.Open.Flags&^unix.O_LARGEFILE, unix.ErrnoName(syscall.Errno(r.Errno))))
		if path == "TMP/relative" && (r.Open.Dev != st.Dev || r.Open.Inode != st.Ino) {
			t.Errorf("device %d, inode %d; want %d, %d", r.Open.Dev, r.Open.Inode, st.Dev, st.Ino)
		}
	}
	want := []string{
		fmt.Sprintf("TMP/relative %#x ", unix.O_WRONLY|unix.O_CREAT),
		fmt.Sprintf("TMP/relative %#x ", unix.O_RDWR),
		fmt.Sprintf("TMP/relative %#x ", unix.O_RDWR|unix.O_APPEND),
		fmt.Sprintf("TMP/touched %#x ", unix.O_CREAT),
		fmt.Sprintf("TMP/relative %#x ", unix.O_TRUNC),
		fmt.Sprintf("TMP/old %#x ", unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC),
		fmt.Sprintf("TMP/old %#x ", unix.O_WRONLY),
		fmt.Sprintf("TMP/no/such/folder %#x ENOENT", unix.O_WRONLY|unix.O_CREAT),
		fmt.Sprintf("TMP %#x EISDIR", unix.O_RDWR),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("opens (-want +got):\n%s", diff)
	}
}

// A second thread rewrites the path while the call runs; what is reported must be what was opened.
func TestOpenIsNotFooledByRacingThread(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	tmp := realDir(t)
	for name, content := range map[string]string{"aaaa": "", "bbbb": "b"} {
		if err := os.WriteFile(filepath.Join(tmp, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, end := watch(t, Options{Scope: dir, Kinds: event.Kinds(0).With(event.KindOpen)})
	cmd := testerCommand("open-race", tmp)
	inCgroup(t, dir, cmd)
	r := runTester(t, cmd, true)
	var wantA, wantB, gotA, gotB int
	if _, err := fmt.Sscan(r.output, &wantA, &wantB); err != nil {
		t.Fatal(err)
	}
	for _, rec := range of(end(), event.KindOpen, r.pid) {
		switch {
		case rec.Errno != 0:
		case string(rec.Open.Path) == tmp+"/aaaa":
			gotA++
		case string(rec.Open.Path) == tmp+"/bbbb":
			gotB++
		default:
			t.Errorf("opened %q", rec.Open.Path)
		}
	}
	if gotA != wantA || gotB != wantB {
		t.Errorf("reported %d and %d opens, made were %d and %d", gotA, gotB, wantA, wantB)
	}
	if wantA == 0 || wantB == 0 {
		t.Logf("the threads never raced: %d and %d", wantA, wantB)
	}
}

func TestConnect(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	tmp, err := os.MkdirTemp("/tmp", "vs") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	listen := func(network, address string) string {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	tcp4, tcp6 := listen("tcp4", "127.0.0.1:0"), listen("tcp6", "[::1]:0")
	listen("unix", tmp+"/socket")
	listen("unix", "@"+filepath.Base(tmp))
	if err := os.Symlink("socket", tmp+"/link"); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := closed.Addr().String()
	closed.Close()

	_, end := watch(t, Options{Scope: dir, Kinds: event.Kinds(0).With(event.KindConnect)})
	cmd := testerCommand("connect", tcp4, refused, tcp6, tmp)
	inCgroup(t, dir, cmd)
	pid := runTester(t, cmd, true).pid
	var got []string
	for _, r := range of(end(), event.KindConnect, pid) {
		s := r.Socket
		to := string(s.Path)
		if s.Remote.IsValid() {
			to = s.Remote.String()
		}
		got = append(got, fmt.Sprintf("%d/%d/%d %s %s", s.Family, s.Type, s.Protocol, strings.Replace(to, tmp, "TMP", 1), unix.ErrnoName(syscall.Errno(r.Errno))))
	}
	want := []string{
		"2/1/6 " + tcp4 + " ",
		"2/1/6 " + refused + " ",
		"10/1/6 " + tcp6 + " ",
		"10/1/6 " + tcp4 + " ", // mapped
		"2/1/6 " + tcp4 + " ",  // fast open
		"2/2/17 127.0.0.9:9000 ",
		"2/2/17 127.0.0.9:9001 ",
		"2/3/1 127.0.0.10:0 ", // raw
		"2/2/1 127.0.0.10:0 ", // ping
		"1/1/0 TMP/socket ",
		"1/1/0 TMP/socket ", // relative
		"1/1/0 TMP/link ",
		"1/1/0 TMP/socket ", // and whom the link leads to
		"1/1/0 @" + filepath.Base(tmp) + " ",
		"1/1/0 TMP/missing ENOENT",
		"1/1/0 TMP/link ", // io_uring
		"1/1/0 TMP/socket ",
		"1/1/0 TMP/missing ENOENT",
	}
	if groups, err := os.ReadFile("/proc/sys/net/ipv4/ping_group_range"); err == nil && strings.HasPrefix(string(groups), "1\t0") {
		want = slices.DeleteFunc(want, func(line string) bool { return strings.HasPrefix(line, "2/2/1 ") })
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("connects (-want +got):\n%s", diff)
	}
}

func TestBind(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	tmp, err := os.MkdirTemp("/tmp", "vs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	_, end := watch(t, Options{Scope: dir, Kinds: event.Kinds(0).With(event.KindBind)})
	cmd := testerCommand("bind", tmp)
	inCgroup(t, dir, cmd)
	pid := runTester(t, cmd, true).pid
	var got []string
	for _, r := range of(end(), event.KindBind, pid) {
		s := r.Socket
		at := string(s.Path)
		if s.Local.IsValid() {
			at = s.Local.String()
		}
		got = append(got, fmt.Sprintf("%d/%d %s %s", s.Family, s.Type, strings.Replace(at, tmp, "TMP", 1), unix.ErrnoName(syscall.Errno(r.Errno))))
	}
	want := []string{"2/1 127.0.0.8:4567 ", "10/2 [::1]:4568 ", "1/1 TMP/here ", "1/2 @" + filepath.Base(tmp) + " ", "1/1 TMP/here EADDRINUSE"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("binds (-want +got):\n%s", diff)
	}
}

func TestDNS(t *testing.T) {
	privileged(t)
	for _, address := range []string{"127.0.53.77:53", "[::1]:53"} {
		t.Run(address, func(t *testing.T) {
			dir := newCgroup(t)
			serveDNS(t, address)
			s, end := watch(t, Options{Scope: dir, Kinds: event.Kinds(0).With(event.KindDNS)})
			cmd := testerCommand("resolve", address)
			inCgroup(t, dir, cmd)
			pid := runTester(t, cmd, true).pid
			var got []string
			for _, r := range end() {
				if r.Kind != event.KindDNS {
					continue
				}
				d := r.DNS
				var m dnsmessage.Message
				if err := m.Unpack(d.Payload); err != nil {
					t.Fatalf("payload %q: %v", d.Payload, err)
				}
				if d.Remote != netip.MustParseAddrPort(address) || d.Local.Port() == 0 || d.PayloadCut || m.Response == d.Egress || (len(m.Answers) == 1) != m.Response {
					t.Errorf("%+v", d)
				}
				if r.PID != pid || r.Start == 0 || r.CgroupID == 0 {
					t.Errorf("process %d, want %d", r.PID, pid)
				}
				got = append(got, fmt.Sprintf("%s %d %v", m.Questions[0].Name, d.Protocol, d.Egress))
			}
			want := []string{
				"connected.test. 17 true", "connected.test. 17 false", "unconnected.test. 17 true",
				"unconnected.test. 17 false", "stream.test. 6 true", "stream.test. 6 false",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if n := s.Stats().Dropped[event.KindDNS]; n != 0 {
				t.Errorf("%d messages dropped", n)
			}
		})
	}
}

func TestPtrace(t *testing.T) {
	privileged(t)
	for _, c := range []struct {
		name  string
		flags uintptr
	}{{"host", 0}, {"pid namespace", syscall.CLONE_NEWPID}} {
		t.Run(c.name, func(t *testing.T) {
			dir := newCgroup(t)
			_, end := watch(t, Options{Scope: dir, Kinds: event.Kinds(0).With(event.KindPtrace)})
			cmd := testerCommand("ptrace")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: c.flags}
			inCgroup(t, dir, cmd)
			r := runTester(t, cmd, true)
			var self, child uint32
			if _, err := fmt.Sscan(r.output, &self, &child); err != nil {
				t.Fatal(err)
			}
			records := end()
			var target sensor.Record
			for _, rec := range records {
				if rec.Kind == event.KindFork && rec.NSPID == child && rec.PPID == r.pid {
					target = rec
				}
			}
			if target.PID == 0 {
				t.Fatalf("no fork of process %d", child)
			}
			if c.flags != 0 && (target.PID == child || self != 1) {
				t.Errorf("process %d is %d inside its namespace, and its parent %d", target.PID, child, self)
			}
			type call struct {
				Request, Target uint32
				Start           uint64
				Errno           int32
			}
			var got []call
			for _, rec := range of(records, event.KindPtrace, r.pid) {
				got = append(got, call{rec.PtraceRequest, rec.PtraceTarget, rec.PtraceStart, rec.Errno})
				if rec.NSPID != self {
					t.Errorf("nspid %d, want %d", rec.NSPID, self)
				}
			}
			got = slices.Compact(got) // what is written across two words is poked twice
			want := []call{
				{unix.PTRACE_ATTACH, target.PID, target.Start, 0},
				{unix.PTRACE_POKEDATA, target.PID, target.Start, 0},
				{unix.PTRACE_SETREGSET, target.PID, target.Start, 0},
				{unix.PTRACE_ATTACH, 0, 0, int32(unix.ESRCH)},
				{unix.PTRACE_TRACEME, uint32(os.Getpid()), of(records, event.KindFork, r.pid)[0].ParentStart, 0},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScope(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 {
			if unix.Rmdir(inner) == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	root, err := cgroupRoot()
	if err != nil {
		t.Fatal(err)
	}
	_, end := watch(t, Options{Scope: strings.TrimPrefix(dir, root), Kinds: event.AllKinds})
	outside := runTester(t, testerCommand("bind", t.TempDir()), false).pid
	below := testerCommand("nothing")
	inCgroup(t, inner, below)
	inside := runTester(t, below, true).pid
	// Open something ourselves: the sensor's own process is never reported.
	if err := os.WriteFile(filepath.Join(t.TempDir(), "own"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]int{}
	for _, r := range end() {
		seen[r.PID]++
	}
	if seen[inside] < 3 || seen[outside] != 0 || seen[uint32(os.Getpid())] != 0 {
		t.Errorf("%d records of the process inside, %d of the one outside, %d of our own", seen[inside], seen[outside], seen[uint32(os.Getpid())])
	}
}

func TestScopeErrors(t *testing.T) {
	privileged(t)
	for scope, want := range map[string]string{"/no/such/cgroup": "there is no cgroup", "/../../../proc": "there is no cgroup", "/cgroup.procs": "is not a directory"} {
		if _, err := New(Options{Scope: scope}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("scope %s: error %v, want %q", scope, err, want)
		}
	}
}

func TestWholeHostLeavesItselfOut(t *testing.T) {
	privileged(t)
	_, end := watch(t, Options{Kinds: event.AllKinds})
	if err := os.WriteFile(filepath.Join(t.TempDir(), "own"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pid := runTester(t, testerCommand("nothing"), true).pid
	records := end()
	if len(of(records, event.KindExec, pid)) != 1 {
		t.Error("a process of the host was not seen")
	}
	for _, r := range records {
		if r.PID == uint32(os.Getpid()) && r.Kind != event.KindFork {
			t.Errorf("the sensor reports itself: %+v", r)
		}
	}
}

// What was made is what was delivered and what was counted as dropped.
func TestLossIsCounted(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	s, err := New(Options{Scope: dir, Kinds: event.Kinds(0).With(event.KindOpen), ActivityBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const made = 5000
	cmd := testerCommand("open-many", filepath.Join(t.TempDir(), "file"), fmt.Sprint(made))
	inCgroup(t, dir, cmd)
	pid := runTester(t, cmd, true).pid // nobody reads: the ring fills

	ctx, cancel := context.WithCancel(context.Background())
	opens, lifecycle := 0, 0
	time.AfterFunc(5*idleWait, cancel)
	if err := s.Run(ctx, func(r *sensor.Record) {
		switch {
		case r.PID != pid:
		case r.Kind == event.KindOpen:
			opens++
		default:
			lifecycle++
		}
	}); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.Dropped[event.KindOpen] == 0 || uint64(opens)+st.Dropped[event.KindOpen] != made || st.Delivered[event.KindOpen] != uint64(opens) {
		t.Errorf("made %d, delivered %d (counted %d), dropped %d", made, opens, st.Delivered[event.KindOpen], st.Dropped[event.KindOpen])
	}
	if lifecycle != 3 || st.Dropped[event.KindFork]+st.Dropped[event.KindExec]+st.Dropped[event.KindExit] != 0 {
		t.Errorf("%d of fork, exec and exit arrived, %+v dropped", lifecycle, st.Dropped)
	}
}

func TestSetKinds(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	s, end := watch(t, Options{Scope: dir})
	missing := func() (n int) {
		for i := range s.kernel.hooks {
			if absent(s.kernel.hooks[i].err) {
				n++
			}
		}
		return n
	}
	attached := func() (n int) {
		for i, h := range s.Hooks() {
			if h.Attached {
				n++
			}
			if h.Attached != (h.Kinds&s.kinds != 0) && !absent(s.kernel.hooks[i].err) || h.Reason == "" {
				t.Errorf("%+v", h)
			}
		}
		return n
	}
	if n := attached(); n != 3 {
		t.Errorf("%d hooks attached for lifecycle only", n)
	}
	run := func() uint32 {
		cmd := testerCommand("open-many", filepath.Join(t.TempDir(), "file"), "1")
		inCgroup(t, dir, cmd)
		return runTester(t, cmd, true).pid
	}
	off := run()
	if err := s.SetKinds(event.AllKinds); err != nil {
		t.Fatal(err)
	}
	if n := attached(); n != len(s.Hooks())-missing() {
		t.Errorf("%d of %d hooks attached for all kinds", n, len(s.Hooks()))
	}
	on := run()
	if err := s.SetKinds(0); err != nil {
		t.Fatal(err)
	}
	if n := attached(); n != 3 {
		t.Errorf("%d hooks still attached", n)
	}
	again := run()
	records := end()
	for pid, want := range map[uint32]int{off: 0, on: 1, again: 0} {
		if got := len(of(records, event.KindOpen, pid)); got != want {
			t.Errorf("%d opens, want %d", got, want)
		}
	}
}

func TestSnapshot(t *testing.T) {
	privileged(t)
	dir := newCgroup(t)
	cmd := testerCommand("wait", "first", "second")
	cmd.Env = append(cmd.Env, "LD_PRELOAD=/nothing.so")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	inCgroup(t, dir, cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	pid := uint32(cmd.Process.Pid)

	s, end := watch(t, Options{Scope: dir})
	var records []sensor.Record
	if err := s.Snapshot(context.Background(), func(r *sensor.Record) { records = append(records, cloned(r)) }); err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 || records[0].PID != pid || records[0].Kind != event.KindExec {
		t.Fatalf("%d records, want one of process %d", len(records), pid)
	}
	r := records[0]
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got := []string{string(r.Exec.Exe), string(r.Exec.Cwd), string(r.Exec.Args), string(r.Exec.Preload)}
	if diff := cmp.Diff([]string{exe, cwd, "/proc/self/exe\x00first\x00second", "/nothing.so"}, got); diff != "" {
		t.Errorf("strings (-want +got):\n%s", diff)
	}
	in.Close()
	cmd.Wait()
	exits := of(end(), event.KindExit, pid)
	if len(exits) != 1 || exits[0].Start != r.Start || exits[0].ParentStart != r.ParentStart || r.Start == 0 {
		t.Errorf("snapshot %+v, exit %+v", r, exits)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	privileged(t)
	registry := prometheus.NewRegistry()
	s, err := New(Options{Kinds: event.AllKinds, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	var ids []ebpf.ProgramID
	for i := range s.kernel.hooks {
		if s.kernel.hooks[i].prog == nil && absent(s.kernel.hooks[i].err) {
			continue
		}
		info, err := s.kernel.hooks[i].prog.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		ids = append(ids, id)
	}
	if families, err := registry.Gather(); err != nil || len(families) != 3 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := s.SetKinds(0); !errors.Is(err, errClosed) {
		t.Errorf("setting kinds after close: %v", err)
	}
	s.Stats()
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("%d metrics after close, %v", len(families), err)
	}
	for _, id := range ids {
		for range 100 { // the kernel frees programs after a grace period
			p, err := ebpf.NewProgramFromID(id)
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err == nil {
				p.Close()
			}
			time.Sleep(20 * time.Millisecond)
		}
		if p, err := ebpf.NewProgramFromID(id); err == nil {
			p.Close()
			t.Errorf("program %d is still there", id)
		}
	}
}
