package ebpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// The test binary runs itself as the process that is watched: VEDETTE_TESTER names what it is to do.
const testerVariable = "VEDETTE_TESTER"

func TestMain(m *testing.M) {
	if name := os.Getenv(testerVariable); name != "" {
		do, ok := testers[name]
		if !ok {
			fmt.Fprintln(os.Stderr, "no tester", name)
			os.Exit(99)
		}
		runtime.LockOSThread()
		if err := do(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(98)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// testers do one thing each. They get folders and addresses as arguments.
var testers = map[string]func(args []string) error{
	"nothing": func([]string) error { return nil },
	"status":  func([]string) error { os.Exit(7); return nil },
	"signal":  func([]string) error { return unix.Kill(os.Getpid(), unix.SIGKILL) },
	"wait":    func([]string) error { _, err := os.Stdin.Read(make([]byte, 1)); return err },
	"exec": func(args []string) error {
		return unix.Exec(args[0], args, []string{"A=1", "LD_LIBRARY_PATH=/nowhere", "B=" + strings.Repeat("x", 5000), "LD_PRELOAD=/nothing.so", "C=3"})
	},
	"exec-many-args": func(args []string) error {
		return unix.Exec(args[0], []string{args[0], strings.Repeat("y", 5000)}, nil)
	},
	"exec-from-socket": func(args []string) error {
		c, err := net.Dial("tcp", args[1])
		if err != nil {
			return err
		}
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		if err := unix.Dup2(int(f.Fd()), 0); err != nil {
			return err
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Dup2(pair[0], 1); err != nil {
			return err
		}
		return unix.Exec(args[0], args[:1], nil)
	},
	"exec-memory": func(args []string) error {
		fd, err := unix.MemfdCreate("hidden", 0)
		if err != nil {
			return err
		}
		program, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, program); err != nil {
			return err
		}
		return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"kworker"}, nil)
	},
	"exec-in-root": func(args []string) error {
		if err := unix.Chroot(args[0]); err != nil {
			return err
		}
		if err := unix.Chdir("/sub"); err != nil {
			return err
		}
		return unix.Exec("/bin/program", []string{"program"}, nil)
	},
	"exec-from-thread": func(args []string) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // the main goroutine holds the main thread, so this is another
			done <- unix.Exec(args[0], args, nil)
		}()
		return <-done
	},
	"open":      openFiles,
	"open-race": openWhileRacing,
	"open-many": func(args []string) error {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		for range n {
			fd, err := unix.Open(args[0], unix.O_WRONLY|unix.O_CREAT, 0o600)
			if err != nil {
				return err
			}
			unix.Close(fd)
		}
		return nil
	},
	"connect": connectSockets,
	"bind":    bindSockets,
	"resolve": resolveNames,
	"ptrace":  traceChild,
}

func openFiles(args []string) error {
	dir := args[0]
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	try := func(what string, fd int, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return unix.Close(fd)
	}
	fail := func(what string, err, want error) error {
		if err != want {
			return fmt.Errorf("%s: error %v, want %v", what, err, want)
		}
		return nil
	}
	must := func(errs ...error) error {
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}
	a, errA := unix.Open("relative", unix.O_WRONLY|unix.O_CREAT, 0o600)
	b, errB := unix.Open(dir+"/link", unix.O_RDWR, 0)
	c, errC := unix.Openat2(unix.AT_FDCWD, "../"+filepath.Base(dir)+"/relative", &unix.OpenHow{Flags: unix.O_RDWR | unix.O_APPEND})
	d, errD := unix.Open("touched", unix.O_RDONLY|unix.O_CREAT, 0o600)
	e, errE := unix.Open("relative", unix.O_RDONLY|unix.O_TRUNC, 0)
	if err := must(try("relative", a, errA), try("link", b, errB), try("openat2", c, errC), try("touched", d, errD), try("truncated", e, errE)); err != nil {
		return err
	}
	if runtime.GOARCH == "amd64" {
		p := []byte("old\x00")
		f, _, errF := unix.Syscall(85 /* creat */, uintptr(unsafe.Pointer(&p[0])), 0o600, 0)
		g, _, errG := unix.Syscall(2 /* open */, uintptr(unsafe.Pointer(&p[0])), unix.O_WRONLY, 0)
		if errF != 0 || errG != 0 {
			return fmt.Errorf("creat: %v, open: %v", errF, errG)
		}
		unix.Close(int(f))
		unix.Close(int(g))
	}
	// None of these is an event.
	h, errH := unix.Open("relative", unix.O_RDONLY, 0)
	i, errI := unix.Open("/dev/null", unix.O_WRONLY, 0)
	j, errJ := unix.Open("relative", unix.O_PATH|unix.O_RDWR, 0)
	_, errK := unix.Open("missing", unix.O_RDONLY, 0)
	if err := must(try("read", h, errH), try("null", i, errI), try("path", j, errJ), fail("missing", errK, unix.ENOENT)); err != nil {
		return err
	}
	_, errL := unix.Open("no/such/folder", unix.O_WRONLY|unix.O_CREAT, 0o600)
	_, errM := unix.Open(dir, unix.O_RDWR, 0)
	return must(fail("no folder", errL, unix.ENOENT), fail("folder", errM, unix.EISDIR))
}

