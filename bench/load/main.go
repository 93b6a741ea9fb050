// Command load makes one kind of system call over and over and prints how long that took. It is what the overhead
// measurement runs with and without an agent.
//
//	load exec|fork|read|write|connect|getppid COUNT
//
// Out comes one line: wall and CPU seconds (its own and its children's). It uses one thread and no garbage collection, and
// its processes come from fork(2), so that the loops cost what they would cost in C.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loops are the kinds of load.
var loops = map[string]func(n int) error{
	"exec": execLoop, "fork": forkLoop, "read": readLoop, "write": writeLoop, "connect": connectLoop, "getppid": getppidLoop,
}

// timing is the output.
type timing struct {
	Wall float64 `json:"wall"`
	CPU  float64 `json:"cpu"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: load LOOP COUNT")
	}
	loop, ok := loops[args[0]]
	if !ok {
		var names []string
		for name := range loops {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("no loop %q: there are %s", args[0], strings.Join(names, ", "))
	}
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 {
		return fmt.Errorf("count %q is not a positive number", args[1])
	}
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	before := time.Now()
	if err := loop(n); err != nil {
		return fmt.Errorf("%s loop: %w", args[0], err)
	}
	t := timing{Wall: time.Since(before).Seconds()}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			return err
		}
		t.CPU += float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	return json.NewEncoder(os.Stdout).Encode(t)
}

// fork makes a process with fork(2). The child does not return: it makes one raw system call (execve of path if that is not
// nil) and then exits. Nothing of the Go runtime may run in it, because only this thread exists there.
//
//go:norace
//go:noinline
func fork(path *byte, argv, envp **byte) (int, error) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid != 0 {
		return int(pid), nil
	}
	if path != nil {
		unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(argv)), uintptr(unsafe.Pointer(envp)))
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
	}
}

// await waits for a child and checks how it ended.
func await(pid int, want int) error {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if !status.Exited() || status.ExitStatus() != want {
			return fmt.Errorf("a child ended with status %#x", uint32(status))
		}
		return nil
	}
}

func forkLoop(n int) error {
	for range n {
		pid, err := fork(nil, nil, nil)
		if err != nil {
			return err
		}
		if err := await(pid, 1); err != nil {
			return err
		}
	}
	return nil
}

func execLoop(n int) error {
	path, err := unix.BytePtrFromString("/bin/true")
	if err != nil {
		return err
	}
	argv := []*byte{path, nil}
	envp := []*byte{nil}
	for range n {
		pid, err := fork(path, &argv[0], &envp[0])
		if err != nil {
			return err
		}
		if err := await(pid, 0); err != nil {
			return err
		}
	}
	return nil
}

// readLoop opens a file for reading, which no detection wants to hear of.
func readLoop(n int) error { return openLoop(n, unix.O_RDONLY) }

// writeLoop opens a file for writing.
func writeLoop(n int) error { return openLoop(n, unix.O_WRONLY) }

func openLoop(n, flags int) error {
	folder, err := os.MkdirTemp("", "vedette-load-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		return err
	}
	name, err := unix.BytePtrFromString(file)
	if err != nil {
		return err
	}
	at := unix.AT_FDCWD
	for range n {
		fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(name)), uintptr(flags), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	}
	return nil
}

// connectLoop makes TCP connections over the loopback interface, and resets them so that no port stays in TIME_WAIT.
func connectLoop(n int) error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(listener, 128); err != nil {
		return err
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		return err
	}
	for range n {
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return err
		}
		if err := unix.Connect(client, address); err != nil {
			return err
		}
		server, _, err := unix.Accept(listener)
		if err != nil {
			return err
		}
		unix.Close(client)
		unix.Close(server)
	}
	return nil
}

func getppidLoop(n int) error {
	for range n {
		unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
	}
	return nil
}
