package tiny

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func write(t *testing.T, p Program) string {
	t.Helper()
	file, err := p.ELF()
	if errors.Is(err, ErrMachine) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if f, err := elf.NewFile(bytes.NewReader(file)); err != nil || f.Type != elf.ET_EXEC {
		t.Fatalf("not an ELF executable: %v, %v", f, err)
	}
	path := filepath.Join(t.TempDir(), "tiny")
	if err := os.WriteFile(path, file, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProgramCallsAndEnds(t *testing.T) {
	// write(1, data, 6) twice, then exit_group(23).
	hello := Call{Number: unix.SYS_WRITE, Args: [6]uint64{1, DataAddress + 1, 6}}
	out, err := exec.Command(write(t, Program{Data: []byte("<hello\n>"), Calls: []Call{hello, hello}, Exit: 23})).Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 23 || string(out) != "hello\nhello\n" {
		t.Errorf("output %q, %v", out, err)
	}
}

func TestCompatCall(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		if _, err := (Program{Calls: []Call{{Compat: true}}}).ELF(); !errors.Is(err, ErrMachine) {
			t.Errorf("error %v", err)
		}
		return
	}
	// 4 is write for 32-bit programs.
	out, err := exec.Command(write(t, Program{Data: []byte("hello"), Calls: []Call{{Number: 4, Args: [6]uint64{1, DataAddress, 5}, Compat: true}}})).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(interface{ Signaled() bool }).Signaled() {
		t.Skip("the kernel has no entry for 32-bit programs")
	}
	if err != nil || string(out) != "hello" {
		t.Errorf("output %q, %v", out, err)
	}
}
