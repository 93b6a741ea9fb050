package actor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/tiny"
)

// userModeOnly is UFFD_USER_MODE_ONLY of linux/userfaultfd.h.
const userModeOnly = 1

// bogusModule is what is loaded as a kernel module: no kernel takes it.
var bogusModule = []byte("\x7fELF this is no module, Vedette's simulation made it")

// kernel makes a system call that a kernel may well refuse; the attempt is the attack: kernel WHAT HOW [PATH].
func kernel(args []string) error {
	if len(args) < 2 {
		return errors.New("kernel takes userfaultfd, module or mount, and a way")
	}
	switch args[0] {
	case "userfaultfd":
		return userfaultfd(args[1])
	case "module":
		return module(args[1])
	case "mount":
		if len(args) == 5 {
			return mount(args[1], args[2], args[3], args[4])
		}
	}
	return fmt.Errorf("no attack %v", args)
}

func userfaultfd(how string) error {
	flags := uintptr(unix.O_CLOEXEC | unix.O_NONBLOCK)
	switch how {
	case "any":
	case "user-mode":
		flags |= userModeOnly
	case "user": // As an ordinary user, who is refused on most machines.
		c := exec.Command("/proc/self/exe", Argument, "kernel", "userfaultfd", "any")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: appUID, Gid: appUID}}
		return c.Run()
	case "tiny":
		call := tiny.Call{Number: unix.SYS_USERFAULTFD, Args: [6]uint64{uint64(flags)}}
		return runTiny(tiny.Program{Calls: []tiny.Call{call}, Exit: DropExit}, "userfaultfd", "")
	case "compat":
		call := tiny.Call{Number: 374, Args: [6]uint64{uint64(flags)}, Compat: true}
		return runTiny(tiny.Program{Calls: []tiny.Call{call}, Exit: DropExit}, "userfaultfd", "")
	default:
		return fmt.Errorf("no way %q", how)
	}
	at := now()
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, flags, 0, 0)
	report(at, "userfaultfd", "", errnoError(errno))
	if errno == 0 {
		unix.Close(int(fd))
	}
	return nil
}

func errnoError(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func module(how string) error {
	path := fmt.Sprintf("/tmp/vedette_sim_%d.ko", os.Getpid())
	if err := write(path, bogusModule); err != nil {
		return err
	}
	defer os.Remove(path)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	at, call := now(), "init_module"
	switch how {
	case "init":
		err = unix.InitModule(bogusModule, "")
	case "finit":
		call, err = "finit_module", unix.FinitModule(int(f.Fd()), "", 0)
	case "forced": // MODULE_INIT_IGNORE_MODVERSIONS | MODULE_INIT_IGNORE_VERMAGIC
		call, err = "finit_module", unix.FinitModule(int(f.Fd()), "", 3)
	case "memory":
		var fd int
		if fd, err = memoryFile("module", bogusModule); err != nil {
			return err
		}
		at, call = now(), "finit_module"
		err = unix.FinitModule(fd, "", 0)
	case "compat":
		p := tiny.Program{Data: bogusModule, Exit: DropExit}
		p.Calls = []tiny.Call{{Number: 128, Args: [6]uint64{tiny.DataAddress, uint64(len(bogusModule)), tiny.DataAddress}, Compat: true}}
		return runTiny(p, "init_module", "")
	default:
		return fmt.Errorf("no way %q", how)
	}
	report(at, call, path, err)
	if err == nil {
		return errors.New("the kernel has taken a file that is no module")
	}
	return nil
}

// mount tries to mount. The devices that are named do not exist, and the container's mounts are its own.
func mount(how, source, target, kind string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	at := now()
	var err error
	switch how {
	case "mount":
		err = unix.Mount(source, target, kind, 0, "")
		report(at, "mount", source, err)
		if err == nil {
			err = unix.Unmount(target, unix.MNT_DETACH)
			return err
		}
	case "device": // A node is made first, for a device that nobody has: 240 to 254 are for local use.
		source = filepath.Join("/tmp", source)
		if err := os.Remove(source); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := unix.Mknod(source, unix.S_IFBLK|0o600, int(unix.Mkdev(254, 250))); err != nil {
			return err
		}
		at = now()
		err = unix.Mount(source, target, kind, 0, "")
		report(at, "mount", source, err)
	case "bind":
		err = unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, "")
		report(at, "mount", source, err)
		if err == nil {
			return unix.Unmount(target, unix.MNT_DETACH)
		}
	case "new": // fsopen, fsconfig, fsmount, move_mount
		return mountNew(source, target, kind)
	case "tree": // open_tree, move_mount
		var fd int
		fd, err = unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		report(at, "open_tree", source, err)
		at = now()
		err = unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
		report(at, "move_mount", target, err)
		if err == nil {
			return unix.Unmount(target, unix.MNT_DETACH)
		}
	default:
		return fmt.Errorf("no way %q", how)
	}
	return nil
}

