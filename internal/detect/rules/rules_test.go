package rules

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// TestKinds says which events agents must send; a rule that needs more makes every agent work more.
func TestKinds(t *testing.T) {
	e, err := detect.New(detect.Options{Rules: All()})
	if err != nil {
		t.Fatal(err)
	}
	var want event.Kinds
	for _, k := range []event.Kind{event.KindExec, event.KindConnect, event.KindBind, event.KindDNS, event.KindPtrace, event.KindOpen, event.KindRename,
		event.KindLink, event.KindSymlink, event.KindUnlink, event.KindMmap, event.KindMprotect, event.KindMount, event.KindModule, event.KindListen, event.KindVMWrite,
		event.KindSetuid, event.KindUserfaultfd} {
		want = want.With(k)
	}
	if e.Kinds() != want {
		t.Errorf("kinds %b, want %b", e.Kinds(), want)
	}
}

// ordinary is a batch of what busy containers do all day: no finding in it.
func ordinary() *event.Batch {
	b := &event.Batch{AgentID: "a", Host: event.Host{ID: "h", Name: "h"}}
	parent := &event.Process{UUID: event.UUID{9}, PID: 1, Name: "nginx", ExePath: "/usr/sbin/nginx"}
	for c := range 8 {
		container := &event.Container{ID: fmt.Sprintf("%064d", c), Name: "web", Image: "shop/web:1"}
		for i := range 32 {
			p := &event.Process{UUID: event.UUID{byte(c), byte(i)}, PID: uint32(100 + i), Name: "curl", ExePath: "/usr/bin/curl", Parent: parent,
				Args: []string{"curl", "-s", "https://api.example"}, Exe: event.File{Origin: event.OriginImage}, Stdin: event.Stdio{Kind: event.StdioPipe, Inode: 1}}
			for _, e := range []event.Event{
				{Kind: event.KindExec, Exec: &event.Exec{}},
				{Kind: event.KindDNS, DNS: &event.DNS{Name: "api.eu-west-1.service.example"}},
				{Kind: event.KindConnect, Connect: &event.Socket{Family: 1, Type: 1, Path: "/run/app.sock"}},
				{Kind: event.KindConnect, Connect: &event.Socket{Family: 2, Type: 1, Protocol: 6, Remote: netip.MustParseAddrPort("10.1.2.3:443")}},
			} {
				e.Process, e.Container, e.Time, e.Count = p, container, 1e18, 1
				b.Events = append(b.Events, e)
			}
		}
	}
	return b
}

func TestOrdinaryEventsDoNotAllocate(t *testing.T) {
	e, err := detect.New(detect.Options{Rules: All(), Lists: intel.NewLists()})
	if err != nil {
		t.Fatal(err)
	}
	b := ordinary()
	emit := func(occ *finding.Occurrence) { t.Errorf("a finding: %+v", occ) }
	e.Process(b, emit)
	if n := testing.AllocsPerRun(20, func() { e.Process(b, emit) }); n > 0 {
		t.Errorf("%v allocations for %d events", n, len(b.Events))
	}
}

// TestStateIsBounded runs many containers with many processes each.
func TestStateIsBounded(t *testing.T) {
	ps := newPlaces()
	for i := range 3 * maxPlaces {
		m := &detect.Match{Event: &event.Event{Container: &event.Container{ID: fmt.Sprint(i)}}}
		ps.of(m, true)
	}
	if len(ps.byName) != maxPlaces || len(ps.order) != maxPlaces {
		t.Errorf("%d places", len(ps.byName))
	}
	s := newShellPlace()
	for i := range 10000 {
		p := &event.Process{UUID: event.UUID{byte(i), byte(i >> 8)}, ExePath: "/bin/sh"}
		s.dial(p, &event.Socket{Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)}, protocolTCP, 1)
		s.remember(p, 1)
		s.bind(uint16(i))
	}
	if len(s.dialers) != maxDialers || len(s.index) != maxDialers || len(s.shells) != maxShells || len(s.ports) != maxPorts {
		t.Errorf("%d dialers, %d indexed, %d shells, %d ports", len(s.dialers), len(s.index), len(s.shells), len(s.ports))
	}
	for u, i := range s.index {
		if s.dialers[i].uuid != u {
			t.Fatal("the index is wrong")
		}
	}
}

func TestReadsCommands(t *testing.T) {
	for _, c := range []struct {
		args  []string
		shell bool
		want  bool
	}{
		{nil, true, true},
		{[]string{"sh"}, true, true},
		{[]string{"-bash"}, true, true},
		{[]string{"bash", "-i"}, true, true},
		{[]string{"bash", "--norc", "-i"}, true, true},
		{[]string{"bash", "--rcfile", "/x", "-i"}, true, true},
		{[]string{"bash", "-o", "pipefail"}, true, true},
		{[]string{"bash", "-s", "arg"}, true, true},
		{[]string{"busybox", "sh"}, true, true},
		{[]string{"bash", "-c", "id"}, true, false},
		{[]string{"bash", "-lc", "id"}, true, false},
		{[]string{"bash", "script.sh"}, true, false},
		{[]string{"bash", "-x", "script.sh"}, true, false},
		{[]string{"python3"}, false, true},
		{[]string{"python3", "-i"}, false, true},
		{[]string{"python3", "-"}, false, true},
		{[]string{"python3", "-c", "x"}, false, false},
		{[]string{"python3", "-m", "http.server"}, false, false},
		{[]string{"perl", "-e", "x"}, false, false},
		{[]string{"node", "app.js"}, false, false},
	} {
		if got := readsCommands(&event.Process{Args: c.args}, c.shell); got != c.want {
			t.Errorf("%q: %v, want %v", c.args, got, c.want)
		}
	}
}

func BenchmarkOrdinaryEvents(b *testing.B) {
	e, err := detect.New(detect.Options{Rules: All(), Lists: intel.NewLists()})
	if err != nil {
		b.Fatal(err)
	}
	batch := ordinary()
	b.ReportAllocs()
	for b.Loop() {
		e.Process(batch, func(*finding.Occurrence) {})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch.Events)), "ns/event")
}

// TestEveryType says that each type has a rule, and only one.
func TestEveryType(t *testing.T) {
	rules := make(map[string]int)
	for _, r := range All() {
		rules[r.Type]++
	}
	for _, typ := range finding.Types() {
		if rules[typ.Name] != 1 {
			t.Errorf("%s has %d rules", typ.Name, rules[typ.Name])
		}
	}
}

func TestElapsed(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Microsecond:  "less than a millisecond",
		350 * time.Millisecond:  "350 ms",
		1999 * time.Millisecond: "1.9 s",
		95 * time.Second:        "1m35s",
	} {
		if got := elapsed(d); got != want {
			t.Errorf("%d ns is written %q, want %q", d, got, want)
		}
	}
}

func TestPort(t *testing.T) {
	to := func(protocol, port uint16) *event.Socket {
		return &event.Socket{Type: 3, Protocol: protocol, Remote: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.66"), port)}
	}
	for want, s := range map[string]*event.Socket{" port 443": to(6, 443), " by ICMP": to(1, 0), " by IP protocol 47": to(47, 0)} {
		if got := port(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
