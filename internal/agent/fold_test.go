package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

func (b *bench) open(pid uint32, path string) *sensor.Record {
	r := b.record(event.KindOpen, pid, 0)
	r.Open = sensor.OpenRecord{Path: []byte(path), Flags: unix.O_WRONLY, Dev: 7, Inode: uint64(len(path))}
	return r
}

func TestRepeatsAreFolded(t *testing.T) {
	b := newBench(t, nil).run()
	b.feed(b.exec(1002, 0, "/bin/sh", "sh"))
	var last *sensor.Record
	for i := range 1000 {
		last = b.open(1002, "/var/log/one")
		b.feed(last)
		if i%10 == 0 {
			b.feed(b.open(1002, "/var/log/other"))
		}
	}
	// The firsts go out at once, the repeats before long, without another record to push them.
	first := b.got(3)
	if first[1].Open.Path != "/var/log/one" || first[1].Count != 1 || first[2].Open.Path != "/var/log/other" || first[2].Count != 1 {
		t.Errorf("the firsts are %+v and %+v", first[1].Open, first[2].Open)
	}
	counts := map[string]uint32{}
	b.wait("all occurrences", func() bool {
		clear(counts)
		for _, ev := range b.server.events()[1:] {
			counts[ev.Open.Path] += ev.Count
		}
		return counts["/var/log/one"] == 1000 && counts["/var/log/other"] == 100
	})
	events := b.server.events()
	if len(events) > 11 {
		t.Errorf("1100 opens became %d events", len(events)-1)
	}
	var newest int64
	for _, ev := range events {
		newest = max(newest, ev.Time)
		if ev.Process.ExePath != "/bin/sh" || ev.Container == nil {
			t.Errorf("a folded event lacks its process or container: %+v", ev)
		}
	}
	if want := b.agent.clock.wall(last.Boottime); newest < want-1e6 || newest > want+1e6 {
		t.Errorf("the latest event is of %d, want %d, when the last occurrence was", newest, want)
	}
	l := &b.agent.ledger
	if l.made.Load() != l.encoded.Load()+l.folded.Load() || l.folded.Load() != 1101-uint64(len(events)) {
		t.Errorf("made %d, encoded %d, folded %d", l.made.Load(), l.encoded.Load(), l.folded.Load())
	}
}

// TestStoppingSendsRepeats: what is being folded when the agent stops is not lost.
func TestStoppingSendsRepeats(t *testing.T) {
	b := newBench(t, nil).run()
	for range 50 {
		b.feed(b.open(1002, "/x"))
	}
	b.got(1)
	b.stop()
	sum := uint32(0)
	for _, ev := range b.server.events() {
		sum += ev.Count
	}
	if sum != 50 {
		t.Errorf("the counts add up to %d, want 50", sum)
	}
}