func mountNew(source, target, kind string) error {
	at := now()
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	report(at, "fsopen", kind, err)
	if err == nil {
		defer unix.Close(fd)
		_ = unix.FsconfigSetString(fd, "source", source)
		_ = unix.FsconfigCreate(fd) // It fails: there is no such device.
	}
	at = now()
	mounted, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	report(at, "fsmount", source, err)
	at = now()
	err = unix.MoveMount(mounted, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	report(at, "move_mount", target, err)
	if err == nil {
		return unix.Unmount(target, unix.MNT_DETACH)
	}
	return nil
}

// escape tries to get at the host: escape HOW [PATH]. What it aims at is not the host's.
func escape(args []string) error {
	if len(args) == 0 {
		return errors.New("escape takes a way")
	}
	switch args[0] {
	case "write": // Whether or not the file is there.
		if len(args) != 2 {
			break
		}
		at := now()
		f, err := os.OpenFile(args[1], os.O_WRONLY, 0)
		report(at, "open", args[1], err)
		if err == nil {
			return f.Close()
		}
		return nil
	case "relative":
		if len(args) != 2 {
			break
		}
		folder, file := filepath.Split(args[1])
		if err := os.Chdir(folder); err != nil {
			return err
		}
		return escape([]string{"write", file})
	case "descriptor": // CVE-2019-5736: the file is opened through a descriptor that says nothing about it.
		if len(args) != 2 {
			break
		}
		fd, err := unix.Open(args[1], unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return escape([]string{"write", fmt.Sprintf("/proc/self/fd/%d", fd)})
	case "replace":
		if len(args) != 2 {
			break
		}
		program, err := tinyProgram()
		if err != nil {
			return err
		}
		if err := write(args[1]+".new", program); err != nil {
			return err
		}
		at := now()
		err = os.Rename(args[1]+".new", args[1])
		report(at, "rename", args[1], err)
		return err
	case "working-folder": // CVE-2024-21626: the working folder is a descriptor that a runtime has left open.
		fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		folder := fmt.Sprintf("/proc/self/fd/%d", fd)
		if err := unix.Chdir(folder); err != nil {
			return err
		}
		report(now(), "execve", folder, nil)
		argv := []string{"sh", "-c", "cat ../../../../etc/hostname >/dev/null"}
		environment := []string{"PWD=" + folder}
		for _, e := range os.Environ() {
			if !strings.HasPrefix(e, "PWD=") {
				environment = append(environment, e)
			}
		}
		return unix.Exec("/bin/sh", argv, environment)
	case "release-agent":
		return releaseAgent()
	}
	return fmt.Errorf("no attack %v", args)
}

// releaseAgent mounts a hierarchy of cgroups that has no controller and only this attack's name, and writes to its release
// agent. Nothing ever calls that: no cgroup of it asks for it. The hierarchy goes with its last mount.
func releaseAgent() error {
	folder := fmt.Sprintf("/tmp/cgroup-%d", os.Getpid())
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	defer os.Remove(folder)
	if err := unix.Mount("cgroup", folder, "cgroup", 0, fmt.Sprintf("none,name=vedette-sim-%d", os.Getpid())); err != nil {
		report(now(), "mount", folder, err)
		// Where hierarchies of the first version are missing, the attempt is the write alone.
		return escape([]string{"write", "/sys/fs/cgroup/rdma/release_agent"})
	}
	defer unix.Unmount(folder, 0)
	path := folder + "/release_agent"
	at := now()
	err := os.WriteFile(path, []byte("/bin/true"), 0)
	report(at, "open", path, err)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte("\n"), 0)
}

// setuid becomes root from an ordinary user by a file that should not be able to do it: setuid HOW.
func setuid(args []string) error {
	if len(args) != 1 {
		return errors.New("setuid takes a way")
	}
	path := fmt.Sprintf("/usr/local/bin/.helper-%d", os.Getpid())
	p := tiny.Program{Exit: DropExit}
	command := []string{path}
	var err error
	switch args[0] {
	case "setuid", "capability":
		p.Calls = []tiny.Call{{Number: unix.SYS_SETUID}}
	case "setresuid":
		p.Calls = []tiny.Call{{Number: unix.SYS_SETRESUID}}
	case "compat":
		p.Calls = []tiny.Call{{Number: 213, Compat: true}} // setuid32
	case "sh", "bash":
		if err := copyFile("/bin/"+args[0], path); err != nil {
			return err
		}
		command = append(command, "-p", "-c", fmt.Sprintf("[ -w /etc/shadow-sim ] && exit %d", DropExit))
		if err := os.WriteFile("/etc/shadow-sim", nil, 0o600); err != nil {
			return err
		}
		defer os.Remove("/etc/shadow-sim")
	default:
		return fmt.Errorf("no way %q", args[0])
	}
	if p.Calls != nil {
		program, err := p.ELF()
		if err != nil {
			return err
		}
		if err := write(path, program); err != nil {
			return err
		}
	}
	defer os.Remove(path)
	if args[0] == "capability" { // setcap cap_setuid=ep: struct vfs_cap_data of linux/capability.h
		err = unix.Setxattr(path, "security.capability", []byte{1, 0, 0, 2, 1 << unix.CAP_SETUID, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0)
	} else {
		err = unix.Chmod(path, 0o4755)
	}
	if err != nil {
		return fmt.Errorf("preparing %s: %w", path, err)
	}
	c := exec.Command(command[0], command[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: appUID, Gid: appUID}}
	report(now(), "execve", path, nil)
	err = c.Run()
	if c.ProcessState == nil || c.ProcessState.ExitCode() != DropExit {
		return fmt.Errorf("%s: %v", path, err)
	}
	return nil
}
