package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/sensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source delivers what a test feeds it.
type source struct {
	records chan *sensor.Record
	running []*sensor.Record // delivered by Snapshot
	kinds   atomic.Uint64
	dropped uint64 // opens that it says the kernel has lost
}

func (s *source) Run(ctx context.Context, sink func(*sensor.Record)) error {
	for {
		select {
		case r := <-s.records:
			sink(r)
		case <-ctx.Done():
			for {
				select {
				case r := <-s.records:
					sink(r)
					continue
				default:
				}
				return nil
			}
		}
	}
}

func (s *source) Snapshot(_ context.Context, sink func(*sensor.Record)) error {
	for _, r := range s.running {
		sink(r)
	}
	return nil
}

func (s *source) SetKinds(k event.Kinds) error { s.kinds.Store(uint64(k)); return nil }
func (s *source) Stats() sensor.Stats {
	st := sensor.Stats{}
	st.Dropped[event.KindOpen] = s.dropped
	return st
}
func (s *source) Close() error { return nil }

// server is the other end of a link, in memory.
type server struct {
	mu      sync.Mutex
	up      bool
	fail    error
	hang    bool // Publish answers nothing
	batches []*event.Batch
	beats   []link.Heartbeat
	configs chan link.AgentConfig
}

func (s *server) AgentID() string                  { return "agent" }
func (s *server) Connected() bool                  { s.mu.Lock(); defer s.mu.Unlock(); return s.up }
func (s *server) Configs() <-chan link.AgentConfig { return s.configs }
func (s *server) set(up bool, fail error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up, s.fail = up, fail
}

func (s *server) Publish(ctx context.Context, epoch string, sequence uint64, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hang {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return ctx.Err()
	}
	if !s.up {
		return link.ErrNotConnected
	}
	if s.fail != nil {
		return s.fail
	}
	b, err := event.Decode(data, nil)
	if err != nil {
		panic(err)
	}
	if b.Epoch != epoch || b.Sequence != sequence || b.AgentID != "agent" {
		panic(fmt.Sprintf("batch %s/%d was published as %s/%d", b.Epoch, b.Sequence, epoch, sequence))
	}
	s.batches = append(s.batches, b)
	return nil
}

func (s *server) Heartbeat(hb link.Heartbeat) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats = append(s.beats, hb)
	return nil
}

func (s *server) events() (out []*event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		for i := range b.Events {
			out = append(out, &b.Events[i])
		}
	}
	return out
}

// bench is an agent with both its ends in a test's hands.
type bench struct {
	t      *testing.T
	source *source
	server *server
	agent  *Agent
	web    uint64 // the cgroup of the container "web"
	host   uint64 // a cgroup of the host
	start  int64  // of the container, wall clock
	stop   func()
	now    uint64
}

type claims map[string]*event.Container

func (c claims) Claim(path string) (*event.Container, bool) { f, ok := c[path]; return f, ok }

