package custom

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/pattern"
)

// Explanation says what a rule makes of one event.
type Explanation struct {
	Type    string   `json:"type"`
	Step    int      `json:"step,omitempty"` // of a sequence, from 1
	Matches bool     `json:"matches"`        // the pattern does
	Missed  []Missed `json:"missed,omitempty"`
	// Note says what the rule asks for besides.
	Note string `json:"note,omitempty"`
}

// Missed is a condition that the event does not meet.
type Missed struct {
	Path string          `json:"path"`
	Want json.RawMessage `json:"want"`
	Got  []string        `json:"got,omitempty"` // empty: the event does not have the field
}

// Result is what all rules make of one event.
type Result struct {
	Rules    []Explanation `json:"rules"`    // those that match first
	Findings []Found       `json:"findings"` // that this event alone makes
}

// Explain says what the rules make of one event. builtIn are fresh built-in rules, given only once each.
func Explain(e *event.Event, host finding.Host, s *Set, builtIn []detect.Rule) (*Result, error) {
	r := &Result{Rules: []Explanation{}, Findings: []Found{}}
	lists := intel.NewLists()
	facts := detect.Inspect(e, host, lists)
	add := func(typ, text string, step int, note string) error {
		missed, err := missing([]byte(text), facts)
		if err != nil {
			return fmt.Errorf("rule %s: %w", typ, err)
		}
		r.Rules = append(r.Rules, Explanation{Type: typ, Step: step, Matches: len(missed) == 0, Missed: missed, Note: note})
		return nil
	}
	for _, rule := range s.Rules {
		note := ""
		switch {
		case rule.except.match(rule.Type(), facts):
			note = "an exception of the rule takes it away"
		case s.except.match(rule.Type(), facts):
			note = "an exception takes it away"
		case rule.threshold != nil || len(rule.steps) > 1:
			note = "a finding needs: " + rule.Form()
		}
		for i, step := range rule.steps {
			number := 0
			if len(rule.steps) > 1 {
				number = i + 1
			}
			if err := add(rule.Type(), step.condition.text, number, note); err != nil {
				return nil, err
			}
		}
	}
	for _, rule := range builtIn {
		note := ""
		if s.except.match(rule.Type, facts) {
			note = "an exception takes it away"
		}
		if err := add(rule.Type, rule.Pattern, 0, note); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(r.Rules, func(a, b Explanation) int { return cmp.Compare(len(a.Missed), len(b.Missed)) })
	engine, err := detect.New(detect.Options{Rules: builtIn, Lists: lists})
	if err != nil {
		return nil, err
	}
	if err := engine.SetExtra(s.Extra(nil)); err != nil {
		return nil, err
	}
	err = process(engine, e, host, func(occ *finding.Occurrence) { r.Findings = append(r.Findings, foundOf(occ)) })
	return r, err
}

// missing returns the conditions of a pattern that an event does not meet, each by itself; an $or counts as one condition.
func missing(text []byte, facts *detect.Facts) ([]Missed, error) {
	conditions, err := split(text, nil)
	if err != nil {
		return nil, err
	}
	var missed []Missed
	for _, c := range conditions {
		p, err := pattern.Parse(c.pattern())
		if err != nil {
			return nil, err
		}
		matcher, err := matcherOf(p)
		if err != nil {
			return nil, err
		}
		if len(matcher.Match(nil, facts)) > 0 {
			continue
		}
		path := strings.Join(c.path, ".")
		m := Missed{Path: path, Want: c.want}
		if n, ok := detect.FieldByPath(path); ok {
			for _, v := range facts.AppendValues(nil, n) {
				if len(m.Got) == 16 {
					m.Got = append(m.Got, "…")
					break
				}
				m.Got = append(m.Got, event.PrintableN(plain(v), maxValue))
			}
		}
		missed = append(missed, m)
	}
	slices.SortStableFunc(missed, func(a, b Missed) int { return cmp.Compare(a.Path, b.Path) })
	return missed, nil
}

// clause is part of a pattern: the list of conditions at a path.
type clause struct {
	path []string
	want json.RawMessage
}

// pattern returns the pattern that has only this condition.
func (c clause) pattern() []byte {
	text := string(c.want)
	for i := len(c.path) - 1; i >= 0; i-- {
		text = "{" + quote(c.path[i]) + ":" + text + "}"
	}
	return []byte(text)
}

func split(text []byte, path []string) (clauses []clause, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	for name, value := range members {
		at := append(path[:len(path):len(path)], name)
		if len(value) > 0 && value[0] == '[' {
			clauses = append(clauses, clause{at, value})
			continue
		}
		below, err := split(value, at)
		if err != nil {
			return nil, err
		}
		clauses = append(clauses, below...)
	}
	return clauses, nil
}
