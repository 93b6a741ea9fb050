//go:build amd64

package ebpf

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
)

func init() { testers["compat"] = callAs32Bit }

// gate enters the kernel through int $0x80, as 32-bit code does. Its arguments and everything they point to must be in the
// first 4 GiB, so it has a page there.
type gate struct {
	page []byte // the code, the arguments at 256 and strings from 512 on
	free int
	call func()
}

func openGate() (*gate, error) {
	at, err := call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_32BIT, ^uintptr(0), 0)
	if err != nil {
		return nil, err
	}
	g := &gate{page: unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), 4096), free: 512}
	code := append([]byte{0x49, 0xbb}, binary.LittleEndian.AppendUint64(nil, uint64(at)+256)...) // movabs r11, arguments
	code = append(code,
		0x53, 0x56, 0x57, 0x41, 0x53, // push rbx, rsi, rdi, r11
		0x41, 0x8b, 0x03, // mov eax, [r11]
		0x41, 0x8b, 0x5b, 0x04, // mov ebx, [r11+4]
		0x41, 0x8b, 0x4b, 0x08, // mov ecx, [r11+8]
		0x41, 0x8b, 0x53, 0x0c, // mov edx, [r11+12]
		0x41, 0x8b, 0x73, 0x10, // mov esi, [r11+16]
		0x41, 0x8b, 0x7b, 0x14, // mov edi, [r11+20]
		0xcd, 0x80, // int 0x80
		0x41, 0x5b, // pop r11
		0x49, 0x89, 0x43, 0x18, // mov [r11+24], rax
		0x5f, 0x5e, 0x5b, 0xc3) // pop rdi, rsi, rbx; ret
	copy(g.page, code)
	entry := &at
	g.call = *(*func())(unsafe.Pointer(&entry))
	return g, nil
}

func (g *gate) do(number uint32, args ...uint32) (int32, error) {
	clear(g.page[256:288])
	binary.LittleEndian.PutUint32(g.page[256:], number)
	for i, a := range args {
		binary.LittleEndian.PutUint32(g.page[260+4*i:], a)
	}
	g.call()
	if r := int32(binary.LittleEndian.Uint32(g.page[280:])); r < 0 && r > -4096 {
		return r, syscall.Errno(-r)
	} else {
		return r, nil
	}
}

// put copies bytes to where 32-bit code can point.
func (g *gate) put(b []byte) uint32 {
	at := uint32(uintptr(unsafe.Pointer(&g.page[0]))) + uint32(g.free)
	g.free += copy(g.page[g.free:], append(b, 0))
	g.free = (g.free + 7) &^ 7
	return at
}

func callAs32Bit(args []string) error {
	if err := unix.Chdir(args[0]); err != nil {
		return err
	}
	g, err := openGate()
	if err != nil {
		return err
	}
	do := func(number uint32, args ...uint32) error { _, err := g.do(number, args...); return err }
	name := func(s string) uint32 { return g.put([]byte(s)) }
	s1, err1 := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	s2, err2 := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	address := append([]byte{unix.AF_UNIX, 0}, args[1]...)
	to, length := g.put(address), uint32(len(address)+1)
	var list []byte
	for _, a := range []uint32{uint32(s1), to, length} {
		list = binary.LittleEndian.AppendUint32(list, a)
	}
	here := ^uint32(99)
	return check(
		step{"socket", err1, nil}, step{"socket", err2, nil},
		step{"open", do(5, name("link"), unix.O_WRONLY), nil},
		step{"open for reading", do(5, name("link"), unix.O_RDONLY), nil}, // no event
		step{"openat", do(295, here, name("sub/missing"), unix.O_RDWR), unix.ENOENT},
		step{"rename", do(38, name("file"), name("sub/moved")), nil},
		step{"socketcall connect", do(102, 3, g.put(list)), nil},
		step{"connect", do(362, uint32(s2), to, length), nil},
		step{"memfd_create", do(356, name("small"), 0), nil},
		step{"mprotect", do(125, uint32(uintptr(unsafe.Pointer(&g.page[0]))), 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC), nil},
		step{"setuid32", do(213, 0), nil},
		step{"getpid", do(20), nil}, // no event
	)
}

// Entering the kernel as 32-bit code is no way around a sensor that was asked to look there.
func TestCompat(t *testing.T) {
	privileged(t)
	tmp, err := os.MkdirTemp("/tmp", "vs") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Mkdir(filepath.Join(tmp, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tmp, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", tmp+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var kinds event.Kinds
	for _, k := range []event.Kind{event.KindOpen, event.KindRename, event.KindConnect, event.KindMemfd, event.KindMprotect, event.KindSetuid} {
		kinds = kinds.With(k)
	}
	dir := newCgroup(t)
	_, end := watch(t, Options{Scope: dir, Kinds: kinds, Compat: true})
	cmd := testerCommand("compat", tmp, tmp+"/s")
	inCgroup(t, dir, cmd)
	pid := runTester(t, cmd, true).pid
	var got []string
	for _, r := range end() {
		if r.PID != pid || !kinds.Has(r.Kind) {
			continue
		}
		line := told(&r, tmp)
		switch r.Kind {
		case event.KindOpen:
			line = "open " + openLine(&r, tmp)
		case event.KindConnect:
			line = strings.ReplaceAll(fmt.Sprintf("connect %d %s", r.Socket.Family, r.Socket.Path), tmp, "TMP")
		}
		got = append(got, line)
	}
	want := []string{
		"open TMP/file 0x1", "open TMP/sub/missing 0x2 ENOENT", "rename TMP/file to TMP/sub/moved", "connect 1 TMP/s", "connect 1 TMP/s",
		"memfd small in memory", "mprotect 7 at anonymous", "setuid 0 0 0x0 false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