func newBench(t *testing.T, change func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, source: &source{records: make(chan *sensor.Record, 100_000)}, server: &server{up: true, configs: make(chan link.AgentConfig, 1)}}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		t.Fatal(err)
	}
	b.now = uint64(boot.Nano())
	b.start = time.Now().Add(-time.Minute).UnixNano()
	root := t.TempDir()
	for path, id := range map[string]*uint64{"web": &b.web, "system.slice": &b.host} {
		var st unix.Stat_t
		if err := os.MkdirAll(filepath.Join(root, path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(filepath.Join(root, path), &st); err != nil {
			t.Fatal(err)
		}
		*id = st.Ino
	}
	containers, err := container.Open(container.Options{CgroupRoot: root, Host: "host", Claimers: []container.Claimer{
		claims{"/web": {ID: "web-id", Name: "web", Image: "shop/web:3", StartedAt: b.start, Cluster: "shop", Service: "web"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(containers.Close)
	o := Options{
		Source: b.source, Link: b.server, Containers: containers, HostID: "machine", Hostname: "host", Version: "test", SpoolDir: t.TempDir(),
		BatchInterval: 5 * time.Millisecond, HeartbeatInterval: time.Hour, procRoot: "-", Registerer: prometheus.NewRegistry(),
	}
	if change != nil {
		change(&o)
	}
	if b.agent, err = New(o); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) run() *bench {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.agent.Run(ctx) }()
	var once sync.Once
	b.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				b.t.Errorf("Run: %v", err)
			}
		})
	}
	b.t.Cleanup(b.stop)
	return b
}

// record returns a record of process pid, child of parent, in the container.
func (b *bench) record(kind event.Kind, pid, parent uint32) *sensor.Record {
	b.now += 1000
	r := &sensor.Record{
		Kind: kind, Boottime: b.now, PID: pid, TID: pid, NSPID: pid - 1000, PPID: parent, Start: uint64(pid) * 1e9, CgroupID: b.web, Comm: []byte("sh"),
	}
	if parent != 0 {
		r.ParentStart = uint64(parent) * 1e9
	}
	return r
}

func (b *bench) exec(pid, parent uint32, exe string, args ...string) *sensor.Record {
	r := b.record(event.KindExec, pid, parent)
	r.Comm = []byte(filepath.Base(exe))
	r.Exec = sensor.ExecRecord{
		Exe: []byte(exe), Args: []byte(strings.Join(args, "\x00") + "\x00"), Cwd: []byte("/"),
		File: event.File{Dev: 7, Inode: uint64(len(exe)) + 100, MTime: b.start - 1e9, CTime: b.start - 1e9, Size: 10},
	}
	return r
}

func (b *bench) feed(records ...*sensor.Record) {
	for _, r := range records {
		b.source.records <- r
	}
}

func (b *bench) wait(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// got waits for n events.
func (b *bench) got(n int) []*event.Event {
	b.t.Helper()
	b.wait(fmt.Sprint(n, " events"), func() bool { return len(b.server.events()) >= n })
	return b.server.events()
}

func TestLineage(t *testing.T) {
	b := newBench(t, nil).run()
	b.feed(
		b.exec(1001, 0, "/sbin/init", "/sbin/init"),
		b.record(event.KindFork, 1002, 1001),
		b.exec(1002, 1001, "/bin/sh", "sh", "-c", "curl x | sh"),
		b.record(event.KindFork, 1003, 1002),
		b.exec(1003, 1002, "/usr/bin/curl", "curl", "x"),
		b.record(event.KindExit, 1002, 1001),
		b.record(event.KindConnect, 1003, 1002),
	)
	events := b.got(5)
	connect := events[4]
	if connect.Kind != event.KindConnect || connect.Connect == nil {
		t.Fatalf("the fifth event is %+v", connect)
	}
	var names []string
	for p := connect.Process; p != nil; p = p.Parent {
		names = append(names, fmt.Sprint(p.ExePath, p.Args))
	}
	want := []string{"/usr/bin/curl[curl x]", "/bin/sh[sh -c curl x | sh]", "/sbin/init[/sbin/init]"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("lineage (-want +got):\n%s", diff)
	}
	p := connect.Process
	if p.ParentUUID != p.Parent.UUID || p.ParentUUID.IsZero() || p.UUID == p.Parent.UUID {
		t.Errorf("UUIDs: own %v, parent %v and %v", p.UUID, p.ParentUUID, p.Parent.UUID)
	}
	if c := connect.Container; c == nil || c.Name != "web" || connect.Count != 1 {
		t.Errorf("container %+v, count %d", c, connect.Count)
	}
	if top := p.Parent.Parent; !top.IsContainer || p.IsContainer {
		t.Error("the container's first process is not marked as such, or another one is")
	}
	if d := time.Since(connect.At()); d < -time.Minute || d > time.Minute {
		t.Errorf("the event's time is %v off", d)
	}
	if got := events[2].Exec.PreviousExe; got != "/bin/sh" {
		t.Errorf("curl replaced %q, want the /bin/sh that its parent was at the fork", got)
	}
	// The parent's exit and the parent's program of the time before an exec stay what they were.
	b.feed(b.exec(1003, 1002, "/bin/ls", "ls"))
	last := b.got(6)[5]
	if last.Process.ExePath != "/bin/ls" || last.Exec.PreviousExe != "/usr/bin/curl" || last.Process.UUID != p.UUID || last.Process.Parent.ExePath != "/bin/sh" {
		t.Errorf("after an exec: %+v from %q below %q", last.Process.ExePath, last.Exec.PreviousExe, last.Process.Parent.ExePath)
	}
	if p.ExePath != "/usr/bin/curl" {
		t.Error("the exec changed an event of before")
	}
}

func TestPidReuse(t *testing.T) {
	b := newBench(t, nil).run()
	first := b.exec(1002, 0, "/bin/first", "first")
	again := b.exec(1002, 0, "/bin/second", "second")
	again.Start = 99e9
	late := b.record(event.KindConnect, 1002, 0)
	b.feed(first, again, late)
	events := b.got(3)
	if events[0].Process.UUID == events[1].Process.UUID {
		t.Error("two processes with one pid have one UUID")
	}
	if got := events[2].Process.ExePath; got != "/bin/first" {
		t.Errorf("a late event of the first process shows %q", got)
	}
}

func TestChangesOfAProcess(t *testing.T) {
	b := newBench(t, nil).run()
	exec := b.exec(1002, 0, "/usr/bin/sudo", "sudo")
	exec.UID, exec.EUID = 1000, 1000
	root := b.record(event.KindConnect, 1002, 0)
	root.Comm = []byte("renamed")
	b.feed(exec, root)
	events := b.got(2)
	if p := events[0].Process; p.UID != 1000 || p.Name != "sudo" {
		t.Errorf("at exec: uid %d, name %q", p.UID, p.Name)
	}
	if p := events[1].Process; p.UID != 0 || p.Name != "renamed" || p.ExePath != "/usr/bin/sudo" || p.UUID != events[0].Process.UUID {
		t.Errorf("after setuid and prctl: %+v", p)
	}
}

func TestOrigin(t *testing.T) {
	b := newBench(t, nil).run()
	for _, test := range []struct {
		name   string
		change func(r *sensor.Record)
		want   event.FileOrigin
	}{
		{"of the image", func(*sensor.Record) {}, event.OriginImage},
		{"upper layer", func(r *sensor.Record) { r.Exec.File.UpperLayer = true }, event.OriginWritten},
		{"new content", func(r *sensor.Record) { r.Exec.File.MTime, r.Exec.File.CTime = b.start+1, b.start+1 }, event.OriginWritten},
		{"modification time set back", func(r *sensor.Record) { r.Exec.File.MTime, r.Exec.File.CTime = 1, b.start+1 }, event.OriginWritten},
		{"memfd", func(r *sensor.Record) { r.Exec.File.Origin = event.OriginMemory }, event.OriginMemory},
		{"host", func(r *sensor.Record) { r.CgroupID = b.host; r.Exec.File.MTime = b.start + 1 }, event.OriginUnknown},
	} {
		r := b.exec(1002, 0, "/x/"+test.name, "x")
		test.change(r)
		n := len(b.server.events())
		b.feed(r)
		ev := b.got(n + 1)[n]
		if ev.Process.Exe.Origin != test.want {
			t.Errorf("%s: origin %v, want %v", test.name, ev.Process.Exe.Origin, test.want)
		}
		if (ev.Container == nil) != (test.name == "host") {
			t.Errorf("%s: container %+v", test.name, ev.Container)
		}
	}
}

// TestOriginOfWhatWasSeenWritten: a file that a process of the container wrote is new whatever its times and file system say.
func TestOriginOfWhatWasSeenWritten(t *testing.T) {
	b := newBench(t, nil).run()
	write := b.record(event.KindOpen, 1003, 1002)
	write.Open = sensor.OpenRecord{Path: []byte("/dev/shm/miner"), Flags: unix.O_WRONLY | unix.O_CREAT, Dev: 7, Inode: 4242}
	run := b.exec(1004, 1002, "/dev/shm/miner", "miner")
	run.Exec.File = event.File{Dev: run.Exec.File.Dev, Inode: 4242, MTime: 1, CTime: 1, Size: 10}
	b.feed(b.exec(1002, 0, "/bin/sh", "sh"), b.exec(1003, 1002, "/usr/bin/curl", "curl"), write, run)
	if got := b.got(4)[3].Process.Exe.Origin; got != event.OriginWritten {
		t.Errorf("origin %v, want written", got)
	}
}

func TestWriterOfAnExecutable(t *testing.T) {
	b := newBench(t, nil).run()
	write := b.record(event.KindOpen, 1003, 1002)
	write.Open = sensor.OpenRecord{Path: []byte("/tmp/miner"), Flags: unix.O_WRONLY | unix.O_CREAT, Dev: 7, Inode: 4242}
	run := b.exec(1004, 1002, "/tmp/miner", "miner")
	run.Exec.File.Inode, run.Exec.File.UpperLayer = 4242, true
	other := b.exec(1005, 1002, "/tmp/miner", "miner")
	other.Exec.File.Inode, other.CgroupID = 4242, b.host
	b.feed(b.exec(1002, 0, "/bin/sh", "sh"), b.exec(1003, 1002, "/usr/bin/curl", "curl", "-o", "/tmp/miner"), write, run, other)
	// Between cgroups there is no order: put those of the container first.
	events := b.got(5)
	slices.SortStableFunc(events, func(x, y *event.Event) int { return int(x.Process.PID) - int(y.Process.PID) })
	exe := events[3].Process.Exe
	if exe.Writer == nil || exe.Writer.ExePath != "/usr/bin/curl" || exe.Writer.Parent == nil || exe.Writer.Parent.ExePath != "/bin/sh" || exe.WrittenAt != events[2].Time {
		t.Errorf("writer %+v at %d, want curl below sh at %d", exe.Writer, exe.WrittenAt, events[2].Time)
	}
	if exe.Writer != nil && exe.Writer.UUID != events[2].Process.UUID {
		t.Error("the writer is not the process that wrote")
	}
	if w := events[4].Process.Exe.Writer; w != nil {
		t.Errorf("the same inode outside of the container has a writer: %+v", w)
	}
}

func TestChainsAreBounded(t *testing.T) {
	tab := newTable("h", new(clock), "")
	b := newBench(t, nil)
	e := b.agent.opts.Containers.Entry(b.web, 0)
	for pid := uint32(1001); pid < 4000; pid++ {
		// Each writes a program, forks a child that runs it, and ends: a chain by parent and by writer.
		fork := b.record(event.KindFork, pid+1, pid)
		tab.fork(fork, e)
		open := b.record(event.KindOpen, pid, pid-1)
		open.Open = sensor.OpenRecord{Dev: 7, Inode: uint64(pid)}
		tab.wrote(open, tab.acting(open, e), open.Open.Dev, open.Open.Inode)
		exec := b.exec(pid+1, pid, "/tmp/x", "x")
		exec.Exec.File.Inode = uint64(pid)
		s, _ := tab.exec(exec, e)
		seen := map[*event.Process]bool{}
		var count func(p *event.Process, depth int)
		count = func(p *event.Process, depth int) {
			if p == nil || seen[p] {
				return
			}
			if depth > maxDepth+writerLineage+2 {
				t.Fatalf("after %d processes, a chain of %d", pid-1000, depth)
			}
			seen[p] = true
			count(p.Parent, depth+1)
			count(p.Exe.Writer, depth+1)
		}
		count(&s.proc, 0)
		if len(seen) > (maxDepth+2)*(writerLineage+2) {
			t.Fatalf("after %d processes, one of them holds %d", pid-1000, len(seen))
		}
	}
}

func TestTableIsBounded(t *testing.T) {
	tab := newTable("h", new(clock), "")
	b := newBench(t, nil)
	e := b.agent.opts.Containers.Entry(b.web, 0)
	for i := range uint32(3 * maxProcesses) {
		r := b.record(event.KindFork, 2000+i, 1001)
		tab.fork(r, e)
		open := b.record(event.KindOpen, 2000+i, 1001)
		open.Open = sensor.OpenRecord{Dev: 7, Inode: uint64(i + 1)}
		tab.wrote(open, tab.acting(open, e), open.Open.Dev, open.Open.Inode)
		tab.exit(b.record(event.KindExit, 2000+i, 1001))
	}
	if tab.byKey.len() > maxProcesses || tab.byPID.len() > maxProcesses || len(tab.exited) > maxProcesses || tab.writers.len() > maxWriters {
		t.Errorf("%d processes, %d pids, %d exited, %d writers", tab.byKey.len(), tab.byPID.len(), len(tab.exited), tab.writers.len())
	}
	if _, ok := tab.byKey.get(processKey{2000, 2000e9}); ok {
		t.Error("the oldest process is still there")
	}
}

func TestHostileTexts(t *testing.T) {
	b := newBench(t, nil).run()
	arg := strings.Repeat("a", 4096-5)
	r := b.exec(1002, 0, "/bin/\x1b[2J\xff", "evil", arg)
	r.Exec.ArgsCut = true
	empty := b.exec(1003, 0, "", "")
	empty.Exec.Args = nil
	gaps := b.exec(1004, 0, "/bin/x", "x", "", "", "y")
	b.feed(r, empty, gaps)
	events := b.got(3)
	p := events[0].Process
	if p.ExePath != "/bin/\x1b[2J\xff" || len(p.Args) != 2 || p.Args[1] != arg || !p.ArgsCut {
		t.Errorf("got %q, %d arguments (cut %v)", p.ExePath, len(p.Args), p.ArgsCut)
	}
	if got := event.Printable(p.ExePath); got != `/bin/\x1b[2J\xff` {
		t.Errorf("printed as %s", got)
	}
	if got := events[1].Process.Args; len(got) != 0 {
		t.Errorf("no arguments became %q", got)
	}
	if diff := cmp.Diff([]string{"x", "", "", "y"}, events[2].Process.Args); diff != "" {
		t.Errorf("empty arguments (-want +got):\n%s", diff)
	}
}

func message(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func dnsQuestion(name string) dnsmessage.Message {
	return dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
}

func dnsAnswer(name string) dnsmessage.Message {
	m := dnsQuestion(name)
	m.Response, m.RCode = true, dnsmessage.RCodeSuccess
	h := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET}
	m.Answers = []dnsmessage.Resource{
		{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.example.")}},
		{Header: h, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}},
		{Header: h, Body: &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::1").As16()}},
	}
	return m
}

func TestDNS(t *testing.T) {
	b := newBench(t, nil).run()
	server, local := netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("10.0.0.2:40000")
	of := func(payload []byte, protocol uint16, cut bool) *sensor.Record {
		r := b.record(event.KindDNS, 1002, 0)
		r.DNS = sensor.DNSRecord{Protocol: protocol, Remote: server, Local: local, Payload: payload, PayloadCut: cut}
		return r
	}
	question := message(t, dnsQuestion("C2.Example.ORG."))
	answer := message(t, dnsAnswer("c2.example.org."))
	b.feed(
		of(question, 17, false),
		of(answer, 17, false),
		of(append([]byte{0, byte(len(question))}, question...), 6, false),
		of(answer[:len(answer)-20], 17, true),
		of([]byte("\x00\x01GARBAGE"), 17, false),
		of(nil, 17, false),
		b.record(event.KindConnect, 1002, 0),
	)
	events := b.got(5)
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	base := event.DNS{Protocol: 17, Server: server, Local: local, Name: "c2.example.org", Type: 1}
	asked, answered, tcp, cut := base, base, base, base
	answered.Response, answered.Answers = true, addrs
	tcp.Protocol = 6
	cut.Response, cut.Answers = true, addrs[:1]
	for i, want := range []event.DNS{asked, answered, tcp, cut} {
		if diff := cmp.Diff(&want, events[i].DNS, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("message %d (-want +got):\n%s", i, diff)
		}
	}
	if n := b.agent.ledger.malformed.Load(); n != 2 {
		t.Errorf("%d malformed messages, want 2", n)
	}
}

func FuzzDNS(f *testing.F) {
	f.Add(message(f, dnsQuestion("a.example.")), uint16(17), false)
	f.Add(message(f, dnsAnswer("a.example.")), uint16(6), true)
	f.Fuzz(func(t *testing.T, payload []byte, protocol uint16, cut bool) {
		var d event.DNS
		if err := parseDNS(&d, &sensor.DNSRecord{Protocol: protocol, Payload: payload, PayloadCut: cut}); err != nil {
			return
		}
		if len(d.Answers) > maxAnswers || len(d.Name) > 255*4 || !d.Response && len(d.Answers) > 0 {
			t.Fatalf("%+v", d)
		}
	})
}

func TestPtrace(t *testing.T) {
	b := newBench(t, nil).run()
	r := b.record(event.KindPtrace, 1003, 1002)
	r.PtraceRequest, r.PtraceTarget, r.PtraceStart = unix.PTRACE_ATTACH, 1002, 1002e9
	unknown := b.record(event.KindPtrace, 1003, 1002)
	unknown.PtraceRequest, unknown.PtraceTarget = unix.PTRACE_ATTACH, 777
	b.feed(b.exec(1002, 0, "/usr/bin/victim", "victim"), b.exec(1003, 1002, "/usr/bin/injector", "injector"), r, unknown)
	events := b.got(4)
	if p := events[2].Ptrace; p.Target == nil || p.Target.ExePath != "/usr/bin/victim" || p.TargetPID != 1002 || p.Request != unix.PTRACE_ATTACH {
		t.Errorf("got %+v", p)
	}
	if p := events[3].Ptrace; p.Target != nil || p.TargetPID != 777 {
		t.Errorf("an unknown target: %+v", p)
	}
}

// TestHashAndUser runs on a real process: the test itself.
func TestHashAndUser(t *testing.T) {
	b := newBench(t, func(o *Options) { o.HashWait = 20 * time.Second; o.Ignore = nil })
	delete(b.agent.ignore, uint32(os.Getpid()))
	b.run()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(exe)
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(text)
	real := func(pid uint32) *sensor.Record {
		r := b.exec(pid, 0, exe, "self")
		r.UID, r.EUID = uint32(os.Getuid()), uint32(os.Getuid())
		r.Exec.File.Size, r.Exec.File.MTime = st.Size(), st.ModTime().UnixNano()
		r.MntNS = 1
		return r
	}
	self := real(uint32(os.Getpid()))
	b.feed(self)
	p := b.got(1)[0].Process
	if p.SHA256 != hex.EncodeToString(want[:]) {
		t.Errorf("hash %s, want %x", p.SHA256, want)
	}
	if os.Getuid() == 0 && p.User != "root" {
		t.Errorf("user %q, want root", p.User)
	}
	// The same file again, by a process that is gone already: known.
	gone := real(4_000_000)
	b.feed(gone)
	if p := b.got(2)[1].Process; p.SHA256 != hex.EncodeToString(want[:]) {
		t.Errorf("from the cache: %q", p.SHA256)
	}
	// Another version of it, by a process that is gone: found through its parent.
	child := real(4_000_001)
	child.PPID, child.Exec.File.CTime = uint32(os.Getpid()), b.start-5
	b.feed(child)
	if p := b.got(3)[2].Process; p.SHA256 != hex.EncodeToString(want[:]) {
		t.Errorf("through the parent: %q", p.SHA256)
	}
	// A file that is not the one that was executed is not hashed in its place.
	swapped := real(4_000_002)
	swapped.PPID, swapped.Exec.File.CTime, swapped.Exec.File.Size = uint32(os.Getpid()), b.start-6, st.Size()-1
	b.feed(swapped)
	if p := b.got(4)[3].Process; p.SHA256 != "" {
		t.Errorf("a swapped file has the hash %q", p.SHA256)
	}
	if b.agent.ledger.unhashed.Load() == 0 {
		t.Error("what was not hashed is not counted")
	}
}

// TestOpenInRootIsSafe: what a container can put at /etc/passwd must not make the agent hang or read elsewhere.
func TestOpenInRootIsSafe(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a root of one's own needs root")
	}
	dir := t.TempDir()
	root, err := unix.Open("/", unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	for name, create := range map[string]func() error{
		"fifo":   func() error { return unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644) },
		"device": func() error { return unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o644, 5<<8) },
		"magic":  func() error { return os.Symlink("/proc/self/exe", filepath.Join(dir, "magic")) },
		"dir":    func() error { return os.Mkdir(filepath.Join(dir, "dir"), 0o755) },
	} {
		if err := create(); err != nil {
			t.Skipf("making %s: %v", name, err)
		}
		done := inBackground(func() error {
			f, err := openInRoot(root, filepath.Join(dir, name))
			if err == nil {
				f.Close()
			}
			return err
		})
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s was opened", name)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("opening %s hangs", name)
		}
	}
}

