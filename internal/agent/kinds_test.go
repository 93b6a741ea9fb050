package agent

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// TestEveryKindArrives feeds a record of each kind and compares what the server gets.
func TestEveryKindArrives(t *testing.T) {
	file := sensor.FileRecord{Path: []byte("/tmp/a"), Target: []byte("/tmp/b"), Flags: 1, Mode: 0o755, Dev: 7, Inode: 99}
	changed := &event.FileChange{Path: "/tmp/a", Target: "/tmp/b", Flags: 1, Mode: 0o755, Dev: 7, Inode: 99}
	socket := sensor.SocketRecord{Family: 2, Type: 1, Protocol: 6, Local: netip.MustParseAddrPort("10.0.0.2:80"), Remote: netip.MustParseAddrPort("192.0.2.1:4444"), Path: []byte("@x")}
	connected := &event.Socket{Family: 2, Type: 1, Protocol: 6, Local: socket.Local, Remote: socket.Remote, Path: "@x"}
	setFile := func(r *sensor.Record) { r.File = file }
	setSocket := func(r *sensor.Record) { r.Socket = socket }
	setTarget := func(r *sensor.Record) { r.PtraceRequest, r.PtraceTarget = 9, 777 }
	setCreds := func(r *sensor.Record) { r.Creds = event.Creds{UID: 0, EUID: 5, Capabilities: 1 << 21, SetuidExe: true} }
	setCall := func(r *sensor.Record) { r.Call = event.Call{Command: 5, Flags: 0x10000000} }
	target := event.Event{Target: &event.Ptrace{Request: 9, TargetPID: 777}}
	creds := event.Event{Creds: &event.Creds{UID: 0, EUID: 5, Capabilities: 1 << 21, SetuidExe: true}}
	call := event.Event{Call: &event.Call{Command: 5, Flags: 0x10000000}}
	setMount := func(r *sensor.Record) {
		r.Mount = sensor.MountRecord{Source: []byte("/dev/vda1"), Target: []byte("/mnt"), FSType: []byte("ext4"), Flags: 4096}
	}
	mount := event.Event{Mount: &event.MountChange{Source: "/dev/vda1", Target: "/mnt", FSType: "ext4", Flags: 4096}}
	image := *changed
	image.Origin = event.OriginImage
	tests := map[event.Kind]struct {
		set  func(*sensor.Record)
		want event.Event
	}{
		event.KindExit:      {func(r *sensor.Record) { r.Exit = event.Exit{Code: 3} }, event.Event{Exit: &event.Exit{Code: 3}}},
		event.KindOpen:      {func(r *sensor.Record) { r.Open = sensor.OpenRecord{Path: []byte("/a"), Flags: 1} }, event.Event{Open: &event.Open{Path: "/a", Flags: 1}}},
		event.KindConnect:   {setSocket, event.Event{Connect: connected}},
		event.KindBind:      {setSocket, event.Event{Bind: connected}},
		event.KindPtrace:    {setTarget, event.Event{Ptrace: target.Target}},
		event.KindRename:    {setFile, event.Event{File: changed}},
		event.KindLink:      {setFile, event.Event{File: changed}},
		event.KindSymlink:   {setFile, event.Event{File: changed}},
		event.KindUnlink:    {setFile, event.Event{File: changed}},
		event.KindChmod:     {setFile, event.Event{File: changed}},
		event.KindMmap:      {setFile, event.Event{File: &image}},
		event.KindModule:    {setFile, event.Event{File: &image}},
		event.KindMemfd:     {setFile, event.Event{File: changed}},
		event.KindChroot:    {setFile, event.Event{File: changed}},
		event.KindPivotRoot: {setFile, event.Event{File: changed}},
		event.KindMprotect: {func(r *sensor.Record) {
			r.Memory = event.Memory{Start: 4096, Length: 4096, Protection: 7, Region: "stack"}
		}, event.Event{Memory: &event.Memory{Start: 4096, Length: 4096, Protection: 7, Region: "stack"}}},
		event.KindMount:       {setMount, mount},
		event.KindUmount:      {setMount, mount},
		event.KindSocket:      {setSocket, event.Event{Socket: connected}},
		event.KindListen:      {setSocket, event.Event{Socket: connected}},
		event.KindAccept:      {setSocket, event.Event{Socket: connected}},
		event.KindDup:         {func(r *sensor.Record) { setSocket(r); setCall(r) }, event.Event{Socket: connected, Call: call.Call}},
		event.KindVMRead:      {setTarget, target},
		event.KindVMWrite:     {setTarget, target},
		event.KindKill:        {setTarget, target},
		event.KindSetns:       {setTarget, target},
		event.KindSetuid:      {setCreds, creds},
		event.KindCapset:      {setCreds, creds},
		event.KindUserfaultfd: {setCall, call},
		event.KindUnshare:     {setCall, call},
		event.KindBPF:         {setCall, call},
		event.KindKeyctl:      {setCall, call},
		event.KindIOUring:     {setCall, call},
	}
	for k := event.KindExit; k < event.KindAlert; k++ {
		if k == event.KindDNS {
			continue // TestDNS
		}
		t.Run(k.String(), func(t *testing.T) {
			b := newBench(t, func(o *Options) { o.NoWriters = true }).run()
			test, ok := tests[k]
			if !ok {
				t.Fatal("there is no test of this kind")
			}
			r := b.record(k, 1002, 0)
			r.Errno = 13
			test.set(r)
			b.feed(r)
			got := *b.got(1)[0]
			test.want.Kind, test.want.Errno, test.want.Count = k, 13, 1
			if got.Process == nil || got.Process.PID != 1002 || got.Container == nil || got.Time == 0 {
				t.Errorf("process %+v, container %+v", got.Process, got.Container)
			}
			got.Process, got.Container, got.Time = nil, nil, 0
			options := cmp.Options{
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
				cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
			}
			if diff := cmp.Diff(test.want, got, options); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTargetIsAKnownProcess(t *testing.T) {
	b := newBench(t, nil).run()
	r := b.record(event.KindVMWrite, 1003, 1002)
	r.PtraceTarget, r.PtraceStart = 1002, 1002e9
	b.feed(b.exec(1002, 0, "/usr/bin/victim", "victim"), b.exec(1003, 1002, "/usr/bin/injector", "injector"), r)
	if p := b.got(3)[2].Target; p.Target == nil || p.Target.ExePath != "/usr/bin/victim" {
		t.Errorf("got %+v", p)
	}
}

func TestLoadedFiles(t *testing.T) {
	b := newBench(t, nil).run()
	open := b.record(event.KindOpen, 1003, 1002)
	open.Open = sensor.OpenRecord{Path: []byte("/tmp/evil.so"), Flags: unix.O_WRONLY | unix.O_CREAT, Dev: 7, Inode: 500}
	load := func(path string, inode uint64, f event.File) *sensor.Record {
		r := b.record(event.KindMmap, 1004, 1002)
		r.File = sensor.FileRecord{Path: []byte(path), Dev: 7, Inode: inode, File: f}
		return r
	}
	b.feed(
		b.exec(1003, 1002, "/usr/bin/curl", "curl"), open,
		load("/tmp/evil.so", 500, event.File{UpperLayer: true}),
		load("/usr/lib/libc.so", 501, event.File{MTime: 1, CTime: 1}),
		load("/memfd:x", 502, event.File{Origin: event.OriginMemory}),
	)
	events := b.got(5)
	written, libc, memfd := events[2].File, events[3].File, events[4].File
	if written.Origin != event.OriginWritten || written.Writer == nil || written.Writer.ExePath != "/usr/bin/curl" || written.WrittenAt != events[1].Time {
		t.Errorf("a written library: %+v", written)
	}
	if libc.Origin != event.OriginImage || libc.Writer != nil {
		t.Errorf("a library of the image: %+v", libc)
	}
	if memfd.Origin != event.OriginMemory {
		t.Errorf("a library in memory: %+v", memfd)
	}
}

// TestWhoMadeAnExecutable: besides opening for writing, other calls make a file what it is.
func TestWhoMadeAnExecutable(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(open, change *sensor.Record)
		want string
	}{
		{"renamed", func(_, r *sensor.Record) { r.Kind = event.KindRename }, "/bin/mv"},
		{"linked", func(_, r *sensor.Record) { r.Kind = event.KindLink }, "/bin/mv"},
		{"made executable", func(_, r *sensor.Record) { r.Kind = event.KindChmod }, "/bin/mv"},
		{"in memory", func(_, r *sensor.Record) { r.Kind = event.KindMemfd }, "/bin/mv"},
		{"refused", func(_, r *sensor.Record) { r.Kind, r.Errno = event.KindRename, 13 }, ""},
		{"removed", func(_, r *sensor.Record) { r.Kind = event.KindUnlink }, ""},
		{"written and renamed", func(o, r *sensor.Record) { o.Open.Flags, r.Kind = unix.O_RDWR, event.KindRename }, "/usr/bin/curl"},
		{"read and renamed", func(o, r *sensor.Record) { o.Open.Flags, r.Kind = unix.O_RDONLY, event.KindRename }, "/bin/mv"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, nil).run()
			open, change := b.record(event.KindOpen, 1003, 0), b.record(event.KindRename, 1004, 0)
			open.Open = sensor.OpenRecord{Path: []byte("/tmp/x"), Dev: 7, Inode: 600}
			change.File = sensor.FileRecord{Path: []byte("/tmp/x"), Target: []byte("/bin/x"), Dev: 7, Inode: 600}
			test.set(open, change)
			run := b.exec(1005, 0, "/bin/x", "x")
			run.Exec.File.Inode = 600
			b.feed(b.exec(1003, 0, "/usr/bin/curl", "curl"), b.exec(1004, 0, "/bin/mv", "mv"))
			if open.Open.Flags != 0 || test.name == "read and renamed" {
				b.feed(open)
			} else {
				b.feed(b.record(event.KindConnect, 1003, 0))
			}
			b.feed(change, run)
			got := ""
			if w := b.got(5)[4].Process.Exe.Writer; w != nil {
				got = w.ExePath
			}
			if got != test.want {
				t.Errorf("written by %q, want %q", got, test.want)
			}
		})
	}
}
