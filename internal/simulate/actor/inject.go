package actor

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// injected is what the tracer writes over the victim's zero.
const injected = 0x7665646574746521

// inject has one child process change another: inject HOW. The tracer is not the victim's ancestor, as a debugger that
// started its program would be.
func inject(args []string) error {
	if len(args) != 1 {
		return errors.New("inject takes a way")
	}
	v := exec.Command("/proc/self/exe", Argument, "victim")
	v.Stderr = os.Stderr
	in, err := v.StdinPipe()
	if err != nil {
		return err
	}
	out, err := v.StdoutPipe()
	if err != nil {
		return err
	}
	if err := v.Start(); err != nil {
		return err
	}
	var t *exec.Cmd
	address, err := bufio.NewReader(io.LimitReader(out, 64)).ReadString('\n')
	if err == nil {
		t = injector(args[0], v.Process.Pid, strings.TrimSpace(address))
		t.Stdout, t.Stderr = os.Stdout, os.Stderr
		if strings.HasSuffix(args[0], "denied") {
			t.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: appUID, Gid: appUID}}
		}
		err = t.Run()
	}
	refused := t != nil && t.ProcessState != nil && t.ProcessState.ExitCode() == refusedExit
	if refused {
		err = nil
	}
	in.Close() // The victim ends.
	ended := v.Wait()
	if err != nil {
		return fmt.Errorf("injecting by %s: %w", args[0], err)
	}
	// The victim's exit code says whether its memory was changed.
	changed := ended == nil
	if want := !harmless[args[0]] && !refused; changed != want {
		return fmt.Errorf("injecting by %s: victim's memory changed: %v, expected %v (%v)", args[0], changed, want, ended)
	}
	return nil
}

// refusedExit is how a program ends to which the container's engine forbids the call altogether, as some do with
// process_vm_writev(2). The attempt is the attack.
const refusedExit = 5

// harmless are the ways that leave the victim's value alone.
var harmless = map[string]bool{"registers": true, "denied": true, "mem-denied": true, "vm-denied": true, "vm-nowhere": true}

// injector returns the command that writes into the process at the address: another actor, or a program of the image.
func injector(how string, pid int, address string) *exec.Cmd {
	value := "!ettedev" // injected, as the bytes are in memory on a little-endian machine
	switch how {
	case "mem-dd":
		report(now(), "open", fmt.Sprintf("/proc/%d/mem", pid), nil)
		return exec.Command("sh", "-c", fmt.Sprintf("printf %%s '%s' | dd of=/proc/%d/mem bs=1 seek=%s conv=notrunc 2>/dev/null", value, pid, address))
	case "mem-perl":
		report(now(), "open", fmt.Sprintf("/proc/%d/mem", pid), nil)
		return exec.Command("perl", "-e", fmt.Sprintf(`open(M,"+<","/proc/%d/mem") or die; sysseek(M,%s,0) or die; syswrite(M,"%s") == 8 or die`, pid, address, value))
	case "vm-perl":
		report(now(), "process_vm_writev", strconv.Itoa(pid), nil)
		return exec.Command("perl", "-e", fmt.Sprintf(`$v="%s"; $from=pack("PQ",$v,8); $to=pack("QQ",%s,8); syscall(%d,%d,$from,1,$to,1,0) == 8 or exit %d`,
			value, address, unix.SYS_PROCESS_VM_WRITEV, pid, refusedExit))
	}
	return exec.Command("/proc/self/exe", Argument, "tracer", how, strconv.Itoa(pid), address)
}

// appUID is the ordinary user of the image.
const appUID = 1000

var victimValue atomic.Uint64

// victim prints where its value is and waits for it to change, or for the end of its input. It fails if the value is still
// zero then.
func victim([]string) error {
	// Where the kernel's Yama module forbids it otherwise, a process may still say who may trace it.
	if err := unix.Prctl(unix.PR_SET_PTRACER, unix.PR_SET_PTRACER_ANY, 0, 0, 0); err != nil && err != unix.EINVAL {
		return err
	}
	fmt.Printf("%d\n", uintptr(unsafe.Pointer(&victimValue)))
	io.Copy(io.Discard, os.Stdin)
	if victimValue.Load() != injected {
		os.Exit(3)
	}
	return nil
}