func inBackground(f func() error) <-chan error {
	c := make(chan error, 1)
	go func() { c <- f() }()
	return c
}

func TestParsePasswd(t *testing.T) {
	text := "root:x:0:0:root:/root:/bin/sh\nbad\nx:y\napp:x:1000:1000::/:\nsecond:x:1000:1:::\nneg:x:-1:0::\n" + strings.Repeat("n", 100) + ":x:7:7::\n"
	want := map[uint32]string{0: "root", 1000: "app"}
	if diff := cmp.Diff(want, parsePasswd(strings.NewReader(text))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParsePasswd(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range parsePasswd(strings.NewReader(text)) {
			if name == "" || len(name) > maxUserName {
				t.Fatalf("name %q", name)
			}
		}
	})
}

func TestKindsAreFiltered(t *testing.T) {
	b := newBench(t, nil).run()
	b.wait("the first kinds", func() bool { return b.source.kinds.Load() == uint64(event.AllKinds) })
	want := event.Kinds(0).With(event.KindExec).With(event.KindConnect)
	b.server.configs <- link.AgentConfig{Kinds: want, HeartbeatInterval: time.Minute}
	b.wait("the pushed kinds", func() bool { return b.source.kinds.Load() == uint64(want.With(event.KindOpen)) })
	b.feed(b.exec(1002, 0, "/bin/a", "a"), b.record(event.KindOpen, 1002, 0), b.record(event.KindBind, 1002, 0), b.record(event.KindExit, 1002, 0), b.record(event.KindConnect, 1002, 0))
	events := b.got(2)
	if len(events) != 2 || events[0].Kind != event.KindExec || events[1].Kind != event.KindConnect {
		t.Errorf("got %d events", len(events))
	}
	if n := b.agent.ledger.unwanted.Load(); n != 3 {
		t.Errorf("%d unwanted records, want 3", n)
	}
}