// TestWhatIsARepeat checks, by kind, what differs between repeats and what makes another object.
func TestWhatIsARepeat(t *testing.T) {
	b := newBench(t, nil)
	tcp := func(local, remote string) sensor.SocketRecord {
		return sensor.SocketRecord{Family: 2, Type: 1, Protocol: 6, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}
	}
	dns := func(id byte, name string) sensor.DNSRecord {
		p := message(t, dnsQuestion(name))
		p[1] = id
		return sensor.DNSRecord{Egress: true, Protocol: 17, Remote: netip.MustParseAddrPort("192.0.2.53:53"), Payload: p}
	}
	for _, test := range []struct {
		name    string
		kind    event.Kind
		one     func(r *sensor.Record)
		another func(r *sensor.Record)
		same    bool
	}{
		{"open another path", event.KindOpen, func(r *sensor.Record) { r.Open.Path = []byte("/a") }, func(r *sensor.Record) { r.Open.Path = []byte("/b") }, false},
		{"open with other flags", event.KindOpen, func(r *sensor.Record) { r.Open.Flags = 1 }, func(r *sensor.Record) { r.Open.Flags = 2 }, false},
		{"open another file of that name", event.KindOpen, func(r *sensor.Record) { r.Open.Inode = 1 }, func(r *sensor.Record) { r.Open.Inode = 2 }, false},
		{"open with another result", event.KindOpen, func(r *sensor.Record) {}, func(r *sensor.Record) { r.Errno = 13 }, false},
		{"open again", event.KindOpen, func(r *sensor.Record) { r.Open.Path = []byte("/a") }, func(r *sensor.Record) { r.Open.Path = []byte("/a") }, true},
		{"open by another process", event.KindOpen, func(r *sensor.Record) {}, func(r *sensor.Record) { r.PID, r.Start = 1003, 1003e9 }, false},
		{"open after setuid", event.KindOpen, func(r *sensor.Record) {}, func(r *sensor.Record) { r.UID = 5 }, false},
		{"connect from another port", event.KindConnect, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:1000", "192.0.2.1:80") }, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:1001", "192.0.2.1:80") }, true},
		{"connect to another port", event.KindConnect, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:1000", "192.0.2.1:80") }, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:1000", "192.0.2.1:81") }, false},
		{"connect to another socket", event.KindConnect, func(r *sensor.Record) { r.Socket.Path = []byte("/run/a") }, func(r *sensor.Record) { r.Socket.Path = []byte("/run/b") }, false},
		{"accept from another port", event.KindAccept, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:80", "192.0.2.1:1000") }, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:80", "192.0.2.1:1001") }, true},
		{"accept from another host", event.KindAccept, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:80", "192.0.2.1:1000") }, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:80", "192.0.2.2:1000") }, false},
		{"bind another port", event.KindBind, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:80", "0.0.0.0:0") }, func(r *sensor.Record) { r.Socket = tcp("10.0.0.1:81", "0.0.0.0:0") }, false},
		{"ask again", event.KindDNS, func(r *sensor.Record) { r.DNS = dns(1, "a.example.") }, func(r *sensor.Record) { r.DNS = dns(2, "a.example.") }, true},
		{"ask for another name", event.KindDNS, func(r *sensor.Record) { r.DNS = dns(1, "a.example.") }, func(r *sensor.Record) { r.DNS = dns(1, "b.example.") }, false},
		{"trace another process", event.KindPtrace, func(r *sensor.Record) { r.PtraceTarget = 7 }, func(r *sensor.Record) { r.PtraceTarget = 8 }, false},
		{"send another signal", event.KindKill, func(r *sensor.Record) { r.PtraceRequest = 9 }, func(r *sensor.Record) { r.PtraceRequest = 15 }, false},
		{"split otherwise", event.KindRename, func(r *sensor.Record) { r.File.Path, r.File.Target = []byte("/a"), []byte("b/c") }, func(r *sensor.Record) { r.File.Path, r.File.Target = []byte("/ab"), []byte("/c") }, false},
		{"rename to another name", event.KindRename, func(r *sensor.Record) { r.File.Target = []byte("/a") }, func(r *sensor.Record) { r.File.Target = []byte("/b") }, false},
		{"change to another mode", event.KindChmod, func(r *sensor.Record) { r.File.Mode = 0o644 }, func(r *sensor.Record) { r.File.Mode = 0o4755 }, false},
		{"another page", event.KindMprotect, func(r *sensor.Record) { r.Memory = event.Memory{Start: 1, Region: "heap"} }, func(r *sensor.Record) { r.Memory = event.Memory{Start: 2, Region: "heap"} }, true},
		{"another region", event.KindMprotect, func(r *sensor.Record) { r.Memory = event.Memory{Region: "heap"} }, func(r *sensor.Record) { r.Memory = event.Memory{Region: "stack"} }, false},
		{"mount elsewhere", event.KindMount, func(r *sensor.Record) { r.Mount.Target = []byte("/a") }, func(r *sensor.Record) { r.Mount.Target = []byte("/b") }, false},
		{"other capabilities", event.KindCapset, func(r *sensor.Record) { r.Creds.Capabilities = 1 }, func(r *sensor.Record) { r.Creds.Capabilities = 2 }, false},
		{"another command", event.KindBPF, func(r *sensor.Record) { r.Call.Command = 5 }, func(r *sensor.Record) { r.Call.Command = 6 }, false},
		{"another descriptor", event.KindDup, func(r *sensor.Record) { r.Call.Command = 0 }, func(r *sensor.Record) { r.Call.Command = 1 }, false},
		{"execs", event.KindExec, func(r *sensor.Record) {}, func(r *sensor.Record) {}, false},
		{"exits", event.KindExit, func(r *sensor.Record) {}, func(r *sensor.Record) {}, false},
	} {
		a := b.agent
		a.folds = newFolds()
		e := a.opts.Containers.Entry(b.web, 0)
		repeats := func(set func(*sensor.Record)) bool {
			r := b.record(test.kind, 1002, 0)
			set(r)
			return a.repeats(r, a.table.acting(r, e))
		}
		if repeats(test.one) {
			t.Errorf("%s: the first is a repeat", test.name)
		}
		if got := repeats(test.another); got != test.same {
			t.Errorf("%s: folded %v, want %v", test.name, got, test.same)
		}
	}
}

// TestEveryKindIsFoldedOrNot makes sure that no kind was forgotten.
func TestEveryKindIsFoldedOrNot(t *testing.T) {
	f := newFolds()
	s := new(snapshot)
	for k := event.KindFork; k < event.KindCount; k++ {
		r := &sensor.Record{Kind: k, DNS: sensor.DNSRecord{Payload: make([]byte, 12)}}
		_, folded := f.keyOf(r, s)
		if want := k != event.KindFork && k != event.KindExec && k != event.KindExit && k != event.KindAlert; folded != want {
			t.Errorf("%s: folded %v, want %v", k, folded, want)
		}
	}
}