// tracer attaches to a process and writes into it: tracer HOW PID ADDRESS.
func tracer(args []string) error {
	if len(args) != 3 {
		return errors.New("tracer takes a way, a pid and an address")
	}
	pid, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	address, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // A tracer is a thread.
	switch args[0] {
	case "attach":
		return traced(pid, unix.PTRACE_ATTACH, func() error {
			return ptrace(unix.PTRACE_POKEDATA, "PTRACE_POKEDATA", pid, uintptr(address), injected)
		})
	case "seize":
		return traced(pid, unix.PTRACE_SEIZE, func() error {
			return ptrace(unix.PTRACE_POKETEXT, "PTRACE_POKETEXT", pid, uintptr(address), injected)
		})
	case "registers":
		return traced(pid, unix.PTRACE_ATTACH, func() error { return rewriteRegisters(pid) })
	case "denied":
		if err := ptrace(unix.PTRACE_ATTACH, "PTRACE_ATTACH", pid, 0, 0); err == nil {
			return errors.New("an ordinary user could attach to a process of root")
		}
		return nil
	}
	return writeMemory(args[0], pid, uintptr(address))
}

// writeMemory writes into a process without ptrace(2).
func writeMemory(how string, pid int, address uintptr) error {
	value := binary.LittleEndian.AppendUint64(nil, injected)
	denied := strings.HasSuffix(how, "denied")
	switch how {
	case "mem", "mem-task", "mem-link", "mem-denied":
		path := fmt.Sprintf("/proc/%d/mem", pid)
		switch how {
		case "mem-task":
			path = fmt.Sprintf("/proc/%d/task/%d/mem", pid, pid)
		case "mem-link":
			link := fmt.Sprintf("/tmp/notes-%d", pid)
			if err := os.Symlink(path, link); err != nil {
				return err
			}
			defer os.Remove(link)
			path = link
		}
		at := now()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		report(at, "open", path, err)
		if denied && errors.Is(err, os.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(value, int64(address))
		return err
	case "vm", "vm-nowhere", "vm-denied":
		if how == "vm-nowhere" {
			address = 8 // Nothing is mapped there.
		}
		local := []unix.Iovec{{Base: &value[0], Len: uint64(len(value))}}
		at := now()
		_, err := unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: address, Len: len(value)}}, 0)
		report(at, "process_vm_writev", strconv.Itoa(pid), err)
		if denied && err == unix.EPERM || how == "vm-nowhere" && err == unix.EFAULT {
			return nil
		}
		if err == unix.EPERM {
			os.Exit(refusedExit)
		}
		if err == nil && how != "vm" {
			err = errors.New("the call succeeded")
		}
		return err
	}
	return fmt.Errorf("no way %q to inject", how)
}

// traced attaches to a process, waits until it stands still, and lets it go after change.
func traced(pid int, request int, change func() error) error {
	name := map[int]string{unix.PTRACE_ATTACH: "PTRACE_ATTACH", unix.PTRACE_SEIZE: "PTRACE_SEIZE"}[request]
	if err := ptrace(request, name, pid, 0, 0); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if request == unix.PTRACE_SEIZE {
		if err := ptrace(unix.PTRACE_INTERRUPT, "", pid, 0, 0); err != nil {
			return fmt.Errorf("PTRACE_INTERRUPT: %w", err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		got, err := unix.Wait4(pid, nil, unix.WALL|unix.WNOHANG, nil)
		if err != nil {
			return fmt.Errorf("waiting for victim: %w", err)
		}
		if got == pid {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("the victim does not stop")
		}
	}
	return errors.Join(change(), ptrace(unix.PTRACE_DETACH, "", pid, 0, 0))
}

// rewriteRegisters sets the victim's registers to what they are.
func rewriteRegisters(pid int) error {
	const generalRegisters = 1 // NT_PRSTATUS
	buffer := make([]byte, 1024)
	area := unix.Iovec{Base: &buffer[0]}
	area.SetLen(len(buffer))
	where := uintptr(unsafe.Pointer(&area))
	if err := ptrace(unix.PTRACE_GETREGSET, "", pid, generalRegisters, where); err != nil {
		return fmt.Errorf("PTRACE_GETREGSET: %w", err)
	}
	err := ptrace(unix.PTRACE_SETREGSET, "PTRACE_SETREGSET", pid, generalRegisters, where)
	runtime.KeepAlive(&area)
	runtime.KeepAlive(buffer)
	return err
}

// ptrace makes the call, and reports it if it has a name.
func ptrace(request int, name string, pid int, address, data uintptr) error {
	at := now()
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), address, data, 0, 0)
	var err error
	if errno != 0 {
		err = errno
	}
	if name != "" {
		report(at, "ptrace", fmt.Sprintf("%s %d", name, pid), err)
	}
	return err
}