func TestOwnProcessIsNotReported(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Ignore = []uint32{1234} }).run()
	self := b.record(event.KindConnect, uint32(os.Getpid()), 0)
	b.feed(self, b.record(event.KindConnect, 1234, 0), b.record(event.KindConnect, 1002, 0))
	if ev := b.got(1)[0]; ev.Process.PID != 1002 {
		t.Errorf("got an event of pid %d", ev.Process.PID)
	}
	if n := b.agent.ledger.ignored.Load(); n != 2 {
		t.Errorf("%d ignored, want 2", n)
	}
}

func TestProcessesThatRanBefore(t *testing.T) {
	b := newBench(t, nil)
	old := b.exec(1002, 0, "/usr/sbin/nginx", "nginx")
	b.source.running = []*sensor.Record{old}
	b.run()
	b.feed(b.record(event.KindConnect, 1002, 0))
	if ev := b.got(1)[0]; ev.Kind != event.KindConnect || ev.Process.ExePath != "/usr/sbin/nginx" {
		t.Errorf("got %v of %q", ev.Kind, ev.Process.ExePath)
	}
}

// TestProcessesNobodyDescribed: an event of a process that no record has introduced shows what /proc knows.
func TestProcessesNobodyDescribed(t *testing.T) {
	b := newBench(t, func(o *Options) { o.procRoot = "" })
	delete(b.agent.ignore, uint32(os.Getpid()))
	b.run()
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	var ticks uint64
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if _, err := fmt.Sscan(fields[19], &ticks); err != nil {
		t.Fatal(err)
	}
	r := b.record(event.KindConnect, uint32(os.Getpid()), 0)
	r.Start = ticks*1e7 + 1234567
	reused := b.record(event.KindConnect, uint32(os.Getpid()), 0)
	reused.Start = r.Start + 1e9
	b.feed(r, reused)
	events := b.got(2)
	exe, _ := os.Executable()
	if p := events[0].Process; p.ExePath != exe || len(p.Args) == 0 || p.Args[0] != os.Args[0] {
		t.Errorf("got %q %q", p.ExePath, p.Args)
	}
	if p := events[1].Process; p.ExePath != "" {
		t.Errorf("a process that took over the pid was taken for the first: %q", p.ExePath)
	}
}

