// Package criteria decides which findings satisfy finding criteria, the conditions of GuardDuty's ListFindings and filters.
//
// What goes in: criteria as they are on the wire, and findings, as the columns that the store keeps beside their JSON. What
// comes out: whether one satisfies the other, and the value that a finding has under a dotted path.
//
// Columns are asked first; the JSON is walked only if they leave the answer open, once for all conditions, and nothing but
// the members that they name is decoded. A [Matcher] is for one goroutine.
package criteria

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of criteria, as GuardDuty's.
const (
	MaxAttributes = 50
	MaxValues     = 50 // of one operator
	maxWildcards  = 5  // of one value
)

// Criteria are conditions on the members of a finding, by dotted path; all must hold.
type Criteria struct {
	Criterion map[string]Condition `json:"criterion,omitempty"`
}

// Condition is what one member must satisfy: each operator that is given. The short names are older and mean the same.
type Condition struct {
	Eq                 []string `json:"eq,omitempty"`
	Equals             []string `json:"equals,omitempty"`
	GreaterThan        *int64   `json:"greaterThan,omitempty"`
	GreaterThanOrEqual *int64   `json:"greaterThanOrEqual,omitempty"`
	Gt                 *int64   `json:"gt,omitempty"`
	Gte                *int64   `json:"gte,omitempty"`
	LessThan           *int64   `json:"lessThan,omitempty"`
	LessThanOrEqual    *int64   `json:"lessThanOrEqual,omitempty"`
	Lt                 *int64   `json:"lt,omitempty"`
	Lte                *int64   `json:"lte,omitempty"`
	Matches            []string `json:"matches,omitempty"`
	Neq                []string `json:"neq,omitempty"`
	NotEquals          []string `json:"notEquals,omitempty"`
	NotMatches         []string `json:"notMatches,omitempty"`
}

