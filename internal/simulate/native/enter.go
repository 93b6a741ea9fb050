package native

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/thread"
)

// enter starts a command in the container's namespaces and cgroup, with output and error on out.
//
// A thread of this process joins the namespaces, starts the command from there, and is not used for anything else.
func (c *Container) enter(argv []string, out *os.File) (*os.Process, error) {
	pidfd, err := unix.PidfdOpen(c.info.InitPID, 0)
	if err != nil {
		return nil, fmt.Errorf("opening first process: %w", err)
	}
	defer unix.Close(pidfd)
	select {
	case <-c.ended: // The pid may be another process's by now.
		return nil, fmt.Errorf("it has ended")
	default:
	}
	cgroup, err := os.Open(c.cgroupFolder())
	if err != nil {
		return nil, fmt.Errorf("opening cgroup: %w", err)
	}
	defer cgroup.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()

	var p *os.Process
	err = thread.Sacrifice(func() error {
		var err error
		p, err = c.startInside(pidfd, argv, &os.ProcAttr{
			Dir: "/", Env: c.environment, Files: []*os.File{null, out, out},
			Sys: &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(cgroup.Fd())},
		})
		return err
	})
	return p, err
}

func (c *Container) startInside(pidfd int, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	// Threads of one process share their root and working folder, and such a one may not change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("preparing thread: %w", err)
	}
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET
	if err := unix.Setns(pidfd, namespaces); err != nil {
		return nil, fmt.Errorf("entering namespaces: %w", err)
	}
	if !c.info.Privileged {
		if err := dropCapabilities(); err != nil {
			return nil, err
		}
	}
	program, err := lookPath(argv[0], c.environment)
	if err != nil {
		return nil, err
	}
	return os.StartProcess(program, argv, attr)
}

// lookPath finds a command in PATH as execvp(3) does, in the calling thread's mount namespace.
func lookPath(name string, environment []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	search := searchPath
	for _, e := range environment {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			search = p
		}
	}
	for folder := range strings.SplitSeq(search, ":") {
		candidate := path.Join("/", folder, name)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", &fs.PathError{Op: "exec", Path: name, Err: fs.ErrNotExist}
}
