package detect

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// talker makes a finding of each connection.
func talker() Rule {
	return Rule{
		Type:    "Backdoor:Runtime/C&CActivity.B",
		Pattern: `{"kind":["connect"]}`,
		Detect: func(m *Match) bool {
			m.Object = m.Event.Connect.Remote.Addr().String()
			return true
		},
	}
}

func newEngine(t testing.TB, rules ...Rule) *Engine {
	t.Helper()
	e, err := New(Options{Rules: rules, Lists: intel.NewLists(), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func connectTo(second int, address string, container *event.Container) event.Event {
	return event.Event{Kind: event.KindConnect, Time: int64(second) * 1e9, Count: 1, Container: container,
		Process: &event.Process{Name: "x", ExePath: "/bin/x"},
		Connect: &event.Socket{Family: 2, Type: 1, Protocol: 6, Remote: netip.AddrPortFrom(netip.MustParseAddr(address), 80)}}
}

// TestFolding has one container connect to ten thousand addresses.
func TestFolding(t *testing.T) {
	e := newEngine(t, talker())
	c := &event.Container{ID: "c1"}
	process := func(ev event.Event) (occ finding.Occurrence) {
		e.Process(&event.Batch{AgentID: "a", Host: event.Host{ID: "h"}, Events: []event.Event{ev}}, func(o *finding.Occurrence) { occ = *o })
		return occ
	}
	keys := map[string]int{}
	for i := range 10000 {
		occ := process(connectTo(1, fmt.Sprintf("10.0.%d.%d", i/256, i%256), c))
		keys[occ.Key]++
		if (occ.Info.Folded != "") != (i >= MaxKeys) {
			t.Fatalf("connection %d: folded %q", i, occ.Info.Folded)
		}
	}
	if len(keys) != MaxKeys+1 {
		t.Errorf("%d findings", len(keys))
	}
	// What has a finding of its own keeps it, another container has its own bound, and so has the next hour.
	if occ := process(connectTo(2, "10.0.0.0", c)); occ.Info.Folded != "" {
		t.Error("a known object was folded")
	}
	if occ := process(connectTo(2, "10.9.9.9", &event.Container{ID: "c2"})); occ.Info.Folded != "" {
		t.Error("another container's object was folded")
	}
	if occ := process(connectTo(3602, "10.9.9.9", c)); occ.Info.Folded != "" {
		t.Error("the next hour's object was folded")
	}
}

func TestKeyBookIsBounded(t *testing.T) {
	e := newEngine(t, talker())
	for i := range 3 * maxKeyRows {
		e.Process(&event.Batch{Events: []event.Event{connectTo(1, "10.0.0.1", &event.Container{ID: fmt.Sprint(i)})}}, func(*finding.Occurrence) {})
	}
	if len(e.keys.rows) > maxKeyRows {
		t.Errorf("%d rows", len(e.keys.rows))
	}
}

func TestKinds(t *testing.T) {
	for pattern, want := range map[string]event.Kinds{
		`{"kind":["exec","dns"]}`: event.Kinds(0).With(event.KindExec).With(event.KindDNS),
		`{"errno":[0]}`:           event.AllKinds,
		`{"$or":[{"kind":["exec"]},{"kind":["bind"],"errno":[0]}]}`: event.Kinds(0).With(event.KindExec).With(event.KindBind),
		`{"$or":[{"kind":["exec"]},{"errno":[0]}]}`:                 event.AllKinds,
		`{"errno":[0],"$or":[{"kind":["exec"]},{"kind":["open"]}]}`: event.Kinds(0).With(event.KindExec).With(event.KindOpen),
	} {
		rule := talker()
		rule.Pattern = pattern
		if got := newEngine(t, rule).Kinds(); got != want {
			t.Errorf("%s needs %b, want %b", pattern, got, want)
		}
	}
}

func TestBadRules(t *testing.T) {
	for _, c := range []struct {
		typ, pattern, want string
	}{
		{"No:Such/Type", `{"kind":["exec"]}`, "no such finding type"},
		{"Backdoor:Runtime/C&CActivity.B", `{"kind":`, "Backdoor:Runtime/C&CActivity.B"},
		{"Backdoor:Runtime/C&CActivity.B", `{"kind":["fork"]}`, "never reaches the server"},
		{"Backdoor:Runtime/C&CActivity.B", `{"kind":[{"prefix":"e"}]}`, "want a list of names"},
		{"Backdoor:Runtime/C&CActivity.B", `{"proces":{"name":["x"]}}`, "proces.name"},
	} {
		_, err := New(Options{Rules: []Rule{{Type: c.typ, Pattern: c.pattern, Detect: func(*Match) bool { return true }}}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.typ, c.pattern, err, c.want)
		}
	}
}

func TestFactsCanBeNamed(t *testing.T) {
	for i, f := range FactList() {
		if n, ok := fieldByPath(f.Path); !ok || n != event.FieldCount()+i {
			t.Errorf("fact %s is field %d, %v", f.Path, n, ok)
		}
	}
	hit := false
	e := newEngine(t, Rule{Type: "Execution:Runtime/ReverseShell", Pattern: `{"process":{"shell":[true]},"host":{"id":["h"],"name":["n"]}}`,
		Detect: func(*Match) bool { hit = true; return false }})
	e.Process(&event.Batch{Host: event.Host{ID: "h", Name: "n"}, Events: []event.Event{{Kind: event.KindExec, Process: &event.Process{ExePath: "/bin/bash"}}}}, nil)
	if !hit {
		t.Error("the facts did not match")
	}
}

func TestShells(t *testing.T) {
	sha := strings.Repeat("1", 64)
	book := newShellBook()
	book.learn(&event.Process{ExePath: "/tmp/sh", SHA256: strings.Repeat("2", 64), Exe: event.File{Origin: event.OriginWritten}})
	book.learn(&event.Process{ExePath: "/bin/bash", SHA256: sha})
	for _, c := range []struct {
		p    event.Process
		want bool
	}{
		{event.Process{ExePath: "/bin/bash"}, true},
		{event.Process{ExePath: "/bin/busybox", Args: []string{"sh"}}, true},
		{event.Process{ExePath: "/bin/busybox", Args: []string{"-ash"}}, true},
		{event.Process{ExePath: "/bin/busybox", Args: []string{"busybox", "ash"}}, true},
		{event.Process{ExePath: "/bin/busybox", Args: []string{"ls"}}, false},
		{event.Process{ExePath: "/bin/busybox"}, false},
		{event.Process{ExePath: "/tmp/kworker", SHA256: sha}, true},
		{event.Process{ExePath: "/bin/tool", SHA256: strings.Repeat("2", 64)}, false},
		{event.Process{ExePath: "", Name: "sh"}, true},
	} {
		if got := book.is(&c.p); got != c.want {
			t.Errorf("%s %v: shell %v, want %v", c.p.ExePath, c.p.Args, got, c.want)
		}
	}
	for i := range 3 * maxShellHashes {
		book.learn(&event.Process{ExePath: "/bin/sh", SHA256: fmt.Sprintf("%064d", i)})
	}
	if len(book.hashes) > maxShellHashes {
		t.Errorf("%d hashes", len(book.hashes))
	}
}
