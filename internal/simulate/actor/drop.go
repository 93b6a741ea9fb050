package actor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/tiny"
)

// DropExit is the exit code of what drop writes and executes: it proves that the new file really ran.
const DropExit = 23

// drop writes a program and executes it: drop HOW PATH.
func drop(args []string) error {
	if len(args) != 2 {
		return errors.New("drop takes write, copy, rename, overwrite, link, script, or execveat, and a path")
	}
	how, path := args[0], args[1]
	command := []string{path}
	program, err := tinyProgram()
	if err != nil {
		return err
	}
	switch how {
	case "write", "execveat":
		err = write(path, program)
	case "rename":
		if err = write(path+".part", program); err == nil {
			err = os.Rename(path+".part", path)
		}
	case "link":
		if err = errors.Join(remove(path), write(path+".part", program)); err == nil {
			err = os.Link(path+".part", path)
		}
	case "overwrite": // A file of the image keeps its name and place and gets another content.
		err = fill(path, os.O_WRONLY|os.O_TRUNC, program)
	case "copy":
		err = copyFile("/bin/sh", path)
		command = []string{path, "-c", "exit " + strconv.Itoa(DropExit)}
	case "script":
		err = write(path, []byte(fmt.Sprintf("#!/bin/sh\nexit %d\n", DropExit)))
	default:
		return fmt.Errorf("no way %q to drop", how)
	}
	if err != nil {
		return fmt.Errorf("dropping %s: %w", path, err)
	}
	if how == "execveat" {
		return execveat(path)
	}
	return child(command, DropExit, "execve", path)
}

// child runs a command, after reporting the call, and expects an exit code of it.
func child(command []string, want int, call, object string) error {
	c := exec.Command(command[0], command[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	report(now(), call, object, nil)
	err := c.Run()
	if c.ProcessState == nil {
		return err
	}
	if code := c.ProcessState.ExitCode(); code != want {
		return fmt.Errorf("%s ended with %v, not with exit code %d", object, c.ProcessState, want)
	}
	return nil
}

// execveat executes a file by its descriptor. It does not return when that works; the exit code is then DropExit.
func execveat(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings([]string{path})
	if err != nil {
		return err
	}
	none := []*byte{nil}
	empty := new(byte)
	report(now(), "execveat", path, nil)
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&none[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

// write makes an executable file. It removes one that is there first, because a running program cannot be written to.
func write(path string, content []byte) error {
	if err := remove(path); err != nil {
		return err
	}
	return fill(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, content)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func fill(path string, flags int, content []byte) error {
	f, err := os.OpenFile(path, flags, 0o755)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Chmod(0o755), f.Close())
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	content, err := io.ReadAll(io.LimitReader(source, 64<<20))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return write(to, content)
}

// tinyProgram returns a complete executable that does nothing but end with DropExit.
func tinyProgram() ([]byte, error) { return tiny.Program{Exit: DropExit}.ELF() }
