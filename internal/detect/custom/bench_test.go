package custom

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/rules"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// many returns n rules of the kinds that people write. None of them matches what ordinary gives.
func manyRules(t testing.TB, n int) *Set {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: R%d\n    severity: low\n", i)
		switch i % 6 {
		case 0:
			fmt.Fprintf(&b, "    pattern: {kind: [exec], process: {name: [tool%d]}}\n", i)
		case 1:
			fmt.Fprintf(&b, "    pattern: {kind: [exec], process: {executablePath: [{prefix: /opt/x%d/}], shell: [true]}}\n", i)
		case 2:
			fmt.Fprintf(&b, "    pattern: {kind: [dns], dns: {name: [{suffix: .zone%d.example}, zone%d.example]}}\n    threshold: {count: 10, within: 1m}\n", i, i)
		case 3:
			fmt.Fprintf(&b, "    pattern: {kind: [connect], connect: {remote: {ip: [{cidr: 198.%d.%d.0/24}], port: [{numeric: ['>', 1024]}]}}}\n", 18+i%2, i/2%256)
		case 4:
			fmt.Fprintf(&b, "    pattern: {kind: [exec], container: {image: ['shop/svc%d:1'], id: [{exists: true}]}, process: {name: [{anything-but: [svc]}]}}\n", i)
		case 5:
			fmt.Fprintf(&b, "    sequence: {within: 5m, steps: [{pattern: {kind: [exec], process: {args: [{wildcard: '*--evil%d*'}]}}}, {pattern: {kind: [connect], connect: {remote: {port: [%d]}}}}]}\n", i, 20000+i)
		}
	}
	return mustParse(t, b.String())
}

// ordinary is a batch of what busy containers do all day.
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

func loaded(t testing.TB, s *Set) *detect.Engine {
	e, err := detect.New(detect.Options{Rules: rules.All(), Lists: intel.NewLists()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.SetExtra(s.Extra(nil)); err != nil {
		t.Fatal(err)
	}
	return e
}

func BenchmarkOrdinaryEvents(b *testing.B) {
	for _, n := range []int{0, 50, 500, 5000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			e, batch := loaded(b, manyRules(b, n)), ordinary()
			b.ReportAllocs()
			for b.Loop() {
				e.Process(batch, func(occ *finding.Occurrence) { b.Fatalf("a finding: %+v", occ) })
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch.Events)), "ns/event")
		})
	}
}

// BenchmarkLoad is what a change of a folder costs, beside the engine.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{50, 5000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			for b.Loop() {
				loaded(b, manyRules(b, n))
			}
		})
	}
}

// TestThresholdsDoNotAllocate: events that only count cost no memory once their group is known.
func TestThresholdsDoNotAllocate(t *testing.T) {
	s := mustParse(t, "rules: [{name: X, severity: low, pattern: {kind: [connect]}, threshold: {count: 1000000, within: 1h}}]")
	e, err := engineOf(s)
	if err != nil {
		t.Fatal(err)
	}
	b := ordinary()
	emit := func(occ *finding.Occurrence) { t.Errorf("a finding: %+v", occ) }
	e.Process(b, emit)
	e.Process(b, emit)
	if n := testing.AllocsPerRun(20, func() { e.Process(b, emit) }); n > 0 {
		t.Errorf("%v allocations for %d events", n, len(b.Events))
	}
}