func (b *bench) sequences() (out []string) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	for _, batch := range b.server.batches {
		epoch := "old"
		if batch.Epoch == b.agent.epoch {
			epoch = "new"
		}
		out = append(out, fmt.Sprint(epoch, " ", batch.Sequence))
	}
	return out
}

func TestSpoolWhileTheServerIsAway(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, func(o *Options) { o.SpoolDir = dir })
	b.server.set(false, nil)
	b.run()
	for i := range uint32(5) {
		b.feed(b.record(event.KindConnect, 1002+i, 0))
		b.wait("the batch is in the spool", func() bool { return b.agent.ledger.spooled.Load() > uint64(i) })
	}
	b.server.set(true, nil)
	events := b.got(5)
	for i, ev := range events {
		if ev.Process.PID != 1002+uint32(i) {
			t.Errorf("event %d is of pid %d", i, ev.Process.PID)
		}
	}
	// Again away, and this time the agent ends before the server is back.
	b.wait("the spool is empty", func() bool { return b.agent.ledger.batches.Load() == 5 })
	b.server.set(true, errors.New("no responders"))
	b.feed(b.record(event.KindConnect, 2001, 0))
	b.wait("one in the spool", func() bool { return b.agent.ledger.spooled.Load() == 6 })
	b.server.set(false, nil)
	b.feed(b.record(event.KindConnect, 2002, 0))
	b.stop()

	again := newBench(t, func(o *Options) { o.SpoolDir = dir })
	again.run()
	again.feed(again.record(event.KindConnect, 2003, 0))
	events = again.got(3)
	for i, ev := range events {
		if ev.Process.PID != 2001+uint32(i) {
			t.Errorf("after the restart, event %d is of pid %d", i, ev.Process.PID)
		}
	}
	if diff := cmp.Diff([]string{"old 6", "old 7", "new 1"}, again.sequences()); diff != "" {
		t.Errorf("batches after the restart (-want +got):\n%s", diff)
	}
	again.stop()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left in the spool", len(left))
	}
}

