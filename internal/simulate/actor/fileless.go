package actor

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/tiny"
)

// The samples of malware: harmless programs whose hashes are what lists know.
const (
	Malicious       = "malicious"
	CustomMalicious = "custom"
)

// sampleProgram returns the file that stands for a sample. It differs from every other file by its data.
func sampleProgram(name string) ([]byte, error) {
	if name != Malicious && name != CustomMalicious {
		return nil, fmt.Errorf("no sample %q", name)
	}
	// Malware stays for a while: struct timespec, 0.3 s.
	data := binary.LittleEndian.AppendUint64(make([]byte, 8), 300_000_000)
	return tiny.Program{
		Data:  append(data, "Vedette's simulation: "+name+" sample, harmless"...),
		Calls: []tiny.Call{{Number: unix.SYS_NANOSLEEP, Args: [6]uint64{tiny.DataAddress}}},
		Exit:  DropExit,
	}.ELF()
}

// SampleSHA256 returns the hash of a sample in lower-case hexadecimal.
func SampleSHA256(name string) (string, error) {
	program, err := sampleProgram(name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(program)
	return hex.EncodeToString(sum[:]), nil
}

// sample writes a sample and executes it: sample NAME HOW PATH.
func sample(args []string) error {
	if len(args) != 3 {
		return errors.New("sample takes malicious or custom, a way and a path")
	}
	program, err := sampleProgram(args[0])
	if err != nil {
		return err
	}
	path := args[2]
	switch args[1] {
	case "write":
		err = write(path, program)
	case "rename":
		if err = write(path+".part", program); err == nil {
			err = os.Rename(path+".part", path)
		}
	case "execveat":
		if err := write(path, program); err != nil {
			return err
		}
		return execveat(path)
	case "memory":
		fd, err := memoryFile(path, program)
		if err != nil {
			return err
		}
		return executeFD(fd, path)
	case "child": // The one who writes is not the one who executes.
		if err := write(path, program); err != nil {
			return err
		}
		return child([]string{"sh", "-c", path}, DropExit, "execve", path)
	default:
		return fmt.Errorf("no way %q to run a sample", args[1])
	}
	if err != nil {
		return err
	}
	return child([]string{path}, DropExit, "execve", path)
}

// standIn executes a program that does nothing under a tool's name and with its arguments: stand-in PATH [ARGUMENTS...].
func standIn(args []string) error {
	if len(args) == 0 {
		return errors.New("stand-in takes a path and arguments")
	}
	program, err := tiny.Program{Data: []byte(filepath.Base(args[0]))}.ELF()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(args[0]), 0o755); err != nil {
		return err
	}
	if err := write(args[0], program); err != nil {
		return err
	}
	return child(args, 0, "execve", args[0])
}

// memoryFile makes an in-memory file with the content.
func memoryFile(name string, content []byte) (int, error) {
	at := now()
	fd, err := unix.MemfdCreate(filepath.Base(name), 0)
	report(at, "memfd_create", name, err)
	if err != nil {
		return -1, err
	}
	if n, err := unix.Write(fd, content); err != nil || n != len(content) {
		return -1, fmt.Errorf("writing memory file: %d bytes, %v", n, err)
	}
	return fd, nil
}

// fileless executes a program that is in no folder: fileless HOW. The exit code is DropExit.
func fileless(args []string) error {
	if len(args) != 1 {
		return errors.New("fileless takes a way")
	}
	program, err := tinyProgram()
	if err != nil {
		return err
	}
	switch args[0] {
	case "memfd", "proc", "sealed", "shell":
		fd, err := memoryFile("", program)
		if err != nil {
			return err
		}
		path := fmt.Sprintf("/proc/self/fd/%d", fd)
		switch args[0] {
		case "memfd":
			return executeFD(fd, "memfd")
		case "sealed":
			// A program that hides behind the name of a kernel thread, as many do.
			return unix.Exec(path, []string{"[kworker/0:1]"}, nil)
		case "shell": // Somebody else executes it.
			path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
			return exits(exec.Command("sh", "-c", path))
		}
		report(now(), "execve", path, nil)
		return unix.Exec(path, []string{path}, nil)
	case "script": // The interpreter reads the file by its descriptor.
		fd, err := memoryFile("notes", []byte(fmt.Sprintf("#!/bin/sh\nexit %d\n", DropExit)))
		if err != nil {
			return err
		}
		return executeFD(fd, "memfd")
	case "deleted":
		path := fmt.Sprintf("/tmp/once-%d", os.Getpid())
		if err := write(path, program); err != nil {
			return err
		}
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		return executeFD(fd, path)
	case "unnamed": // O_TMPFILE: a file that never had a name.
		fd, err := unix.Open("/mnt/memory", unix.O_TMPFILE|unix.O_RDWR, 0o700)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, program); err != nil {
			return err
		}
		again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		unix.Close(fd) // A file that is open for writing cannot be executed.
		return executeFD(again, "unnamed")
	}
	return fmt.Errorf("no way %q", args[0])
}

// executeFD becomes the program that a descriptor is open on.
func executeFD(fd int, name string) error {
	argv, err := syscall.SlicePtrFromStrings([]string{name})
	if err != nil {
		return err
	}
	none, empty := []*byte{nil}, new(byte)
	report(now(), "execveat", name, nil)
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&none[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

// exits runs a command, reports it, and ends with its exit code.
func exits(c *exec.Cmd) error {
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	report(now(), "execve", c.Path, nil)
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	return err
}

// antidebug asks to be traced by the parent, which nobody does but a program that wants to know whether it is traced
// already: antidebug HOW.
func antidebug(args []string) error {
	if len(args) != 1 {
		return errors.New("antidebug takes tiny, twice, compat or perl")
	}
	const traceMe = 0 // PTRACE_TRACEME
	call := tiny.Call{Number: unix.SYS_PTRACE, Args: [6]uint64{traceMe}}
	p := tiny.Program{Exit: DropExit, Calls: []tiny.Call{call}}
	switch args[0] {
	case "tiny":
	case "twice": // The second call must fail; a debugger that pretends lets it succeed.
		p.Calls = append(p.Calls, call)
	case "compat":
		p.Calls = []tiny.Call{{Number: 26, Args: call.Args, Compat: true}}
	case "perl":
		return child([]string{"perl", "-e", fmt.Sprintf("syscall(%d,0,0,0,0); exit %d", unix.SYS_PTRACE, DropExit)}, DropExit, "ptrace", "PTRACE_TRACEME")
	default:
		return fmt.Errorf("no way %q", args[0])
	}
	return runTiny(p, "ptrace", "PTRACE_TRACEME")
}

// runTiny writes and runs a program that makes one interesting call and ends with DropExit.
func runTiny(p tiny.Program, call, object string) error {
	program, err := p.ELF()
	if err != nil {
		return err
	}
	path := "/tmp/tiny-" + strconv.Itoa(os.Getpid())
	if err := write(path, program); err != nil {
		return err
	}
	defer os.Remove(path)
	return child([]string{path}, DropExit, call, object)
}
