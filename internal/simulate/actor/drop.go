package actor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropExit is the exit code of what drop writes and executes: it proves that the new file really ran.
const DropExit = 23

// execute replaces the actor by a command: exec COMMAND....
func execute(args []string) error {
	if len(args) == 0 {
		return errors.New("exec takes a command")
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	report(now(), "execve", program, nil)
	return &os.PathError{Op: "exec", Path: program, Err: unix.Exec(program, args, os.Environ())}
}

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

// tinyProgram returns a complete ELF executable that does nothing but end with DropExit (see elf(5)). Its machine code is
// exit_group(DropExit).
func tinyProgram() ([]byte, error) {
	var machine uint16
	var code []byte
	switch runtime.GOARCH {
	case "amd64":
		machine = 62
		code = []byte{0xbf, DropExit, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05} // mov edi; mov eax; syscall
	case "arm64":
		machine = 183
		for _, instruction := range []uint32{0xd2800000 | DropExit<<5, 0xd2800008 | 94<<5, 0xd4000001} { // mov x0; mov x8; svc 0
			code = binary.LittleEndian.AppendUint32(code, instruction)
		}
	default:
		return nil, fmt.Errorf("no small program for %s", runtime.GOARCH)
	}
	const base, headers = 0x400000, 64 + 56
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	u16 := func(v ...uint16) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint16(b, x)
		}
	}
	u32 := func(v uint32) { b = binary.LittleEndian.AppendUint32(b, v) }
	u64 := func(v ...uint64) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, x)
		}
	}
	u16(2, machine) // ET_EXEC
	u32(1)
	u64(base+headers, 64, 0) // entry, program headers, section headers
	u32(0)
	u16(64, 56, 1, 0, 0, 0)
	size := uint64(headers + len(code))
	u32(1) // PT_LOAD
	u32(5) // readable and executable
	u64(0, base, base, size, size, 0x1000)
	return append(b, code...), nil
}