// TestServerThatHangs has a server that stays connected but answers nothing, as one whose disk is full: batches must go on
// into the spool at once, and arrive in their order when the server answers again.
func TestServerThatHangs(t *testing.T) {
	b := newBench(t, nil)
	hang := func(yes bool) {
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		b.server.hang = yes
	}
	hang(true)
	b.run()
	const n = 30
	began := time.Now()
	for i := range uint32(n) {
		b.feed(b.record(event.KindConnect, 1002+i, 0))
		b.wait("the batch is in the spool", func() bool { return b.agent.ledger.spooled.Load() > uint64(i) })
	}
	if took := time.Since(began); took > patience+publishTimeout {
		t.Errorf("%d batches reached the spool in %v: each waited for the server", n, took)
	}
	hang(false)
	for i, ev := range b.got(n) {
		if ev.Process.PID != 1002+uint32(i) {
			t.Errorf("event %d is of pid %d", i, ev.Process.PID)
		}
	}
	b.stop()
}

func TestUnsendableBatchBlocksNothing(t *testing.T) {
	b := newBench(t, nil)
	b.server.set(true, fmt.Errorf("publishing: %w", link.ErrTooLarge))
	b.run()
	b.feed(b.record(event.KindConnect, 1002, 0))
	b.wait("it is given up", func() bool { return b.agent.ledger.unsendable.Load() == 1 })
	b.server.set(true, nil)
	b.feed(b.record(event.KindConnect, 1003, 0))
	if ev := b.got(1)[0]; ev.Process.PID != 1003 {
		t.Errorf("got an event of pid %d", ev.Process.PID)
	}
}

