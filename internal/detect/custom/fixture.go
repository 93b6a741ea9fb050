package custom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// Case is one test of a file *_test.yaml: events, and the findings that the rules must make of them.
type Case struct {
	Name string
	File string
	Line int

	builtIn  bool
	events   []timed
	findings []expected
	line     int // of findings
}

// timed is an event and how long after the one before it happens.
type timed struct {
	event *event.Event
	host  finding.Host
	after time.Duration
}

// expected is what a test says about one finding. Zero members were not said.
type expected struct {
	Type     string
	Severity float64
	Title    string
	Message  string
	line     int
}

// The bounds of a test file.
const (
	maxCases      = 1000
	maxCaseEvents = 10000
)

// LoadCases reads the tests of a folder, or of one file. The error is Problems, or says that the folder cannot be read.
func LoadCases(dir string) ([]*Case, error) {
	names, err := files(dir, isTests)
	if err != nil {
		return nil, fmt.Errorf("reading the tests: %w", err)
	}
	sources, problems := read(names)
	var cases []*Case
	for _, src := range sources {
		own, err := ParseCases(src.name, src.text)
		if p, ok := err.(Problems); ok {
			problems = append(problems, p...)
		}
		cases = append(cases, own...)
	}
	return cases, problems.err()
}

// ParseCases reads one file of tests. The error is Problems.
func ParseCases(file string, text []byte) ([]*Case, error) {
	d := &document{file: file}
	root := d.parse(text)
	var cases []*Case
	if root != nil {
		d.object(root, "", member{"tests", true, func(n *yaml.Node, field string) {
			d.list(n, field, maxCases, func(n *yaml.Node, field string) {
				if c := d.testCase(n, field); c != nil {
					cases = append(cases, c)
				}
			})
		}})
	}
	return cases, d.problems.err()
}

func (d *document) testCase(n *yaml.Node, field string) *Case {
	before := len(d.problems)
	c := &Case{File: d.file, Line: n.Line, line: n.Line}
	d.object(n, field,
		member{"name", true, func(n *yaml.Node, field string) { c.Name, _ = d.text(n, field, 200) }},
		member{"builtIn", false, func(n *yaml.Node, field string) { c.builtIn, _ = d.truth(n, field) }},
		member{"events", true, func(n *yaml.Node, field string) {
			d.list(n, field, maxCaseEvents, func(n *yaml.Node, field string) { d.testEvent(n, field, c) })
		}},
		member{"findings", true, func(n *yaml.Node, field string) {
			c.line = n.Line
			d.list(n, field, maxCaseEvents, func(n *yaml.Node, field string) {
				x := expected{line: n.Line}
				d.object(n, field,
					member{"type", true, func(n *yaml.Node, field string) {
						if x.Type, _ = d.text(n, field, 200); x.Type != "" && !knownType(x.Type) {
							d.fail(n, field, "there is no finding type %s", describe(n))
						}
					}},
					member{"severity", false, func(n *yaml.Node, field string) { x.Severity = d.severity(n, field) }},
					member{"title", false, func(n *yaml.Node, field string) { x.Title, _ = d.text(n, field, maxMessage) }},
					member{"message", false, func(n *yaml.Node, field string) { x.Message, _ = d.text(n, field, maxMessage) }},
				)
				c.findings = append(c.findings, x)
			})
		}},
	)
	if len(d.problems) > before {
		return nil
	}
	return c
}

// testEvent reads one event: its fields, and with after how much later than the one before it happens. Repeat makes it
// several.
func (d *document) testEvent(n *yaml.Node, field string, c *Case) {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, field, "want an event, got %s", describe(n))
		return
	}
	before := len(d.problems)
	t, repeat := timed{after: time.Millisecond}, int64(1)
	rest := *n
	rest.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch key.Value {
		case "after":
			t.after, _ = d.duration(value, join(field, "after"), 0, 10*maxWindow)
		case "repeat":
			repeat, _ = d.whole(value, join(field, "repeat"), 1, maxCaseEvents)
		default:
			rest.Content = append(rest.Content, key, value)
		}
	}
	w := jsonWriter{document: d, field: field}
	w.value(&rest, 0)
	if len(d.problems) > before {
		return
	}
	d.eventNames(&rest, field, "")
	if len(d.problems) > before {
		return
	}
	e, host, err := ParseEvent([]byte(w.b.String()))
	if err != nil {
		d.fail(n, field, "%s", strings.TrimPrefix(err.Error(), "json: "))
		return
	}
	t.event, t.host = e, host
	if len(c.events)+int(repeat) > maxCaseEvents {
		d.fail(n, field, "more than %d events", maxCaseEvents)
		return
	}
	for range repeat {
		c.events = append(c.events, t)
	}
}