// Filter is a named set of criteria, and what happens to the findings that satisfy it.
type Filter struct {
	Name        string            `json:"name"`
	Description *string           `json:"description,omitempty"`
	Action      string            `json:"action"`
	Rank        int64             `json:"rank"` // 1 and up, without gaps
	Criteria    *Criteria         `json:"criteria"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// The values of Filter.Action.
const (
	ActionNone    = "NOOP"
	ActionArchive = "ARCHIVE" // the finding is archived at once, and no event is made about it
)

// FilterKind is the kind of the filters' documents in the store; their key is DETECTOR/NAME.
const FilterKind = "finding-filter"

// InvalidError says what is wrong with criteria, in one sentence for the user.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

// Kind is how the values of a member compare.
type Kind uint8

// The kinds.
const (
	Text Kind = iota + 1
	Number
	Bool
	Time // in criteria: milliseconds since 1970, or RFC 3339
)

// extra are members that GuardDuty's documentation names and its model lacks.
var extra = map[string]Kind{
	"service.additionalInfo.threatListName":           Text,
	"service.additionalInfo.threatName":               Text,
	"service.additionalInfo.sample":                   Bool,
	"service.runtimeDetails.context.filePath":         Text,
	"service.runtimeDetails.context.fileOperation":    Text,
	"service.runtimeDetails.context.relatedFilePaths": Text,
}

// times are those times that the model calls strings.
var times = []string{
	"createdAt", "updatedAt", "service.eventFirstSeen", "service.eventLastSeen", "resource.instanceDetails.launchTime",
}

// KindOf returns the kind of a finding's member by its dotted path, and whether there is one that compares.
func KindOf(path string) (Kind, bool) {
	if slices.Contains(times, path) {
		return Time, true
	}
	if kind, ok := extra[path]; ok {
		return kind, true
	}
	kind, ok := fields[path]
	return kind, ok
}

// Subject is a finding to look at. The members that it names beside JSON count, whatever JSON says about them.
type Subject struct {
	ID, Type             string
	Severity             float64
	CreatedAt, UpdatedAt time.Time
	Archived             bool
	Count                int64
	JSON                 []byte
}

// column returns the value of a member that a Subject names.
func (s *Subject) column(path string) (Value, bool) {
	switch path {
	case "id":
		return Value{Text: s.ID}, true
	case "type":
		return Value{Text: s.Type}, true
	case "severity":
		return Value{Number: s.Severity}, true
	case "createdAt":
		return Value{Number: float64(s.CreatedAt.UnixMilli())}, true
	case "updatedAt":
		return Value{Number: float64(s.UpdatedAt.UnixMilli())}, true
	case "service.archived":
		return Value{Text: strconv.FormatBool(s.Archived)}, true
	case "service.count":
		return Value{Number: float64(s.Count)}, true
	}
	return Value{}, false
}

// Value is one value of a member in a form that compares: numbers, and times in milliseconds since 1970, as numbers,
// everything else as text.
type Value struct {
	Number float64
	Text   string
}

// Matcher is compiled criteria.
type Matcher struct {
	columns []test // decided by what a Subject names
	members []test // decided by its JSON; tests[i] takes the values of slot i
	tree    *node
	values  [][]Value // scratch, by slot
}

// test is what one member must satisfy.
type test struct {
	path       string
	kind       Kind
	conditions []func(values []Value) bool
}

// Compile returns the matcher of criteria. Wildcards (matches, notMatches) are refused unless allowed; GuardDuty has them in
// filters only. The error is an *InvalidError.
func Compile(in Criteria, wildcards bool) (*Matcher, error) {
	if len(in.Criterion) > MaxAttributes {
		return nil, invalid("findingCriteria has more than %d attributes.", MaxAttributes)
	}
	m := &Matcher{tree: &node{}}
	for _, path := range slices.Sorted(maps.Keys(in.Criterion)) {
		kind, ok := KindOf(path)
		if !ok {
			return nil, invalid("findingCriteria names the unknown attribute '%s'.", clip(path))
		}
		condition := in.Criterion[path]
		t := test{path: path, kind: kind}
		if err := t.parse(&condition, wildcards); err != nil {
			return nil, err
		}
		if _, ok := (&Subject{}).column(path); ok {
			m.columns = append(m.columns, t)
			continue
		}
		m.tree.insert(path, slot{len(m.members), kind})
		m.members = append(m.members, t)
	}
	m.values = make([][]Value, len(m.members))
	return m, nil
}

func invalid(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }

// clip bounds a text that a message quotes.
func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

func (t *test) parse(in *Condition, wildcards bool) error {
	refuse := func(format string, args ...any) error {
		return invalid("The condition on '%s' %s.", t.path, fmt.Sprintf(format, args...))
	}
	for _, list := range []struct {
		name   string
		values []string
		negate bool
	}{{"eq", in.Eq, false}, {"equals", in.Equals, false}, {"neq", in.Neq, true}, {"notEquals", in.NotEquals, true}} {
		if list.values == nil {
			continue
		}
		if len(list.values) == 0 || len(list.values) > MaxValues {
			return refuse("needs 1 to %d values for %s", MaxValues, list.name)
		}
		wanted := make([]Value, len(list.values))
		for i, text := range list.values {
			var ok bool
			if wanted[i], ok = parseValue(t.kind, text); !ok {
				return refuse("compares with '%s', which is not a value of that attribute", clip(text))
			}
		}
		t.conditions = append(t.conditions, func(values []Value) bool {
			return slices.ContainsFunc(values, func(v Value) bool { return slices.Contains(wanted, v) }) != list.negate
		})
	}
	for _, bound := range []struct {
		name  string
		value *int64
		holds func(order int) bool
	}{
		{"gt", in.Gt, func(o int) bool { return o > 0 }}, {"greaterThan", in.GreaterThan, func(o int) bool { return o > 0 }},
		{"gte", in.Gte, func(o int) bool { return o >= 0 }}, {"greaterThanOrEqual", in.GreaterThanOrEqual, func(o int) bool { return o >= 0 }},
		{"lt", in.Lt, func(o int) bool { return o < 0 }}, {"lessThan", in.LessThan, func(o int) bool { return o < 0 }},
		{"lte", in.Lte, func(o int) bool { return o <= 0 }}, {"lessThanOrEqual", in.LessThanOrEqual, func(o int) bool { return o <= 0 }},
	} {
		if bound.value == nil {
			continue
		}
		if t.kind == Text || t.kind == Bool {
			return refuse("uses %s, but the attribute is neither a number nor a time", bound.name)
		}
		limit := float64(*bound.value)
		t.conditions = append(t.conditions, func(values []Value) bool {
			return slices.ContainsFunc(values, func(v Value) bool { return bound.holds(cmp.Compare(v.Number, limit)) })
		})
	}
	for _, list := range []struct {
		name     string
		patterns []string
		negate   bool
	}{{"matches", in.Matches, false}, {"notMatches", in.NotMatches, true}} {
		if list.patterns == nil {
			continue
		}
		if !wildcards {
			return refuse("uses %s, which is only allowed in filters", list.name)
		}
		if t.kind != Text || len(list.patterns) == 0 || len(list.patterns) > MaxValues {
			return refuse("uses %s, which needs a text attribute and 1 to %d values", list.name, MaxValues)
		}
		for _, p := range list.patterns {
			if strings.Count(p, "*")+strings.Count(p, "?") > maxWildcards {
				return refuse("has more than %d wildcards in a value", maxWildcards)
			}
		}
		t.conditions = append(t.conditions, func(values []Value) bool {
			return slices.ContainsFunc(values, func(v Value) bool {
				return slices.ContainsFunc(list.patterns, func(p string) bool { return matchWildcard(p, v.Text) })
			}) != list.negate
		})
	}
	if len(t.conditions) == 0 {
		return refuse("has no operator")
	}
	return nil
}

func (t *test) holds(values []Value) bool {
	for _, holds := range t.conditions {
		if !holds(values) {
			return false
		}
	}
	return true
}

// All reports whether every finding matches.
func (m *Matcher) All() bool { return len(m.columns)+len(m.members) == 0 }

// Match reports whether a finding satisfies the criteria. The error says that its JSON cannot be read.
func (m *Matcher) Match(s *Subject) (bool, error) {
	for i := range m.columns {
		v, _ := s.column(m.columns[i].path)
		if !m.columns[i].holds([]Value{v}) {
			return false, nil
		}
	}
	if len(m.members) == 0 {
		return true, nil
	}
	for i := range m.values {
		m.values[i] = m.values[i][:0]
	}
	w := walker{text: s.JSON, values: m.values}
	if err := w.walk(m.tree); err != nil {
		return false, fmt.Errorf("decoding a stored finding: %w", err)
	}
	for i := range m.members {
		if !m.members[i].holds(m.values[i]) {
			return false, nil
		}
	}
	return true, nil
}

// Field is one member of findings. It is for one goroutine.
type Field struct {
	path   string
	tree   *node
	values [][]Value
}

// NewField returns the member at a dotted path, and whether there is one that compares.
func NewField(path string) (*Field, bool) {
	kind, ok := KindOf(path)
	f := &Field{path: path, tree: &node{}, values: make([][]Value, 1)}
	f.tree.insert(path, slot{0, kind})
	return f, ok
}

// First returns the member's first value in a finding, and whether it has one.
func (f *Field) First(s *Subject) (Value, bool, error) {
	if v, ok := s.column(f.path); ok {
		return v, true, nil
	}
	f.values[0] = f.values[0][:0]
	w := walker{text: s.JSON, values: f.values}
	if err := w.walk(f.tree); err != nil {
		return Value{}, false, fmt.Errorf("decoding a stored finding: %w", err)
	}
	if len(f.values[0]) == 0 {
		return Value{}, false, nil
	}
	return f.values[0][0], true, nil
}

// matchWildcard matches '*' (any text) and '?' (one character), in time proportional to the product of the lengths.
func matchWildcard(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	i, j, star, mark := 0, 0, -1, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// parseValue reads a value of a condition, or a text of a finding.
func parseValue(kind Kind, text string) (Value, bool) {
	switch kind {
	case Bool:
		return Value{Text: text}, text == "true" || text == "false"
	case Number:
		n, err := strconv.ParseFloat(text, 64)
		return Value{Number: n}, err == nil
	case Time:
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return Value{Number: float64(t.UnixMilli())}, true
		}
		n, err := strconv.ParseFloat(text, 64)
		return Value{Number: n}, err == nil
	}
	return Value{Text: text}, true
}

// number reads a number of a finding, whose times are in seconds.
func number(kind Kind, text []byte) (Value, bool) {
	if kind == Text {
		return Value{Text: string(text)}, true
	}
	n, err := json.Number(text).Float64()
	if kind == Time {
		n = float64(int64(n*1000 + 0.5))
	}
	return Value{Number: n}, err == nil
}