// openWhileRacing opens a path that a second thread keeps rewriting between two files of equally long names.
func openWhileRacing(args []string) error {
	dir := args[0]
	path := []byte(dir + "/aaaa\x00")
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			c := byte('a' + i%2)
			for j := len(path) - 5; j < len(path)-1; j++ {
				path[j] = c
			}
		}
	}()
	var opened [2]int
	for range 3000 {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&path[0])), unix.O_WRONLY, 0, 0, 0)
		if errno != 0 {
			continue // it caught a mixture of the two
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(fd), &st); err != nil {
			return err
		}
		opened[st.Size]++ // aaaa has 0 bytes, bbbb has 1
		unix.Close(int(fd))
	}
	stop.Store(true)
	<-done
	fmt.Println(opened[0], opened[1])
	return nil
}

func connectSockets(args []string) error {
	tcp4, refused, tcp6, folder := args[0], args[1], args[2], args[3]
	if c, err := net.Dial("tcp4", tcp4); err != nil {
		return err
	} else {
		c.Close()
	}
	if c, err := net.Dial("tcp4", refused); err == nil {
		c.Close()
		return fmt.Errorf("%s answered", refused)
	}
	if c, err := net.Dial("tcp6", tcp6); err != nil {
		return err
	} else {
		c.Close()
	}

	// An IPv4 address through an IPv6 socket.
	port := netipPort(tcp4)
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	mapped := [16]byte{10: 0xff, 11: 0xff, 12: 127, 13: 0, 14: 0, 15: 1}
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: port, Addr: mapped}); err != nil {
		return fmt.Errorf("mapped: %w", err)
	}
	unix.Close(fd)

	// Data with the first packet, without connect.
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		return err
	}
	if err := unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil && err != unix.EINPROGRESS {
		return fmt.Errorf("fast open: %w", err)
	}
	unix.Close(fd)

	// Datagrams without connect: one event for each destination, however many are sent.
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	for i := range 6 {
		if err := unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 9000 + i%2, Addr: [4]byte{127, 0, 0, 9}}); err != nil && err != unix.ECONNREFUSED {
			return fmt.Errorf("datagram: %w", err)
		}
	}
	unix.Close(fd)

	// Packets that the process makes itself, and those of ping sockets where this kernel gives them to root.
	for _, kind := range []int{unix.SOCK_RAW, unix.SOCK_DGRAM} {
		if fd, err = unix.Socket(unix.AF_INET, kind, unix.IPPROTO_ICMP); err == unix.EACCES && kind == unix.SOCK_DGRAM {
			continue // net.ipv4.ping_group_range leaves this user out.
		} else if err != nil {
			return fmt.Errorf("icmp: %w", err)
		}
		for range 3 {
			if err := unix.Sendto(fd, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 10}}); err != nil {
				return fmt.Errorf("icmp: %w", err)
			}
		}
		unix.Close(fd)
	}

	if err := unix.Chdir(folder); err != nil {
		return err
	}
	for _, name := range []string{folder + "/socket", "socket", folder + "/link", "@" + filepath.Base(folder)} {
		c, err := net.Dial("unix", name)
		if err != nil {
			return err
		}
		c.Close()
	}
	if _, err := net.Dial("unix", folder+"/missing"); err == nil {
		return fmt.Errorf("a missing socket answered")
	}
	for _, name := range []string{folder + "/link", folder + "/missing"} {
		if err := uringConnect(name); err != nil {
			return fmt.Errorf("io_uring: %w", err)
		}
	}
	return nil
}

// uringConnect connects a unix socket through io_uring, whether or not anybody answers.
func uringConnect(name string) error {
	var params struct {
		sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
		_                                                    [3]uint32
		sq                                                   struct{ head, tail, mask, entries, flags, dropped, array, _, _, _ uint32 }
		_                                                    [40]byte
	}
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(ring))
	queue, err := unix.Mmap(int(ring), 0, int(params.sq.array+4*params.sqEntries), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	entries, err := unix.Mmap(int(ring), 0x10000000, 64*int(params.sqEntries), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	address := append([]byte{unix.AF_UNIX, 0}, name+"\x00"...)
	const connect = 16
	entries[0] = connect
	binary.NativeEndian.PutUint32(entries[4:], uint32(fd))
	binary.NativeEndian.PutUint64(entries[8:], uint64(len(address)))
	binary.NativeEndian.PutUint64(entries[16:], uint64(uintptr(unsafe.Pointer(&address[0]))))
	binary.NativeEndian.PutUint32(queue[params.sq.array:], 0)
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&queue[params.sq.tail])), 1)
	const getEvents = 1
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, getEvents, 0, 0); errno != 0 {
		return errno
	}
	runtime.KeepAlive(address)
	return nil
}