// TestLedgerAddsUp floods an agent whose server is slow to come back and checks that every record is accounted for.
func TestLedgerAddsUp(t *testing.T) {
	b := newBench(t, func(o *Options) { o.QueueSize = 64; o.SpoolMaxBytes = 64 << 10 })
	b.server.set(false, nil)
	b.source.dropped = 3
	const n = 50_000
	for i := range uint32(n) {
		r := b.record(event.KindOpen, 1002+i%100, 0)
		r.Open.Path = fmt.Appendf(nil, "/data/%d/%s", i, strings.Repeat("x", int(i%200)))
		b.feed(r)
	}
	b.run()
	b.wait("all records are taken", func() bool { return len(b.source.records) == 0 })
	b.server.set(true, nil)
	b.stop()
	var got, occurred, alerts uint64
	told := map[string]uint64{}
	for _, ev := range b.server.events() {
		got++
		if ev.Alert != nil {
			alerts++
			told[ev.Alert.Where] += ev.Alert.Lost
			continue
		}
		occurred += uint64(ev.Count)
	}
	l := &b.agent.ledger
	full, lost := l.queueFull[event.KindOpen].Load(), l.spoolLost.Load()
	t.Logf("records %d, queue full %d, made %d, folded %d, encoded %d, shipped %d, lost in the spool %d; alerts of %v", n, full, l.made.Load(), l.folded.Load(),
		l.encoded.Load(), l.shipped.Load(), lost, told)
	// The spool may have lost alerts, too; the ledger knows.
	whole := l.made.Load() == n+alerts
	if l.made.Load() < n+alerts || !whole && lost == 0 {
		t.Errorf("%d records and %d alerts: %d made", n, alerts, l.made.Load())
	}
	if l.made.Load() != l.encoded.Load()+l.folded.Load()+full {
		t.Errorf("made %d, encoded %d, folded %d, dropped at the queue %d", l.made.Load(), l.encoded.Load(), l.folded.Load(), full)
	}
	if l.encoded.Load() != got+lost || got != l.shipped.Load() {
		t.Errorf("encoded %d, stored %d (the ledger says %d), lost in the spool %d", l.encoded.Load(), got, l.shipped.Load(), lost)
	}
	if lost == 0 && occurred != n-full {
		t.Errorf("the events stand for %d occurrences, want %d", occurred, n-full)
	}
	if whole && (told["queue"] != full || told["kernel"] != 3) || told["queue"] > full || told["spool"] > lost {
		// What the spool loses while the agent stops is in the last heartbeat only.
		t.Errorf("alerts told of %v; lost were %d at the queue, 3 in the kernel and %d in the spool", told, full, lost)
	}
	if full == 0 || got == 0 {
		t.Error("nothing was tested")
	}
	last := b.server.beats[len(b.server.beats)-1]
	if !last.Stopping || last.Counters["dropped.queue.open"] != full || last.Counters["dropped.kernel.open"] != 3 || last.Counters["events.shipped"] != got {
		t.Errorf("the last heartbeat says %+v", last)
	}
}

