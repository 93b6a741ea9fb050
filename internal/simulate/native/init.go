package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/netns"
)

// initArgument tells the program that it is to become the first process of a container.
const initArgument = "simulate-init"

// MaybeInit turns this process into the first process of a container when it was started as one; it does not return then.
// Otherwise it does nothing. Call it first in main.
func MaybeInit() {
	if len(os.Args) != 2 || os.Args[1] != initArgument || os.Getpid() != 1 {
		return
	}
	runtime.LockOSThread() // Capabilities and the network belong to a thread.
	config, report := os.NewFile(3, "config"), os.NewFile(4, "report")
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	var s initSettings
	err := json.NewDecoder(config).Decode(&s)
	config.Close()
	if err == nil {
		err = s.become()
	}
	fmt.Fprint(report, err)
	os.Exit(127)
}

// become sets up the container from within and replaces this program by the command. It returns only an error.
func (s initSettings) become() error {
	if err := s.root(); err != nil {
		return fmt.Errorf("making root file system: %w", err)
	}
	if err := unix.Sethostname([]byte(s.Name[:min(len(s.Name), 63)])); err != nil {
		return fmt.Errorf("setting host name: %w", err)
	}
	if err := netns.Loopback(s.Addresses); err != nil {
		return err
	}
	if !s.Privileged {
		if err := dropCapabilities(); err != nil {
			return err
		}
	}
	program, err := lookPath(s.Command[0], s.Env)
	if err != nil {
		return err
	}
	if err := unix.Exec(program, s.Command, s.Env); err != nil {
		return &fs.PathError{Op: "exec", Path: program, Err: err}
	}
	return nil
}

// root builds the root file system on a tmpfs that only this mount namespace knows, and moves there.
func (s initSettings) root() error {
	// Nothing that is mounted here may show on the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// The tmpfs covers the image's parent folder here; the image stays reachable through its descriptor.
	image, err := unix.Open(s.Image, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening image: %w", err)
	}
	scratch := filepath.Dir(s.Image)
	if err := unix.Mount("tmpfs", scratch, "tmpfs", unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mounting tmpfs: %w", err)
	}
	upper, work, merged := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work"), filepath.Join(scratch, "root")
	for _, folder := range []string{upper, work, merged} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
	}
	lower := fmt.Sprintf("/proc/self/fd/%d", image)
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_NODEV, options); err != nil {
		// A kernel without overlayfs, or a state folder on a file system that cannot be a lower one.
		if err := copyImage(lower, merged); err != nil {
			return fmt.Errorf("copying image: %w", err)
		}
		if err := unix.Mount(merged, merged, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	unix.Close(image)
	if err := s.mounts(merged); err != nil {
		return err
	}
	if err := s.files(merged); err != nil {
		return err
	}
	if err := os.Chdir(merged); err != nil {
		return err
	}
	// pivot_root(2): with both paths the same, the old root ends up on top of the new one and is then let go.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving old root: %w", err)
	}
	return os.Chdir("/")
}

// copyImage is the fallback for an overlay. The folder is named by its descriptor (/proc/self/fd/N), because its path is
// covered by now.
func copyImage(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from+"/.")); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(to, "tmp"), 0o777|fs.ModeSticky)
}

// mounts mounts what belongs into every container, and what the specification asks for.
func (s initSettings) mounts(root string) error {
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	for _, m := range []struct {
		kind, target, options string
		flags                 uintptr
		optional              bool
	}{
		{"proc", "proc", "", quiet, false},
		{"sysfs", "sys", "", quiet | unix.MS_RDONLY, true},
		{"tmpfs", "dev", "mode=0755,size=64k", unix.MS_NOSUID | unix.MS_NOEXEC, false},
		{"tmpfs", "dev/shm", "mode=1777,size=64m", unix.MS_NOSUID | unix.MS_NODEV, false},
		{"devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620", unix.MS_NOSUID | unix.MS_NOEXEC, true},
		{"mqueue", "dev/mqueue", "", quiet, true},
	} {
		target := filepath.Join(root, m.target)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, target, m.kind, m.flags, m.options); err != nil && !m.optional {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if _, err := os.Stat("/dev/" + name); err != nil && name != "null" {
			continue // The host may be a container itself that has no terminal, for instance.
		}
		if err := bindFile("/dev/"+name, filepath.Join(root, "dev", name)); err != nil {
			return fmt.Errorf("mounting /dev/%s: %w", name, err)
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(root, "dev", name)); err != nil {
			return err
		}
	}
	for _, folder := range s.Tmpfs {
		target, err := inRoot(root, folder)
		if err == nil {
			err = os.MkdirAll(target, 0o755)
		}
		if err == nil {
			err = unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
		}
		if err != nil {
			return fmt.Errorf("mounting memory on %s: %w", folder, err)
		}
	}
	for _, m := range s.Mounts {
		if err := bind(root, m.Source, m.Target, m.ReadOnly); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.Source, m.Target, err)
		}
	}
	return nil
}

// bind mounts a file or folder of the host. The target's folders are made as the engine would make them; they are in the
// image, which is ours, so that no hostile link can lead the path out of it.
func bind(root, source, target string, readOnly bool) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if target, err = inRoot(root, target); err != nil {
		return err
	}
	if !info.IsDir() {
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := bindFile(source, target); err != nil {
			return err
		}
	} else {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	if readOnly {
		return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

// inRoot follows the image's own absolute links (/var/run is one) within root.
func inRoot(root, target string) (string, error) {
	at := root
	for part := range strings.SplitSeq(strings.Trim(filepath.Clean(target), "/"), "/") {
		at = filepath.Join(at, part)
		for hops := 0; ; hops++ {
			link, err := os.Readlink(at)
			if err != nil {
				break // It is no link, or not there yet.
			}
			if hops == 8 {
				return "", errors.New("too many links")
			}
			if filepath.IsAbs(link) {
				at = filepath.Join(root, link)
			} else {
				at = filepath.Join(filepath.Dir(at), link)
			}
			if at != root && !strings.HasPrefix(at, root+"/") {
				return "", errors.New("a link leads out of the container")
			}
		}
	}
	return at, nil
}

func bindFile(source, target string) error {
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	f.Close()
	return unix.Mount(source, target, "", unix.MS_BIND, "")
}

// files writes what differs from container to container.
func (s initSettings) files(root string) error {
	var resolv strings.Builder
	for _, n := range s.Nameservers {
		fmt.Fprintf(&resolv, "nameserver %s\n", n)
	}
	for name, text := range map[string]string{
		"etc/hostname":    s.Name + "\n",
		"etc/hosts":       "127.0.0.1 localhost " + s.Name + "\n::1 localhost\n",
		"etc/resolv.conf": resolv.String(),
	} {
		f, err := os.OpenFile(filepath.Join(root, name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		_, err = io.WriteString(f, text)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