// eventNames points at fields that do not exist, which the JSON decoder could only name.
func (d *document) eventNames(n *yaml.Node, field, path string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := key.Value
		if path != "" {
			at = path + "." + key.Value
		}
		if value.Kind == yaml.AliasNode && value.Alias != nil {
			value = value.Alias
		}
		_, known := fieldTypes()[at]
		switch {
		case known || at == "time":
		case value.Kind == yaml.MappingNode && len(below(at)) > 0:
			d.eventNames(value, field, at)
		case len(below(at)) > 0:
			d.fail(key, field, "%s is not a field: did you mean one below it, such as %s?", at, below(at)[0])
		default:
			d.fail(key, field, "there is no field %s%s", event.PrintableN(at, 100), suggest(at, fieldNames()))
		}
	}
}

// Run runs the case with the rules that load gives, which must be fresh, and says what is not as expected: "" if all is.
// builtIn are the built-in rules; they run where the case asks for them.
func (c *Case) Run(s *Set, builtIn []detect.Rule) (string, error) {
	if !c.builtIn {
		builtIn = nil
	}
	engine, err := detect.New(detect.Options{Rules: builtIn, Lists: intel.NewLists()})
	if err != nil {
		return "", err
	}
	if err := engine.SetExtra(s.Extra(nil)); err != nil {
		return "", err
	}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	got := []Found{}
	for _, t := range c.events {
		now = now.Add(t.after)
		e := *t.event
		if e.Time == 0 {
			e.Time = now.UnixNano()
		} else {
			now = time.Unix(0, e.Time)
		}
		if err := process(engine, &e, t.host, func(occ *finding.Occurrence) { got = append(got, foundOf(occ)) }); err != nil {
			return "", err
		}
	}
	return c.compare(got), nil
}

// Found is what a test compares of an occurrence.
type Found struct {
	Type     string  `json:"type"`
	Severity float64 `json:"severity"`
	Title    string  `json:"title"`
	Message  string  `json:"message"`
}

func foundOf(occ *finding.Occurrence) Found {
	f := finding.New(finding.Identity{}, occ, occ.Time)
	return Found{occ.Type, f.Severity, f.Title, f.Description}
}

func (f Found) String() string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(f) // always encodes
	return strings.TrimSpace(b.String())
}

func (c *Case) compare(got []Found) string {
	var b strings.Builder
	for i, want := range c.findings {
		if i >= len(got) {
			fmt.Fprintf(&b, "%s:%d: no finding %s\n", c.File, want.line, want.Type)
			continue
		}
		check := func(what, want, got string) {
			if want != "" && want != got {
				fmt.Fprintf(&b, "%s:%d: %s:\n  want %s\n  got  %s\n", c.File, c.findings[i].line, what, event.Printable(want), event.Printable(got))
			}
		}
		check("type", want.Type, got[i].Type)
		if want.Severity != 0 {
			check("severity", fmt.Sprint(want.Severity), fmt.Sprint(got[i].Severity))
		}
		check("title", want.Title, got[i].Title)
		check("message", strings.TrimSpace(want.Message), got[i].Message)
	}
	for _, more := range got[min(len(got), len(c.findings)):] {
		fmt.Fprintf(&b, "%s:%d: a finding that was not expected:\n  got  %s\n", c.File, c.line, more)
	}
	return b.String()
}

// process runs one event through an engine as if it had come over the link, so that rules get exactly what they will get.
func process(engine *detect.Engine, e *event.Event, host finding.Host, emit func(*finding.Occurrence)) error {
	b := &event.Batch{AgentID: "test", AgentVersion: "test", Host: event.Host{ID: host.ID, Name: host.Name}, Events: []event.Event{*e}}
	text, err := event.NewEncoder().Encode(nil, b)
	if err != nil {
		return fmt.Errorf("encoding the event: %w", err)
	}
	decoded, err := event.Decode(text, nil)
	if err != nil {
		return fmt.Errorf("decoding the event: %w", err)
	}
	engine.Process(decoded, emit)
	return nil
}
