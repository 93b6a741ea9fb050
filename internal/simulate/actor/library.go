package actor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// library makes a shared library and has a program load it: library HOW PATH.
func library(args []string) error {
	if len(args) != 2 {
		return errors.New("library takes a way and a path")
	}
	how, path := args[0], args[1]
	content, err := emptyLibrary()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if how == "rename" {
		if err = write(path+".part", content); err == nil {
			err = os.Rename(path+".part", path)
		}
	} else {
		err = write(path, content)
	}
	if err != nil {
		return err
	}
	switch how {
	case "removed":
		defer os.Remove(path)
		fallthrough
	case "preload", "rename":
		c := exec.Command("sh", "-c", "exit 23")
		c.Env = append(os.Environ(), "LD_PRELOAD="+path)
		return loaded(c, path)
	case "preload-file": // Every program that starts from now on loads it.
		const list = "/etc/ld.so.preload"
		if err := os.WriteFile(list, []byte(path+"\n"), 0o644); err != nil {
			return err
		}
		defer os.Remove(list)
		return loaded(exec.Command("sh", "-c", "exit 23"), path)
	case "map", "protect":
		return mapLibrary(how, path)
	}
	return fmt.Errorf("no way %q to load a library", how)
}

// loaded runs a command that ends with DropExit and says nothing: the loader would complain about a library that it cannot
// load, and go on.
func loaded(c *exec.Cmd, path string) error {
	report(now(), "mmap", path, nil)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil || c.ProcessState.ExitCode() != DropExit || len(out) > 0 {
		return fmt.Errorf("loading %s: %v: %s", path, err, out)
	}
	return nil
}

// mapLibrary loads it without the loader.
func mapLibrary(how, path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	protection := unix.PROT_READ | unix.PROT_EXEC
	if how == "protect" {
		protection = unix.PROT_READ
	}
	at := now()
	memory, err := unix.Mmap(fd, 0, 4096, protection, unix.MAP_PRIVATE)
	report(at, "mmap", path, err)
	if err != nil || how == "map" {
		return err
	}
	at = now()
	err = unix.Mprotect(memory, unix.PROT_READ|unix.PROT_EXEC)
	report(at, "mprotect", path, err)
	return err
}

// emptyLibrary returns a shared library with nothing in it that the C libraries' loaders take (see elf(5)).
func emptyLibrary() ([]byte, error) {
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	if machine == 0 {
		return nil, fmt.Errorf("no small library for %s", runtime.GOARCH)
	}
	const (
		page    = 0x10000 // the largest page size of both machines
		symbols = 0x200
		strings = 0x220
		hash    = 0x230
	)
	le := binary.LittleEndian
	b := make([]byte, page+0x100)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3) // ET_DYN
	le.PutUint16(b[18:], machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 3)
	header := func(n int, kind, flags uint32, offset, size uint64) {
		h := b[64+56*n:]
		le.PutUint32(h, kind)
		le.PutUint32(h[4:], flags)
		for i, v := range []uint64{offset, offset, offset, size, size, page} {
			le.PutUint64(h[8+8*i:], v)
		}
	}
	header(0, 1, 5, 0, 0x300)    // PT_LOAD, readable and executable
	header(1, 1, 6, page, 0x100) // PT_LOAD, writable: loaders relocate the table
	header(2, 2, 6, page, 16*6)  // PT_DYNAMIC
	le.PutUint32(b[hash:], 1)    // one bucket, one chain, both empty
	le.PutUint32(b[hash+4:], 1)
	table := b[page:]
	for i, v := range [][2]uint64{{4, hash}, {5, strings}, {6, symbols}, {10, 1}, {11, 24}, {0, 0}} { // HASH STRTAB SYMTAB STRSZ SYMENT NULL
		le.PutUint64(table[16*i:], v[0])
		le.PutUint64(table[16*i+8:], v[1])
	}
	return b, nil
}
