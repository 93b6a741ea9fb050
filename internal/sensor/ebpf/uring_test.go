package ebpf

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
)

func init() { testers["uring"] = useUring }

// uring is a ring of the kernel's: just enough to submit one operation and wait for it.
type uring struct {
	fd       int
	sq, cq   []byte
	entries  []byte
	sqTail   *uint32
	sqMask   uint32
	sqArray  *uint32
	cqHead   *uint32
	cqTail   *uint32
	cqMask   uint32
	cqValues uintptr
}

// entry is struct io_uring_sqe.
type entry struct {
	opcode, flags uint8
	priority      uint16
	fd            int32
	off, addr     uint64
	length, args  uint32
	userData      uint64
	buffer        uint16
	personality   uint16
	slot          uint32
	addr3, pad    uint64
}

func openUring() (*uring, error) {
	var p [30]uint32 // struct io_uring_params: the offsets of the two rings begin at words 10 and 20
	fd, err := call(unix.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&p)))
	if err != nil {
		return nil, fmt.Errorf("io_uring_setup: %w", err)
	}
	r := &uring{fd: int(fd)}
	sq, cq := p[10:], p[20:]
	const shared = unix.MAP_SHARED | unix.MAP_POPULATE
	if r.sq, err = unix.Mmap(r.fd, 0, int(sq[6]+p[0]*4), unix.PROT_READ|unix.PROT_WRITE, shared); err != nil {
		return nil, err
	}
	if r.cq, err = unix.Mmap(r.fd, 0x8000000, int(cq[5]+p[1]*16), unix.PROT_READ|unix.PROT_WRITE, shared); err != nil {
		return nil, err
	}
	if r.entries, err = unix.Mmap(r.fd, 0x10000000, int(p[0])*64, unix.PROT_READ|unix.PROT_WRITE, shared); err != nil {
		return nil, err
	}
	at := func(b []byte, off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&b[off])) }
	r.sqTail, r.sqMask, r.sqArray = at(r.sq, sq[1]), *at(r.sq, sq[2]), at(r.sq, sq[6])
	r.cqHead, r.cqTail, r.cqMask = at(r.cq, cq[0]), at(r.cq, cq[1]), *at(r.cq, cq[2])
	r.cqValues = uintptr(cq[5])
	return r, nil
}

// do submits the operation and waits for its completion, or only submits one that completes without a word.
func (r *uring) do(e entry) (int32, error) {
	const silent = 1 << 6
	tail := atomic.LoadUint32(r.sqTail)
	i := tail & r.sqMask
	*(*entry)(unsafe.Pointer(&r.entries[i*64])) = e
	*(*uint32)(unsafe.Add(unsafe.Pointer(r.sqArray), i*4)) = i
	atomic.StoreUint32(r.sqTail, tail+1)
	wait := uintptr(1)
	if e.flags&silent != 0 {
		wait = 0
	}
	if _, err := call(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, wait, 1 /* IORING_ENTER_GETEVENTS */); err != nil {
		return 0, fmt.Errorf("io_uring_enter: %w", err)
	}
	if wait == 0 {
		return 0, nil
	}
	head := atomic.LoadUint32(r.cqHead)
	if head == atomic.LoadUint32(r.cqTail) {
		return 0, fmt.Errorf("operation %d did not complete", e.opcode)
	}
	result := *(*int32)(unsafe.Pointer(&r.cq[r.cqValues+uintptr(head&r.cqMask)*16+8]))
	atomic.StoreUint32(r.cqHead, head+1)
	return result, nil
}