func TestHeartbeatTellsOfWorkloads(t *testing.T) {
	b := newBench(t, nil)
	b.agent.opts.Containers.Entry(b.web, 0)
	b.run()
	b.wait("a heartbeat", func() bool { b.server.mu.Lock(); defer b.server.mu.Unlock(); return len(b.server.beats) > 0 })
	hb := b.server.beats[0]
	want := []link.Workload{{Kind: "compose", Cluster: "shop", Service: "web", Containers: 1}, {Kind: "host", Cluster: "host"}}
	if diff := cmp.Diff(want, hb.Workloads); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	if hb.Epoch != b.agent.Epoch() || hb.Scope != "host" || hb.Stopping || hb.Kernel == "" || hb.Arch == "" {
		t.Errorf("heartbeat %+v", hb)
	}
}

func TestGroup(t *testing.T) {
	task := &event.Task{ARN: "t1", ClusterARN: "c1", Family: "web", Revision: "42", LaunchType: "FARGATE"}
	live := []*event.Container{
		{ID: "1", Cluster: "prod", Task: task}, {ID: "2", Cluster: "prod", Task: task}, {ID: "3", Cluster: "shop", Service: "db"}, {ID: "4", Cluster: "host"},
	}
	want := []link.Workload{
		{Kind: "compose", Cluster: "shop", Service: "db", Containers: 1},
		{Kind: "ecs", Cluster: "prod", ClusterARN: "c1", TaskARN: "t1", TaskDefinition: "web:42", LaunchType: "FARGATE", Containers: 2},
		{Kind: "host", Cluster: "host", Containers: 1},
	}
	if diff := cmp.Diff(want, group(live, "host", true)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[:2], group(live[:3], "host", false)); diff != "" {
		t.Errorf("an agent beside a task (-want +got):\n%s", diff)
	}
}

func TestNewErrors(t *testing.T) {
	b := newBench(t, nil)
	if _, err := New(Options{}); err == nil {
		t.Error("an agent of nothing was made")
	}
	o := b.agent.opts
	o.SpoolDir = "/dev/null/x"
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "spool") {
		t.Errorf("got %v, want an error about the spool", err)
	}
}

func BenchmarkPipeline(b *testing.B) {
	src := &source{records: make(chan *sensor.Record)}
	srv := &server{up: true, configs: make(chan link.AgentConfig)}
	containers, err := container.Open(container.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer containers.Close()
	a, err := New(Options{Source: src, Link: discard{srv}, Containers: containers, SpoolDir: b.TempDir(), procRoot: "-", QueueSize: 1 << 16})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for _, name := range []string{"distinct", "repeated"} {
		b.Run(name, func(b *testing.B) {
			r := &sensor.Record{
				Kind: event.KindOpen, PID: 1002, Start: 1002e9, Comm: []byte("load"),
				Open: sensor.OpenRecord{Path: []byte("/data/some/file"), Flags: unix.O_WRONLY, Dev: 1, Inode: 2},
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Boottime++
				if name == "distinct" {
					r.Open.Flags += 1 << 12 // Not the inode: that would measure the table of writers.
				}
				a.sink(r)
			}
		})
	}
	cancel()
	<-done
	if n := a.ledger.queueFull[event.KindOpen].Load(); n > 0 {
		b.Logf("%d of %d dropped at the queue", n, a.ledger.made.Load())
	}
}

type discard struct{ *server }

func (discard) Publish(context.Context, string, uint64, []byte) error { return nil }
