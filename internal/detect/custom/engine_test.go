package custom

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

func engineOf(s *Set) (*detect.Engine, error) {
	e, err := detect.New(detect.Options{})
	if err != nil {
		return nil, err
	}
	return e, e.SetExtra(s.Extra(nil))
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func mustParse(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runCases runs rules and tests that stand in one text, and returns what is not as expected.
func runCases(t *testing.T, rules, tests string) string {
	t.Helper()
	cases, err := ParseCases("f_test.yaml", []byte(tests))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no tests")
	}
	var b strings.Builder
	for _, c := range cases {
		wrong, err := c.Run(mustParse(t, rules), nil)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(wrong)
	}
	return b.String()
}

const burst = `
rules:
  - name: Burst
    severity: medium
    pattern: {kind: [connect], connect: {remote: {port: [22]}}}
    threshold: {count: 3, within: 10s, by: [container.id, process.name]}
    message: "{process.name} made {count} connections"
`

func TestThreshold(t *testing.T) {
	if wrong := runCases(t, burst, `
tests:
  - name: three within the time
    events:
      - {kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.1, port: 22}}}
      - {after: 9s, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.2, port: 22}}}
      - {after: 1s, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.3, port: 22}}}
    findings:
      - {type: "Custom:Runtime/Burst", severity: 5, message: a made 3 connections}
  - name: too slow
    events:
      - {kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.1, port: 22}}}
      - {after: 9s, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.2, port: 22}}}
      - {after: 1001ms, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.3, port: 22}}}
    findings: []
  - name: then the window slides
    events:
      - {kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.1, port: 22}}}
      - {after: 9s, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.2, port: 22}}}
      - {after: 5s, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.3, port: 22}}}
      - {after: 5s, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.3, port: 22}}}
    findings:
      - {type: "Custom:Runtime/Burst"}
  - name: groups are apart
    events:
      - {repeat: 2, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.1, port: 22}}}
      - {repeat: 2, kind: connect, process: {name: b}, connect: {remote: {ip: 10.0.0.1, port: 22}}}
      - {repeat: 2, kind: connect, container: {id: c1}, process: {name: a}, connect: {remote: {ip: 10.0.0.1, port: 22}}}
    findings: []
  - name: an event that stands for several counts as several, and counting begins anew
    events:
      - {kind: connect, count: 3, process: {name: a}, connect: {remote: {ip: 10.0.0.1, port: 22}}}
      - {kind: connect, count: 2, process: {name: a}, connect: {remote: {ip: 10.0.0.1, port: 22}}}
    findings:
      - {type: "Custom:Runtime/Burst"}
  - name: another port
    events:
      - {repeat: 5, kind: connect, process: {name: a}, connect: {remote: {ip: 10.0.0.1, port: 23}}}
    findings: []
`); wrong != "" {
		t.Error(wrong)
	}
}

func TestLargeThresholdsAreCountedInSlices(t *testing.T) {
	g := &group{}
	th := &threshold{count: 1000, within: 320e9, distinct: -1}
	var sum int64
	for i := range int64(999) {
		sum = g.add(th, 1e18+i*3e8, 1)
	}
	if sum != 999 || len(g.counts) > exact+2 {
		t.Errorf("%d counted in %d slices", sum, len(g.counts))
	}
	// One window later they are gone, up to a slice's width.
	if sum = g.add(th, 1e18+998*3e8+321e9, 1); sum != 1 {
		t.Errorf("%d counted a window later", sum)
	}
	// A clock that goes back a little, and one that goes back far.
	if sum = g.add(th, 1e18+998*3e8+320e9, 1); sum != 2 {
		t.Errorf("%d counted after a small step back", sum)
	}
	if sum = g.add(th, 5e17, 1); sum != 1 {
		t.Errorf("%d counted after a jump back", sum)
	}
}

func TestDistinct(t *testing.T) {
	const rules = `
rules:
  - name: PortScan
    severity: medium
    pattern: {kind: [connect], connect: {remote: {port: [{exists: true}]}}}
    threshold: {count: 4, within: 10s, by: [container.id, connect.remote.ip], distinct: connect.remote.port}
    message: "{count} ports of {connect.remote.ip}"
  - name: ManyAnswers
    severity: low
    pattern: {kind: [dns]}
    threshold: {count: 3, within: 10s, distinct: dns.answers}
`
	if wrong := runCases(t, rules, `
tests:
  - name: the same port again does not count
    events:
      - {repeat: 3, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 1}}}
      - {repeat: 3, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 2}}}
      - {repeat: 3, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 3}}}
    findings: []
  - name: four ports
    events:
      - {kind: connect, connect: {remote: {ip: 10.0.0.1, port: 1}}}
      - {kind: connect, connect: {remote: {ip: 10.0.0.2, port: 2}}}
      - {kind: connect, connect: {remote: {ip: 10.0.0.1, port: 2}}}
      - {kind: connect, connect: {remote: {ip: 10.0.0.1, port: 1}}}
      - {kind: connect, connect: {remote: {ip: 10.0.0.1, port: 3}}}
      - {kind: connect, connect: {remote: {ip: 10.0.0.1, port: 4}}}
    findings:
      - {type: "Custom:Runtime/PortScan", message: 4 ports of 10.0.0.1}
  - name: a value counts from when it was last seen
    events:
      - {kind: connect, connect: {remote: {ip: 10.0.0.1, port: 1}}}
      - {after: 8s, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 2}}}
      - {after: 1s, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 1}}}
      - {after: 8s, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 3}}}
      - {after: 1s, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 4}}}
    findings:
      - {type: "Custom:Runtime/PortScan"}
  - name: too slow
    events:
      - {kind: connect, connect: {remote: {ip: 10.0.0.1, port: 1}}}
      - {after: 4s, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 2}}}
      - {after: 4s, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 3}}}
      - {after: 4s, kind: connect, connect: {remote: {ip: 10.0.0.1, port: 4}}}
    findings: []
  - name: each value of a list counts, and no value does not
    events:
      - {repeat: 5, kind: dns, dns: {name: a.example}}
      - {kind: dns, dns: {name: a.example, response: true, answers: [10.0.0.1, 10.0.0.2]}}
      - {kind: dns, dns: {name: a.example, response: true, answers: 10.0.0.3}}
    findings:
      - {type: "Custom:Runtime/ManyAnswers"}
`); wrong != "" {
		t.Error(wrong)
	}
}

const sequence = `
rules:
  - name: DropAndRun
    severity: high
    message: "{process.name} runs what {1:process.name} wrote to {1:open.path}"
    sequence:
      within: 5m
      steps:
        - pattern: {kind: [open], open: {path: [{prefix: /tmp/}]}}
          by: [container.id, open.path]
        - pattern: {kind: [exec], process: {executable: {origin: [written]}}}
          by: [container.id, process.executablePath]
`

func TestSequence(t *testing.T) {
	if wrong := runCases(t, sequence, `
tests:
  - name: written, then run
    events:
      - {kind: open, container: {id: c}, process: {name: curl}, open: {path: /tmp/x}}
      - {after: 4m, kind: exec, container: {id: c}, process: {executablePath: /tmp/x, executable: {origin: written}}}
    findings:
      - {type: "Custom:Runtime/DropAndRun", severity: 8, message: x runs what curl wrote to /tmp/x}
  - name: the other way round
    events:
      - {kind: exec, container: {id: c}, process: {executablePath: /tmp/x, executable: {origin: written}}}
      - {kind: open, container: {id: c}, process: {name: curl}, open: {path: /tmp/x}}
    findings: []
  - name: another file, another container
    events:
      - {kind: open, container: {id: c}, process: {name: curl}, open: {path: /tmp/x}}
      - {kind: exec, container: {id: c}, process: {executablePath: /tmp/y, executable: {origin: written}}}
      - {kind: exec, container: {id: d}, process: {executablePath: /tmp/x, executable: {origin: written}}}
    findings: []
  - name: too late
    events:
      - {kind: open, container: {id: c}, process: {name: curl}, open: {path: /tmp/x}}
      - {after: 301s, kind: exec, container: {id: c}, process: {executablePath: /tmp/x, executable: {origin: written}}}
    findings: []
  - name: written again in time
    events:
      - {kind: open, container: {id: c}, process: {name: curl}, open: {path: /tmp/x}}
      - {after: 200s, kind: open, container: {id: c}, process: {name: wget}, open: {path: /tmp/x}}
      - {after: 200s, kind: exec, container: {id: c}, process: {executablePath: /tmp/x, executable: {origin: written}}}
      - {kind: exec, container: {id: c}, process: {executablePath: /tmp/x, executable: {origin: written}}}
    findings:
      - {type: "Custom:Runtime/DropAndRun", message: x runs what wget wrote to /tmp/x}
`); wrong != "" {
		t.Error(wrong)
	}
}

// TestSequenceSteps has three steps that one event can match at once.
func TestSequenceSteps(t *testing.T) {
	const rules = `
rules:
  - name: Thrice
    severity: low
    message: "{1:process.pid} {2:process.pid} {3:process.pid}"
    sequence:
      within: 1m
      by: host.id
      steps:
        - pattern: {kind: [exec], process: {name: [x]}}
        - pattern: {kind: [exec], process: {name: [x]}}
        - pattern: {kind: [exec], process: {name: [x]}}
`
	if wrong := runCases(t, rules, `
tests:
  - name: one event is one step of a sequence, but may be the last of one and the first of the next
    events:
      - {kind: exec, process: {name: x, pid: 1}}
      - {kind: exec, process: {name: x, pid: 2}}
      - {kind: exec, process: {name: y, pid: 3}}
      - {kind: exec, process: {name: x, pid: 4}}
      - {kind: exec, process: {name: x, pid: 5}}
      - {kind: exec, process: {name: x, pid: 6}}
    findings:
      - {type: "Custom:Runtime/Thrice", message: 1 2 4}
      - {type: "Custom:Runtime/Thrice", message: 4 5 6}
`); wrong != "" {
		t.Error(wrong)
	}
}

func TestExceptions(t *testing.T) {
	const rules = `
rules:
  - name: Shell
    severity: low
    pattern: {kind: [exec], process: {shell: [true]}}
    except:
      - {image: "ci/*", path: [/bin/bash, /bin/sh], reason: builds}
      - {service: batch}
      - {pattern: {process: {parent: {name: [tini]}}}}
  - name: Other
    severity: low
    pattern: {kind: [exec], process: {name: [bash]}}
exceptions:
  - {type: "Custom:Runtime/Oth*", image: quiet}
`
	if wrong := runCases(t, rules, `
tests:
  - name: all conditions of one exception must hold
    events:
      - {kind: exec, container: {id: c, image: ci/a}, process: {executablePath: /bin/sh}}
      - {kind: exec, container: {id: c, image: ci/a}, process: {executablePath: /bin/dash}}
      - {kind: exec, container: {id: c, image: web}, process: {executablePath: /bin/sh}}
      - {kind: exec, container: {id: c, image: web}, service: batch, process: {executablePath: /bin/sh}}
      - {kind: exec, container: {id: c, image: web}, process: {executablePath: /bin/sh, parent: {name: tini}}}
      - {kind: exec, container: {id: c, image: quiet}, process: {executablePath: /bin/bash}}
    findings:
      - {type: "Custom:Runtime/Shell", message: "The process 'dash' (/bin/dash, pid 0, user root) in container 'c' (image 'ci/a') did what your rule Shell describes."}
      - {type: "Custom:Runtime/Shell"}
      - {type: "Custom:Runtime/Shell"}
`); wrong != "" {
		t.Error(wrong)
	}
}

// TestStateIsBounded has a million groups, and a rule that fires without end.
func TestStateIsBounded(t *testing.T) {
	s := mustParse(t, burst)
	e, err := engineOf(s)
	if err != nil {
		t.Fatal(err)
	}
	b := &event.Batch{Host: event.Host{ID: "h"}}
	for i := range 3 * maxShare {
		b.Events = append(b.Events, event.Event{Kind: event.KindConnect, Time: 1e18, Count: 1, Process: &event.Process{Name: fmt.Sprint(i)},
			Connect: &event.Socket{Family: 2, Remote: addrPort("10.0.0.1:22")}})
	}
	e.Process(b, func(*finding.Occurrence) { t.Error("a finding") })
	if st := s.Rules[0].state; len(st.groups) != maxShare || st.order.Len() != maxShare {
		t.Errorf("%d groups", len(st.groups))
	}

	s = mustParse(t, "rules: [{name: X, severity: low, pattern: {kind: [connect], connect: {remote: {port: [22]}}}}]")
	if e, err = engineOf(s); err != nil {
		t.Fatal(err)
	}
	findings := 0
	for range 3 {
		e.Process(b, func(*finding.Occurrence) { findings++ })
	}
	if findings != maxPerMinute || s.Muted() != int64(3*len(b.Events)-maxPerMinute) {
		t.Errorf("%d findings", findings)
	}
	for i := range b.Events {
		b.Events[i].Time += 61e9
	}
	e.Process(b, func(*finding.Occurrence) { findings++ })
	if findings != 2*maxPerMinute {
		t.Errorf("%d findings after the next minute", findings)
	}
}

func TestStateSurvivesAReload(t *testing.T) {
	engine, err := detect.New(detect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	findings := 0
	connect := func(n uint32) {
		e := event.Event{Kind: event.KindConnect, Time: 1e18, Count: n, Process: &event.Process{Name: "a"}, Connect: &event.Socket{Family: 2, Remote: addrPort("10.0.0.1:22")}}
		engine.Process(&event.Batch{Events: []event.Event{e}}, func(*finding.Occurrence) { findings++ })
	}
	first := mustParse(t, burst)
	if err := engine.SetExtra(first.Extra(nil)); err != nil {
		t.Fatal(err)
	}
	connect(2)
	// The rule stands elsewhere, another is new: it is the same rule.
	second := mustParse(t, "rules:\n  - {name: New, severity: low, pattern: {kind: [exec], process: {name: [x]}}}\n"+strings.TrimPrefix(burst, "\nrules:\n"))
	if err := engine.SetExtra(second.Extra(first)); err != nil {
		t.Fatal(err)
	}
	connect(1)
	if findings != 1 {
		t.Errorf("%d findings", findings)
	}
	connect(2)
	third := mustParse(t, strings.Replace(burst, "medium", "high", 1))
	if err := engine.SetExtra(third.Extra(second)); err != nil {
		t.Fatal(err)
	}
	connect(1)
	if findings != 1 {
		t.Errorf("%d findings: a rule that changed went on counting", findings)
	}
}