func netipPort(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

func bindSockets(args []string) error {
	folder := args[0]
	if err := unix.Chdir(folder); err != nil {
		return err
	}
	for _, s := range []struct {
		family, kind int
		address      unix.Sockaddr
	}{
		{unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Port: 4567, Addr: [4]byte{127, 0, 0, 8}}},
		{unix.AF_INET6, unix.SOCK_DGRAM, &unix.SockaddrInet6{Port: 4568, Addr: [16]byte{15: 1}}},
		{unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: "here"}},
		{unix.AF_UNIX, unix.SOCK_DGRAM, &unix.SockaddrUnix{Name: "@" + filepath.Base(folder)}},
	} {
		fd, err := unix.Socket(s.family, s.kind, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, s.address); err != nil {
			return err
		}
		unix.Close(fd)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: folder + "/here"}); err != unix.EADDRINUSE {
		return fmt.Errorf("second bind: %v", err)
	}
	return nil
}

// question makes the wire form of a question for an A record.
func question(id uint16, name string) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
	wire, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return wire
}

// resolveNames asks the server at the address in every way that resolvers use.
func resolveNames(args []string) error {
	server := args[0]
	answer := make([]byte, 2048)
	connected, err := net.Dial("udp", server)
	if err != nil {
		return err
	}
	defer connected.Close()
	connected.SetDeadline(time.Now().Add(5 * time.Second))
	connected.Write(question(1, "connected.test."))
	if _, err := connected.Read(answer); err != nil {
		return fmt.Errorf("connected: %w", err)
	}

	unconnected, err := net.ListenPacket("udp", "")
	if err != nil {
		return err
	}
	defer unconnected.Close()
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		return err
	}
	unconnected.SetDeadline(time.Now().Add(5 * time.Second))
	unconnected.WriteTo(question(2, "unconnected.test."), to)
	if _, _, err := unconnected.ReadFrom(answer); err != nil {
		return fmt.Errorf("unconnected: %w", err)
	}

	stream, err := net.Dial("tcp", server)
	if err != nil {
		return err
	}
	defer stream.Close()
	stream.SetDeadline(time.Now().Add(5 * time.Second))
	wire := question(3, "stream.test.")
	stream.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...))
	if _, err := stream.Read(answer); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}

// serveDNS answers everything with 192.0.2.7 until the test ends.
func serveDNS(t *testing.T, address string) {
	t.Helper()
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("tcp", address)
	if err != nil {
		packets.Close()
		t.Fatal(err)
	}
	reply := func(q []byte) []byte {
		var m dnsmessage.Message
		if err := m.Unpack(q); err != nil {
			return nil
		}
		m.Response = true
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
		}}
		wire, _ := m.Pack()
		return wire
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 2048)
		for {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			packets.WriteTo(reply(b[:n]), from)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 2048)
		for {
			c, err := stream.Accept()
			if err != nil {
				return
			}
			if n, err := c.Read(b); err == nil && n > 2 {
				wire := reply(b[2:n])
				c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...))
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		packets.Close()
		stream.Close()
		<-done
		<-done
	})
}

// traceChild attaches to a child of its own, changes it, and lets it go. It prints its own pid and the child's as it knows them.
func traceChild([]string) error {
	child := exec.Command("/proc/self/exe")
	child.Env = []string{testerVariable + "=wait"}
	in, err := child.StdinPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	pid := child.Process.Pid
	defer func() { in.Close(); child.Wait() }()
	time.Sleep(50 * time.Millisecond) // let it reach its read, past its exec

	if err := unix.PtraceAttach(pid); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	var st [8]byte
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &regs); err != nil { // not an event
		return fmt.Errorf("getregs: %w", err)
	}
	if _, err := unix.PtracePeekData(pid, uintptr(regs.PC()), st[:]); err != nil { // not an event
		return fmt.Errorf("peek: %w", err)
	}
	if _, err := unix.PtracePokeData(pid, uintptr(regs.PC()), st[:]); err != nil {
		return fmt.Errorf("poke: %w", err)
	}
	if err := unix.PtraceSetRegs(pid, &regs); err != nil {
		return fmt.Errorf("setregs: %w", err)
	}
	if err := unix.PtraceDetach(pid); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	if err := unix.PtraceAttach(1 << 21); err != unix.ESRCH { // no such process
		return fmt.Errorf("attach to nothing: %v", err)
	}
	fmt.Println(os.Getpid(), pid)
	in.Close()
	child.Wait()
	// From here on any signal stops us until our parent, which knows nothing of it, goes on with us.
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("traceme: %w", errno)
	}
	unix.Exit(0)
	return nil
}

// run is a tester that has ended.
type run struct {
	pid    uint32
	state  *os.ProcessState
	output string
	errors string
}

func testerCommand(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), testerVariable+"="+name, "GODEBUG=asyncpreemptoff=1")
	return cmd
}

// inCgroup starts the command inside the cgroup, from its first instruction on.
func inCgroup(t *testing.T, dir string, cmd *exec.Cmd) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
}

func runTester(t *testing.T, cmd *exec.Cmd, wantStatus bool) run {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && wantStatus {
		t.Fatalf("tester: %v: %s", err, errs.String())
	}
	return run{uint32(cmd.Process.Pid), cmd.ProcessState, out.String(), errs.String()}
}
