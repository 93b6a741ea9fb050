package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

func init() {
	for name, do := range map[string]func(args []string) error{
		"change-files":    changeFiles,
		"change-memory":   changeMemory,
		"change-mounts":   changeMounts,
		"change-root":     changeRoot,
		"change-rights":   changeRights,
		"reach-process":   reachProcess,
		"reach-kernel":    reachKernel,
		"use-sockets":     useSockets,
		"open-own-memory": openOwnMemory,
		"print-and-wait":  func([]string) error { _, err := os.Stdin.Read(make([]byte, 1)); return err },
	} {
		testers[name] = do
	}
}

// step is one thing that a tester does, and the error that it must end with.
type step struct {
	name string
	err  error
	want error
}

func check(steps ...step) error {
	for _, s := range steps {
		if s.err != s.want {
			return fmt.Errorf("%s: error %v, want %v", s.name, s.err, s.want)
		}
	}
	return nil
}

// call makes a system call of this thread alone, and lets no library change what is asked.
func call(number uintptr, args ...uintptr) (uintptr, error) {
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return r, errno
	}
	return r, nil
}

func text(s string) uintptr {
	b := append([]byte(s), 0)
	pinned = append(pinned, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// pinned keeps what text made.
var pinned [][]byte

func changeFiles(args []string) error {
	if err := unix.Chdir(args[0]); err != nil {
		return err
	}
	if err := os.WriteFile("a", []byte("#!"), 0o600); err != nil {
		return err
	}
	dir, err := unix.Open("sub", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	a, err := unix.Open("a", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	here := ^uintptr(99)
	do := func(number uintptr, args ...uintptr) error { _, err := call(number, args...); return err }
	if runtime.GOARCH == "amd64" {
		if err := check(
			step{"rename", do(82, text("a"), text("./sub/../b")), nil},
			step{"link", do(86, text("b"), text("c")), nil},
			step{"symlink", do(88, text("../b"), text("s")), nil},
			step{"unlink", do(87, text("c")), nil},
			step{"chmod", do(90, text("b"), 0o4755), nil},
		); err != nil {
			return err
		}
	} else if err := unix.Rename("a", "b"); err != nil {
		return err
	}
	return check(
		step{"renameat", do(unix.SYS_RENAMEAT, here, text("b"), uintptr(dir), text("d")), nil},
		step{"renameat2", do(unix.SYS_RENAMEAT2, uintptr(dir), text("d"), here, text(args[0]+"/other"), unix.RENAME_NOREPLACE), unix.EEXIST},
		step{"linkat", do(unix.SYS_LINKAT, uintptr(dir), text("d"), uintptr(dir), text("e"), 0), nil},
		step{"symlinkat", do(unix.SYS_SYMLINKAT, text("/etc/passwd"), uintptr(dir), text("t")), nil},
		step{"unlinkat", do(unix.SYS_UNLINKAT, uintptr(dir), text("e"), 0), nil},
		step{"unlinkat of a folder", do(unix.SYS_UNLINKAT, here, text("empty"), unix.AT_REMOVEDIR), nil},
		step{"unlinkat of nothing", do(unix.SYS_UNLINKAT, here, text("nothing"), 0), unix.ENOENT},
		step{"fchmodat", do(unix.SYS_FCHMODAT, uintptr(dir), text("d"), 0o700), nil},
		step{"fchmod", do(unix.SYS_FCHMOD, uintptr(a), 0o644), nil},
		step{"fchmodat2", do(unix.SYS_FCHMODAT2, here, text("s"), 0o777, unix.AT_SYMLINK_NOFOLLOW), unix.EOPNOTSUPP},
		step{"memfd_create", do(unix.SYS_MEMFD_CREATE, text("hidden"), unix.MFD_CLOEXEC), nil},
		step{"memfd_create", do(unix.SYS_MEMFD_CREATE, text("wrong"), 1<<30), unix.EINVAL},
	)
}

// told writes a record as a line of a fixture. The folder's name becomes TMP.
func told(r *sensor.Record, tmp string) string {
	var b strings.Builder
	b.WriteString(r.Kind.String())
	word := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	switch r.Kind {
	case event.KindRename, event.KindLink, event.KindSymlink, event.KindUnlink, event.KindChmod, event.KindMmap, event.KindModule, event.KindMemfd, event.KindChroot, event.KindPivotRoot:
		word("%s", r.File.Path)
		if len(r.File.Target) > 0 {
			word("to %s", r.File.Target)
		}
		if r.File.Flags != 0 {
			word("flags %#x", r.File.Flags)
		}
		if r.Kind == event.KindChmod {
			word("mode %#o", r.File.Mode)
		}
		if r.File.File.Origin != event.OriginUnknown {
			word("in %s", r.File.File.Origin)
		}
	case event.KindMprotect:
		word("%d at %s %s", r.Memory.Protection, r.Memory.Region, r.File.Path)
	case event.KindMount, event.KindUmount:
		word("%q on %q type %q flags %#x", r.Mount.Source, r.Mount.Target, r.Mount.FSType, r.Mount.Flags)
	case event.KindSocket, event.KindListen, event.KindAccept:
		word("%d/%d/%d %s %s %s", r.Socket.Family, r.Socket.Type, r.Socket.Protocol, r.Socket.Local, r.Socket.Remote, r.Socket.Path)
	case event.KindDup:
		word("%d from %d family %d %s %s", r.Call.Command, r.Call.Flags, r.Socket.Family, r.Socket.Local, r.Socket.Remote)
	case event.KindSetuid, event.KindCapset:
		word("%d %d %#x %v", int32(r.Creds.UID), int32(r.Creds.EUID), r.Creds.Capabilities, r.Creds.SetuidExe)
	case event.KindVMRead, event.KindVMWrite, event.KindKill, event.KindSetns:
		word("%#x", r.PtraceRequest)
	default:
		word("%#x %#x", r.Call.Command, r.Call.Flags)
	}
	if r.Errno != 0 {
		word("%s", unix.ErrnoName(syscall.Errno(r.Errno)))
	}
	line := strings.Join(strings.Fields(b.String()), " ")
	if tmp != "" {
		line = strings.ReplaceAll(line, tmp, "TMP")
	}
	return line
}

// watchTester runs a tester in a scope of its own and returns its records of the kinds.
func watchTester(t *testing.T, cmd *exec.Cmd, kinds ...event.Kind) (run, []sensor.Record) {
	t.Helper()
	dir := newCgroup(t)
	var set event.Kinds
	for _, k := range kinds {
		set = set.With(k)
	}
	_, end := watch(t, Options{Scope: dir, Kinds: set})
	inCgroup(t, dir, cmd)
	r := runTester(t, cmd, true)
	var out []sensor.Record
	for _, rec := range end() {
		if rec.PID == r.pid && set.Has(rec.Kind) {
			out = append(out, rec)
		}
	}
	return r, out
}

func compare(t *testing.T, records []sensor.Record, tmp, fixture string) {
	t.Helper()
	var got []string
	for i := range records {
		got = append(got, told(&records[i], tmp))
	}
	want := strings.Split(strings.TrimSpace(fixture), "\n")
	for i := range want {
		want[i] = strings.TrimSpace(want[i])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestFileChanges(t *testing.T) {
	privileged(t)
	tmp := realDir(t)
	for _, d := range []string{"sub", "empty"} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(tmp, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, records := watchTester(t, testerCommand("change-files", tmp), event.KindRename, event.KindLink, event.KindSymlink, event.KindUnlink, event.KindChmod, event.KindMemfd)
	old := `
		rename TMP/a to TMP/b
		link TMP/c to TMP/b
		symlink TMP/s to ../b
		unlink TMP/c
		chmod TMP/b mode 04755`
	if runtime.GOARCH != "amd64" {
		old = "rename TMP/a to TMP/b"
	}
	compare(t, records, tmp, old+`
		rename TMP/b to TMP/sub/d
		rename TMP/sub/d to TMP/other flags 0x1 EEXIST
		link TMP/sub/e to TMP/sub/d
		symlink TMP/sub/t to /etc/passwd
		unlink TMP/sub/e
		unlink TMP/nothing ENOENT
		chmod TMP/sub/d mode 0700
		chmod TMP/sub/d mode 0644
		chmod TMP/s flags 0x100 mode 0777 ENOTSUP
		memfd hidden flags 0x1 in memory
		memfd wrong flags 0x40000000 EINVAL`)
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(tmp, "sub/d"), &st); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, r := range records {
		if r.Kind == event.KindChmod && r.File.Inode != 0 {
			found = true
			if r.File.Inode != st.Ino || r.File.Dev != st.Dev || r.File.File.Size != 2 || r.File.File.MTime != st.Mtim.Nano() {
				t.Errorf("file %+v, stat says %+v", r.File.File, st)
			}
		}
	}
	if !found {
		t.Error("no file by its descriptor")
	}
}

func openOwnMemory([]string) error {
	fd, err := unix.Open("/proc/self/mem", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	unix.Close(fd)
	if err := unix.Chdir("/proc/self"); err != nil {
		return err
	}
	if fd, err = unix.Open("mem", unix.O_WRONLY, 0); err != nil {
		return err
	}
	return unix.Close(fd)
}

// Whoever writes to another's memory by its file is to be found by one path, however it got there.
func TestOpenMemory(t *testing.T) {
	privileged(t)
	r, records := watchTester(t, testerCommand("open-own-memory"), event.KindOpen)
	if len(records) != 2 {
		t.Fatalf("%d opens", len(records))
	}
	for _, rec := range records {
		if want := fmt.Sprintf("/proc/%d/mem", r.pid); string(rec.Open.Path) != want {
			t.Errorf("opened %s, want %s", rec.Open.Path, want)
		}
	}
}

func changeMemory(args []string) error {
	page := uintptr(os.Getpagesize())
	file, err := unix.Open(args[0], unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	mapAt := func(fd int, prot, flags uintptr) (uintptr, error) {
		return call(unix.SYS_MMAP, 0, page, prot, flags, uintptr(fd), 0)
	}
	const private = unix.MAP_PRIVATE
	if _, err := mapAt(file, unix.PROT_READ|unix.PROT_EXEC, private); err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	if _, err := mapAt(file, unix.PROT_READ, private); err != nil { // no event
		return fmt.Errorf("mmap for reading: %w", err)
	}
	if _, err := mapAt(-1, unix.PROT_READ|unix.PROT_EXEC, private|unix.MAP_ANONYMOUS); err != nil { // no event
		return fmt.Errorf("mmap of nothing: %w", err)
	}
	if _, err := call(unix.SYS_MMAP, 0, page, unix.PROT_READ|unix.PROT_EXEC, private, uintptr(file), 1); err != unix.EINVAL {
		return fmt.Errorf("mmap from the middle of a page: %v", err)
	}
	memory, err := unix.MemfdCreate("code", 0)
	if err != nil {
		return err
	}
	if err := unix.Ftruncate(memory, int64(page)); err != nil {
		return err
	}

	protect := func(at, prot uintptr) error { _, err := call(unix.SYS_MPROTECT, at, page, prot); return err }
	anonymous, err := mapAt(-1, unix.PROT_READ|unix.PROT_WRITE, private|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	mapped, err := mapAt(file, unix.PROT_READ, private)
	if err != nil {
		return err
	}
	inMemory, err := mapAt(memory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	heap, err := call(unix.SYS_BRK, 0)
	if err != nil {
		return err
	}
	if _, err := call(unix.SYS_BRK, heap+4*page); err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	var stack uintptr
	for _, line := range strings.Split(string(maps), "\n") {
		if strings.HasSuffix(line, "[stack]") {
			if _, err := fmt.Sscanf(line, "%x", &stack); err != nil {
				return err
			}
		}
	}
	const all = unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC
	return check(
		step{"anonymous", protect(anonymous, unix.PROT_READ|unix.PROT_EXEC), nil},
		step{"back", protect(anonymous, unix.PROT_READ), nil}, // no event
		step{"file", protect(mapped, unix.PROT_READ|unix.PROT_EXEC), nil},
		step{"memfd", protect(inMemory, all), nil},
		step{"heap", protect((heap+2*page)&^(page-1), all), nil},
		step{"stack", protect(stack, all), nil},
		step{"nothing", protect(page, all), unix.ENOMEM},
	)
}

func TestMemory(t *testing.T) {
	privileged(t)
	tmp := realDir(t)
	lib := filepath.Join(tmp, "library")
	if err := os.WriteFile(lib, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	_, records := watchTester(t, testerCommand("change-memory", lib), event.KindMmap, event.KindMprotect)
	var own []sensor.Record
	for _, rec := range records {
		if rec.Kind == event.KindMmap && !strings.HasPrefix(string(rec.File.Path), tmp) && rec.Errno == 0 {
			continue // the libraries of the tester itself, if it has any
		}
		own = append(own, rec)
	}
	compare(t, own, tmp, `
		mmap TMP/library flags 0x5
		mmap TMP/library flags 0x5 EINVAL
		mprotect 5 at anonymous
		mprotect 5 at file TMP/library
		mprotect 7 at memfd /memfd:code
		mprotect 7 at heap
		mprotect 7 at stack
		mprotect 7 at anonymous ENOMEM`)
	var st unix.Stat_t
	if err := unix.Stat(lib, &st); err != nil {
		t.Fatal(err)
	}
	if f := own[0].File; f.Inode != st.Ino || f.Dev != st.Dev || f.File.Size != 8192 || f.File.CTime != st.Ctim.Nano() || f.File.UpperLayer {
		t.Errorf("mapped %+v, stat says %+v", f, st)
	}
	if m := own[2].Memory; m.Start == 0 || m.Start%uint64(os.Getpagesize()) != 0 || m.Length != uint64(os.Getpagesize()) {
		t.Errorf("memory %+v", m)
	}
}

func changeMounts(args []string) error {
	if err := unix.Chdir(args[0]); err != nil {
		return err
	}
	if err := check(
		step{"private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), nil},
		step{"mount", unix.Mount("some", "sub", "tmpfs", unix.MS_NOSUID, ""), nil},
		step{"mount nowhere", unix.Mount("none", "missing", "tmpfs", 0, ""), unix.ENOENT},
		step{"umount", unix.Unmount("sub", unix.MNT_DETACH), nil},
		step{"umount again", unix.Unmount("sub", 0), unix.EINVAL},
	); err != nil {
		return err
	}
	fs, err := unix.Fsopen("tmpfs", 0)
	if err != nil {
		return err
	}
	if err := unix.FsconfigSetString(fs, "source", "split"); err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, 0, unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return err
	}
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, "link", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, "sub", unix.OPEN_TREE_CLONE)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	unix.Close(tree)
	_, err = unix.OpenTree(unix.AT_FDCWD, "sub", 0) // no event
	return err
}

func TestMounts(t *testing.T) {
	privileged(t)
	tmp := realDir(t)
	if err := os.Mkdir(filepath.Join(tmp, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sub", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	cmd := testerCommand("change-mounts", tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	_, records := watchTester(t, cmd, event.KindMount, event.KindUmount)
	// Where the kernel left a descriptor, the target is where the mount is and not the link that led there.
	compare(t, records, tmp, fmt.Sprintf(`
		mount "" on "/" type "" flags %#x
		mount "some" on "TMP/sub" type "tmpfs" flags %#x
		mount "none" on "TMP/missing" type "tmpfs" flags 0x0 ENOENT
		umount "" on "TMP/sub" type "" flags %#x
		umount "" on "TMP/sub" type "" flags 0x0 EINVAL
		mount "split" on "" type "tmpfs" flags %#x
		mount "split" on "TMP/sub" type "tmpfs" flags %#x
		mount "TMP/sub" on "" type "" flags 0x1`,
		unix.MS_REC|unix.MS_PRIVATE, unix.MS_NOSUID, unix.MNT_DETACH, unix.MOUNT_ATTR_NOEXEC, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS))
}

func changeRoot(args []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("root", args[0]+"/new", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(args[0]+"/new/old", 0o755); err != nil {
		return err
	}
	if err := unix.Chdir(args[0]); err != nil {
		return err
	}
	if err := check(
		step{"chroot nowhere", unix.Chroot("missing"), unix.ENOENT},
		step{"pivot_root", unix.PivotRoot(args[0]+"/new", args[0]+"/new/old"), nil},
		step{"chroot", unix.Chroot("/old/../old/tmp"), nil},
	); err != nil {
		return err
	}
	return nil
}

func TestRoot(t *testing.T) {
	privileged(t)
	tmp := realDir(t)
	if err := os.Mkdir(filepath.Join(tmp, "new"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := testerCommand("change-root", tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	_, records := watchTester(t, cmd, event.KindChroot, event.KindPivotRoot)
	compare(t, records, tmp, `
		chroot TMP/missing ENOENT
		pivot_root TMP/new to TMP/new/old
		chroot /old/tmp`)
}

func changeRights(args []string) error {
	same := ^uintptr(0)
	uts, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	wanted := uint32(1<<unix.CAP_SETUID | 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_KILL)
	data[0].Effective = wanted
	data[1].Effective = 0
	do := func(number uintptr, args ...uintptr) error { _, err := call(number, args...); return err }
	child := exec.Command("/proc/self/exe")
	child.Env = []string{testerVariable + "=nothing"}
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET}
	return check(
		step{"child", child.Run(), nil},
		step{"setns", unix.Setns(uts, 0), nil},
		step{"setns to another type", unix.Setns(uts, unix.CLONE_NEWNET), unix.EINVAL},
		step{"unshare", unix.Unshare(unix.CLONE_NEWUTS | unix.CLONE_FS), nil},
		step{"unshare of files", unix.Unshare(unix.CLONE_FILES), nil}, // no event
		step{"capset", unix.Capset(&header, &data[0]), nil},
		step{"setfsuid", func() error { do(unix.SYS_SETFSUID, 77); return nil }(), nil},
		step{"setresuid", do(unix.SYS_SETRESUID, same, 1234, same), nil},
		step{"setreuid", do(unix.SYS_SETREUID, same, 0), nil},
		step{"setresuid", do(unix.SYS_SETRESUID, 1234, 1234, 1234), nil},
		step{"setuid", do(unix.SYS_SETUID, 0), unix.EPERM},
		step{"capset", unix.Capset(&header, &data[0]), unix.EPERM},
		step{"exec", unix.Exec(args[0], []string{"program"}, nil), nil},
	)
}

func TestRights(t *testing.T) {
	privileged(t)
	tmp := realDir(t)
	setuid := filepath.Join(tmp, "program")
	program(t, setuid)
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(tmp), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(setuid, 0o4755); err != nil {
		t.Fatal(err)
	}
	caps := uint32(1<<unix.CAP_SETUID | 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_KILL)
	_, records := watchTester(t, testerCommand("change-rights", setuid), event.KindSetuid, event.KindCapset, event.KindSetns, event.KindUnshare)
	compare(t, records, tmp, fmt.Sprintf(`
		unshare 0x0 %#x
		setns %#x
		setns %#x EINVAL
		unshare 0x0 %#x
		capset -1 -1 %#x false
		setuid -1 77 0x0 false
		setuid -1 1234 0x0 false
		setuid -1 0 0x0 false
		setuid 1234 1234 0x0 false
		setuid 0 0 0x0 false EPERM
		capset -1 -1 %#x false EPERM
		setuid 1234 0 0x0 true`,
		unix.CLONE_NEWIPC|unix.CLONE_NEWNET, unix.CLONE_NEWUTS, unix.CLONE_NEWNET, unix.CLONE_NEWUTS|unix.CLONE_FS, caps, caps))
}

// reachProcess reads and writes the memory of a process and signals it; both are known by number.
func reachProcess(args []string) error {
	var pid int
	if _, err := fmt.Sscan(args[0], &pid); err != nil {
		return err
	}
	var at uint64
	if _, err := fmt.Sscan(args[1], &at); err != nil {
		return err
	}
	local := []unix.Iovec{{Base: new(byte), Len: 1}}
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: 1}}
	_, read := unix.ProcessVMReadv(pid, local, remote, 0)
	_, write := unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: 8, Len: 1}}, 0)
	_, nobody := unix.ProcessVMReadv(1<<21, local, remote, 0)
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	own := exec.Command("/proc/self/exe")
	own.Env = []string{testerVariable + "=print-and-wait"}
	in, err := own.StdinPipe()
	if err != nil {
		return err
	}
	if err := own.Start(); err != nil {
		return err
	}
	defer func() { in.Close(); own.Wait() }()
	do := func(number uintptr, args ...uintptr) error { _, err := call(number, args...); return err }
	return check(
		step{"process_vm_readv", read, nil},
		step{"process_vm_writev", write, unix.EFAULT},
		step{"process_vm_readv of nobody", nobody, unix.ESRCH},
		step{"kill", unix.Kill(pid, unix.SIGCONT), nil},
		step{"pidfd_send_signal", unix.PidfdSendSignal(pidfd, unix.SIGURG, nil, 0), nil},
		step{"kill within", unix.Kill(own.Process.Pid, unix.SIGCONT), nil}, // no event
		step{"setresuid", do(unix.SYS_SETRESUID, 1234, 1234, 1234), nil},
		step{"kill as nobody", unix.Kill(pid, unix.SIGTERM), unix.EPERM},
		step{"kill of nobody", unix.Kill(1<<21, unix.SIGTERM), unix.ESRCH},
	)
}

func TestReachProcess(t *testing.T) {
	privileged(t)
	target := testerCommand("wait")
	in, err := target.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); target.Wait() }()
	pid := target.Process.Pid
	ticks, err := startTicks(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	var at uint64
	if _, err := fmt.Sscanf(string(code), "%x", &at); err != nil {
		t.Fatal(err)
	}
	_, records := watchTester(t, testerCommand("reach-process", fmt.Sprint(pid), fmt.Sprint(at)), event.KindVMRead, event.KindVMWrite, event.KindKill)
	compare(t, records, "", `
		vm_read 0x0
		vm_write 0x0 EFAULT
		vm_read 0x0 ESRCH
		kill 0x12
		kill 0x17
		kill 0xf EPERM`)
	for _, r := range records {
		if r.Errno == int32(unix.ESRCH) {
			if r.PtraceTarget != 0 || r.PtraceStart != 0 {
				t.Errorf("target %d since %d, want none", r.PtraceTarget, r.PtraceStart)
			}
		} else if r.PtraceTarget != uint32(pid) || r.PtraceStart/1e7 != ticks {
			t.Errorf("%s: target %d since %d, want %d since %d0 ms", r.Kind, r.PtraceTarget, r.PtraceStart, pid, ticks)
		}
	}
}

func reachKernel([]string) error {
	do := func(number uintptr, args ...uintptr) error { _, err := call(number, args...); return err }
	array := struct{ kind, key, value, entries uint32 }{2, 4, 8, 1}
	params := [30]uint32{2: 1 << 6} // IORING_SETUP_R_DISABLED
	key := []byte("secret")
	fd, err := call(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&array)), unsafe.Sizeof(array))
	if err != nil {
		return err
	}
	element := struct {
		fd, _      uint32
		key, value uint64
		flags      uint64
	}{fd: uint32(fd), key: uint64(uintptr(unsafe.Pointer(new(uint32)))), value: uint64(uintptr(unsafe.Pointer(new(uint64))))}
	program := struct{ kind, count uint32 }{unix.BPF_PROG_TYPE_KPROBE, 0}
	runtime.KeepAlive(&array)
	return check(
		step{"map look-up", do(unix.SYS_BPF, 1, uintptr(unsafe.Pointer(&element)), unsafe.Sizeof(element)), nil}, // no event
		step{"program", do(unix.SYS_BPF, 5, uintptr(unsafe.Pointer(&program)), unsafe.Sizeof(program)), unix.E2BIG},
		step{"userfaultfd", do(unix.SYS_USERFAULTFD, unix.O_CLOEXEC), nil},
		step{"keyctl", do(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0), nil},
		step{"add_key", do(unix.SYS_ADD_KEY, text("user"), text("vedette-test"), uintptr(unsafe.Pointer(&key[0])), 6, ^uintptr(2)), nil},
		step{"request_key", do(unix.SYS_REQUEST_KEY, text("user"), text("vedette-missing"), 0, 0), unix.ENOKEY},
		step{"io_uring_setup", do(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params[0]))), nil},
		step{"io_uring_setup of none", do(unix.SYS_IO_URING_SETUP, 0, uintptr(unsafe.Pointer(&params[0]))), unix.EINVAL},
	)
}

func TestReachKernel(t *testing.T) {
	privileged(t)
	_, records := watchTester(t, testerCommand("reach-kernel"), event.KindBPF, event.KindUserfaultfd, event.KindKeyctl, event.KindIOUring)
	compare(t, records, "", fmt.Sprintf(`
		bpf 0x0 0x2
		bpf 0x5 0x2 E2BIG
		userfaultfd 0x0 %#x
		keyctl 0x1 0x0
		keyctl 0x100 0x0
		keyctl 0x101 0x0 ENOKEY
		io_uring 0x0 0x40
		io_uring 0x0 0x40 EINVAL`, unix.O_CLOEXEC))
}

func useSockets(args []string) error {
	socket := func(family, kind, protocol int) error {
		fd, err := unix.Socket(family, kind, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	if err := check(
		step{"packet", socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x300), nil},
		step{"raw", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), nil},
		step{"raw", socket(unix.AF_INET6, unix.SOCK_RAW, 0), unix.EPROTONOSUPPORT},
		step{"netlink", socket(unix.AF_NETLINK, unix.SOCK_RAW, 0), nil},  // no event
		step{"stream", socket(unix.AF_INET, unix.SOCK_STREAM, 0), nil},   // no event
		step{"datagram", socket(unix.AF_INET6, unix.SOCK_DGRAM, 0), nil}, // no event
		step{"unix", socket(unix.AF_UNIX, unix.SOCK_STREAM, 0), nil},     // no event
	); err != nil {
		return err
	}
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(l, &unix.SockaddrInet4{Port: 4569, Addr: [4]byte{127, 0, 0, 8}}); err != nil {
		return err
	}
	if err := unix.Listen(l, 1); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.SetsockoptInt(c, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(c, &unix.SockaddrInet4{Port: 4570, Addr: [4]byte{127, 0, 0, 9}}); err != nil {
		return err
	}
	if err := unix.Connect(c, &unix.SockaddrInet4{Port: 4569, Addr: [4]byte{127, 0, 0, 8}}); err != nil {
		return err
	}
	unix.SetNonblock(l, true)
	a, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	if _, _, err := unix.Accept4(l, 0); err != unix.EAGAIN { // no event
		return fmt.Errorf("accept of nobody: %v", err)
	}
	if _, _, err := unix.Accept4(c, 0); err != unix.EINVAL {
		return fmt.Errorf("accept on a connection: %v", err)
	}
	u, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(u, &unix.SockaddrUnix{Name: "@" + args[0]}); err != nil {
		return err
	}
	if err := unix.Listen(u, 1); err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], 0); err != nil {
		return err
	}
	if err := unix.Dup3(a, 0, 0); err != nil {
		return err
	}
	if err := unix.Dup3(a, a+20, 0); err != nil { // no event
		return err
	}
	if runtime.GOARCH == "amd64" {
		_, err = call(33 /* dup2 */, uintptr(pipe[1]), 1)
	} else {
		err = unix.Dup3(pipe[1], 1, 0)
	}
	if err != nil {
		return err
	}
	unix.Close(0)
	if n, err := unix.FcntlInt(uintptr(a), unix.F_DUPFD, 0); n != 0 || err != nil {
		return fmt.Errorf("fcntl gave %d, %w", n, err)
	}
	unix.Close(0)
	if n, err := unix.Dup(a); n != 0 || err != nil {
		return fmt.Errorf("dup gave %d, %w", n, err)
	}
	fmt.Fprintf(os.Stderr, "%d %d", a, pipe[1])
	return nil
}

func TestSockets(t *testing.T) {
	privileged(t)
	name := filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid())
	cmd := testerCommand("use-sockets", name)
	r, records := watchTester(t, cmd, event.KindSocket, event.KindListen, event.KindAccept, event.KindDup)
	var accepted, pipe int
	if _, err := fmt.Sscan(r.errors, &accepted, &pipe); err != nil {
		t.Fatal(err)
	}
	from := 0 // the runtime's own
	for from < len(records) && records[from].Kind == event.KindDup {
		from++
	}
	compare(t, records[from:], name, fmt.Sprintf(`
		socket 17/3/768 invalid AddrPort invalid AddrPort
		socket 2/3/1 invalid AddrPort invalid AddrPort
		socket 10/3/0 invalid AddrPort invalid AddrPort EPROTONOSUPPORT
		listen 2/1/6 127.0.0.8:4569 invalid AddrPort
		accept 2/1/6 127.0.0.8:4569 127.0.0.9:4570
		accept 2/1/6 127.0.0.9:4570 127.0.0.8:4569 EINVAL
		listen 1/1/0 invalid AddrPort invalid AddrPort @TMP
		dup 0 from %[1]d family 2 127.0.0.8:4569 127.0.0.9:4570
		dup 1 from %[2]d family 0 invalid AddrPort invalid AddrPort
		dup 0 from %[1]d family 2 127.0.0.8:4569 127.0.0.9:4570
		dup 0 from %[1]d family 2 127.0.0.8:4569 127.0.0.9:4570`, accepted, pipe))
}

// Modules cannot be loaded by every kernel; where they can, the refusal of a broken one is an event.
func TestModuleHooks(t *testing.T) {
	privileged(t)
	s, _ := watch(t, Options{Kinds: event.Kinds(0).With(event.KindModule)})
	_, err := os.Stat("/proc/modules")
	for _, h := range s.Hooks() {
		if h.Kinds.Has(event.KindModule) && h.Attached != !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: attached %v, %s", h.Name, h.Attached, h.Reason)
		}
	}
}