func useUring(args []string) error {
	dir, unixSocket, tcp := args[0], args[1], args[2]
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	r, err := openUring()
	if err != nil {
		return err
	}
	slots := []int32{-1, -1}
	if _, err := call(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), 2 /* files */, uintptr(unsafe.Pointer(&slots[0])), 2); err != nil {
		return fmt.Errorf("io_uring_register: %w", err)
	}
	const here = -100
	how := unix.OpenHow{Flags: unix.O_RDWR}
	var local unix.RawSockaddrUnix
	local.Family = unix.AF_UNIX
	for i, c := range []byte(unixSocket) {
		local.Path[i] = int8(c)
	}
	missing := local
	missing.Path[len(unixSocket)] = 'x'
	inet := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
	port := netipPort(tcp)
	inet.Port = uint16(port>>8) | uint16(port&0xff)<<8
	u1, err1 := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	u2, err2 := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	i1, err3 := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := check(step{"socket", err1, nil}, step{"socket", err2, nil}, step{"socket", err3, nil}); err != nil {
		return err
	}
	name := func(s string) uint64 { return uint64(text(s)) }
	for _, o := range []struct {
		what string
		e    entry
		want syscall.Errno
	}{
		{"open through a link", entry{opcode: 18, fd: here, addr: name("link"), args: unix.O_WRONLY}, 0},
		{"open for reading", entry{opcode: 18, fd: here, addr: name("file"), args: unix.O_RDONLY}, 0}, // no event
		{"openat2", entry{opcode: 28, fd: here, addr: name("sub/../file"), length: uint32(unsafe.Sizeof(how)), off: uint64(uintptr(unsafe.Pointer(&how)))}, 0},
		{"open nothing", entry{opcode: 18, fd: here, addr: name("sub/missing"), args: unix.O_WRONLY}, unix.ENOENT},
		{"open into a slot", entry{opcode: 18, fd: here, addr: name("link"), args: unix.O_RDWR, slot: 2}, 0},
		{"open without a word", entry{opcode: 18, flags: 1 << 6, fd: here, addr: name(dir + "/file"), args: unix.O_RDWR, slot: 1}, 0},
		{"link", entry{opcode: 39, fd: here, addr: name("file"), length: ^uint32(99), off: name("hard")}, 0},
		{"symlink", entry{opcode: 38, fd: here, addr: name("../text"), off: name("sub/soft")}, 0},
		{"rename", entry{opcode: 35, fd: here, addr: name("hard"), length: ^uint32(99), off: name("sub/moved")}, 0},
		{"unlink", entry{opcode: 36, fd: here, addr: name("sub/moved")}, 0},
		{"unlink nothing", entry{opcode: 36, fd: here, addr: name("sub/moved")}, unix.ENOENT},
		{"connect to a unix socket", entry{opcode: 16, fd: int32(u1), addr: uint64(uintptr(unsafe.Pointer(&local))), off: uint64(2 + len(unixSocket) + 1)}, 0},
		{"connect to none", entry{opcode: 16, fd: int32(u2), addr: uint64(uintptr(unsafe.Pointer(&missing))), off: uint64(2 + len(unixSocket) + 2)}, unix.ENOENT},
		{"connect to TCP", entry{opcode: 16, fd: int32(i1), addr: uint64(uintptr(unsafe.Pointer(&inet))), off: 16}, 0},
		{"raw socket", entry{opcode: 45, fd: unix.AF_INET, off: unix.SOCK_RAW, length: unix.IPPROTO_ICMP}, 0},
		{"stream socket", entry{opcode: 45, fd: unix.AF_INET, off: unix.SOCK_STREAM}, 0}, // no event
	} {
		result, err := r.do(o.e)
		if err != nil {
			return err
		}
		if result < 0 && syscall.Errno(-result) != o.want || result >= 0 && o.want != 0 {
			return fmt.Errorf("%s: result %d, want %v", o.what, result, o.want)
		}
	}
	return nil
}

// Opening and connecting through io_uring is no way around the sensor.
func TestUring(t *testing.T) {
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
	listen := func(network, address string) string {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	tcp := listen("tcp4", "127.0.0.1:0")
	_, records := watchTester(t, testerCommand("uring", tmp, listen("unix", tmp+"/s"), tcp),
		event.KindOpen, event.KindLink, event.KindSymlink, event.KindRename, event.KindUnlink, event.KindConnect, event.KindSocket, event.KindIOUring)
	var got []string
	for i := range records {
		r := &records[i]
		var line string
		switch r.Kind {
		case event.KindOpen:
			line = fmt.Sprintf("open %s %#x %s", r.Open.Path, r.Open.Flags&^unix.O_LARGEFILE, unix.ErrnoName(syscall.Errno(r.Errno)))
		case event.KindConnect:
			line = fmt.Sprintf("connect %d %s %s %s", r.Socket.Family, r.Socket.Remote, r.Socket.Path, unix.ErrnoName(syscall.Errno(r.Errno)))
		default:
			line = told(r, tmp)
		}
		got = append(got, strings.Join(strings.Fields(strings.ReplaceAll(line, tmp, "TMP")), " "))
	}
	want := []string{
		"io_uring 0x0 0x0",
		"open TMP/file 0x1",
		"open TMP/file 0x2",
		"open TMP/sub/missing 0x1 ENOENT",
		"open TMP/file 0x2",
		"open TMP/file 0x2",
		"link TMP/hard to TMP/file",
		"symlink TMP/sub/soft to ../text",
		"rename TMP/hard to TMP/sub/moved",
		"unlink TMP/sub/moved",
		"unlink TMP/sub/moved ENOENT",
		"connect 1 invalid AddrPort TMP/s",
		"connect 1 invalid AddrPort TMP/sx ENOENT",
		"connect 2 " + tcp,
		"socket 2/3/1 invalid AddrPort invalid AddrPort",
	}
	// The one that is reported when it is submitted may be seen before others that are under way.
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