func TestFoldsAreBounded(t *testing.T) {
	b := newBench(t, func(o *Options) { o.QueueSize = 100_000 })
	a := b.agent
	e := a.opts.Containers.Entry(b.web, 0)
	const n = 3 * maxFolds
	for i := range n {
		for range 3 { // Each has two repeats that must not be lost when it makes room.
			r := b.open(1002, fmt.Sprint("/data/", i))
			if s := a.table.acting(r, e); !a.repeats(r, s) {
				i := a.item(r, s)
				a.describe(i, r)
				a.enqueue(i)
			}
		}
		if a.folds.n > maxFolds || len(a.folds.index) != a.folds.n {
			t.Fatalf("%d objects, %d in the index", a.folds.n, len(a.folds.index))
		}
	}
	for _, i := range a.folds.expire(nil, true) {
		a.enqueue(i)
	}
	var occurred uint32
	paths := map[string]uint32{}
	for {
		got := a.queue.take(nil, 1000)
		if len(got) == 0 {
			break
		}
		for _, i := range got {
			occurred += i.ev.Count
			paths[i.ev.Open.Path] += i.ev.Count
		}
	}
	if occurred != 3*n || len(paths) != n {
		t.Errorf("%d occurrences of %d objects, want %d of %d", occurred, len(paths), 3*n, n)
	}
	if a.folds.n != 0 || len(a.folds.index) != 0 {
		t.Errorf("%d objects are left", a.folds.n)
	}
}

// TestFoldWindow: while there are repeats, one event a second; after a quiet second, the next one goes out at once again.
func TestFoldWindow(t *testing.T) {
	b := newBench(t, nil)
	a := b.agent
	e := a.opts.Containers.Entry(b.web, 0)
	var log strings.Builder
	for _, step := range "rrr....." + "....." + "r....." + "rr" {
		if step == 'r' {
			r := b.open(1002, "/x")
			fmt.Fprintf(&log, "%t ", a.repeats(r, a.table.acting(r, e)))
			continue
		}
		for _, i := range a.folds.expire(nil, false) {
			fmt.Fprintf(&log, "[%d] ", i.ev.Count)
		}
	}
	// Two are folded and sent after five ticks; five quiet ticks; a first one again; nothing to send; again a first and a repeat.
	if want := "false true true [2] false false true "; log.String() != want {
		t.Errorf("got  %s\nwant %s", log.String(), want)
	}
}

// TestLossRaisesAnAlert: the server is told of the container that floods, and quiet ones lose nothing.
func TestLossRaisesAnAlert(t *testing.T) {
	b := newBench(t, func(o *Options) { o.QueueSize = 128 })
	a := b.agent
	// The shipper does not run yet: everything meets in the queue.
	for i := range 10_000 {
		a.sink(b.open(1002, fmt.Sprint("/flood/", i)))
	}
	quiet := b.record(event.KindConnect, 2002, 0)
	quiet.CgroupID = b.host
	a.sink(quiet)
	b.run()
	b.wait("an alert", func() bool {
		for _, ev := range b.server.events() {
			if ev.Alert != nil {
				return true
			}
		}
		return false
	})
	b.stop()
	heard, alerts := false, 0
	for _, ev := range b.server.events() {
		switch {
		case ev.Kind == event.KindConnect && ev.Process.PID == 2002:
			heard = true
		case ev.Alert != nil:
			alerts++
			if ev.Alert.Reason != "loss" || ev.Alert.Where != "queue" || ev.Alert.Lost != 10_000-128+1 || ev.Container == nil || ev.Container.Name != "web" || ev.Process.Name != "vedette" {
				t.Errorf("alert %+v of %+v in %+v", ev.Alert, ev.Process, ev.Container)
			}
		}
	}
	if !heard {
		t.Error("the quiet one was not heard")
	}
	if alerts != 1 {
		t.Errorf("%d alerts, want 1", alerts)
	}
	if n := b.agent.ledger.queueFull[event.KindOpen].Load(); n != 10_000-128+1 {
		t.Errorf("%d opens dropped", n)
	}
	if last := b.server.beats[len(b.server.beats)-1]; last.Counters["container.web_id.dropped"] != 10_000-128+1 {
		t.Errorf("the last heartbeat says %v", last.Counters)
	}
}

func TestNamesOfContainersInCounters(t *testing.T) {
	for key, want := range map[string]string{
		"":                                    "host",
		strings.Repeat("ab", 32):              "abababababab",
		"/system.slice/Docker.service":        "_system_slice_docker_service",
		"/x\n\xff/" + strings.Repeat("y", 40): strings.Repeat("y", 32),
	} {
		if got := plain(key); got != want {
			t.Errorf("%q: %s, want %s", key, got, want)
		}
	}
}
