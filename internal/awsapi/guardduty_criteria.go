package awsapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/wire"
	"vedette.dev/vedette/internal/store"
)

// Bounds of finding criteria, as GuardDuty's.
const (
	maxAttributes = 50
	maxValues     = 50
	maxWildcards  = 5
)

// extraFields are members that GuardDuty's documentation names and its model lacks.
var extraFields = map[string]wire.Kind{
	"service.additionalInfo.threatListName":           wire.String,
	"service.additionalInfo.threatName":               wire.String,
	"service.additionalInfo.sample":                   wire.Boolean,
	"service.runtimeDetails.context.filePath":         wire.String,
	"service.runtimeDetails.context.fileOperation":    wire.String,
	"service.runtimeDetails.context.relatedFilePaths": wire.String,
}

// timeFields are times that the model calls strings.
var timeFields = []string{
	"createdAt", "updatedAt", "service.eventFirstSeen", "service.eventLastSeen", "resource.instanceDetails.launchTime",
}

// fieldKind returns the type of a finding's member by its dotted path: Timestamp for every time, however it is spelled.
func fieldKind(path string) (wire.Kind, bool) {
	if slices.Contains(timeFields, path) {
		return wire.Timestamp, true
	}
	if kind, ok := extraFields[path]; ok {
		return kind, true
	}
	kind, ok := guardduty.FindingFields[path]
	return kind, ok && kind != wire.Map
}

// criteria decides which findings a request is about. What the store can decide is in query, the rest in tests.
type criteria struct {
	query store.FindingQuery
	tests []fieldTest
}

// fieldTest is what one member of a finding must satisfy: all of its conditions.
type fieldTest struct {
	name       string   // the dotted path
	path       []string // its parts
	kind       wire.Kind
	conditions []func(leaves []leaf) bool
}

// parseCriteria refuses what GuardDuty refuses: unknown members and operators that do not fit. Wildcards are for filters
// only.
func parseCriteria(in *guardduty.FindingCriteria, wildcards bool) (criteria, error) {
	var c criteria
	if in == nil {
		return c, nil
	}
	if len(in.Criterion) > maxAttributes {
		return c, invalidInput("%s findingCriteria has more than %d attributes.", outOfRange, maxAttributes)
	}
	paths := make([]string, 0, len(in.Criterion))
	for path := range in.Criterion {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		kind, ok := fieldKind(path)
		if !ok {
			return c, invalidInput("%s findingCriteria names the unknown attribute '%s'.", outOfRange, clip(path))
		}
		condition := in.Criterion[path]
		if c.push(path, &condition) {
			continue
		}
		test := fieldTest{name: path, path: strings.Split(path, "."), kind: kind}
		if err := test.parse(path, &condition, wildcards); err != nil {
			return c, err
		}
		c.tests = append(c.tests, test)
	}
	return c, nil
}

// push leaves the commonest criteria to the store's indexes.
func (c *criteria) push(path string, in *guardduty.Condition) bool {
	only := func(values []string, others guardduty.Condition) []string {
		if len(values) == 0 || digest(others) != digest(guardduty.Condition{}) || len(values) > maxValues {
			return nil
		}
		return values
	}
	rest := *in
	rest.Equals, rest.Eq = nil, nil
	values := only(append(slices.Clone(in.Equals), in.Eq...), rest)
	if len(in.Equals) > 0 && len(in.Eq) > 0 {
		return false
	}
	switch {
	case path == "type" && values != nil:
		c.query.Types = values
	case path == "service.archived" && len(values) == 1 && (values[0] == "true" || values[0] == "false"):
		c.query.Archived = new(values[0] == "true")
	default:
		return false
	}
	return true
}

func (t *fieldTest) parse(path string, in *guardduty.Condition, wildcards bool) error {
	refuse := func(format string, args ...any) error {
		return invalidInput("%s The condition on '%s' %s.", outOfRange, path, fmt.Sprintf(format, args...))
	}
	for _, list := range []struct {
		name   string
		values []string
		negate bool
	}{{"eq", in.Eq, false}, {"equals", in.Equals, false}, {"neq", in.Neq, true}, {"notEquals", in.NotEquals, true}} {
		if list.values == nil {
			continue
		}
		if len(list.values) == 0 || len(list.values) > maxValues {
			return refuse("needs 1 to %d values for %s", maxValues, list.name)
		}
		wanted := make([]leaf, len(list.values))
		for i, text := range list.values {
			var ok bool
			if wanted[i], ok = parseLeaf(t.kind, text); !ok {
				return refuse("compares with '%s', which is not a value of that attribute", clip(text))
			}
		}
		t.conditions = append(t.conditions, func(leaves []leaf) bool {
			return slices.ContainsFunc(leaves, func(l leaf) bool { return slices.Contains(wanted, l) }) != list.negate
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
		if t.kind == wire.String || t.kind == wire.Boolean {
			return refuse("uses %s, but the attribute is neither a number nor a time", bound.name)
		}
		limit := float64(*bound.value)
		t.conditions = append(t.conditions, func(leaves []leaf) bool {
			return slices.ContainsFunc(leaves, func(l leaf) bool { return bound.holds(cmp.Compare(l.number, limit)) })
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
		if t.kind != wire.String || len(list.patterns) == 0 {
			return refuse("uses %s, which needs a text attribute and a value", list.name)
		}
		for _, p := range list.patterns {
			if strings.Count(p, "*")+strings.Count(p, "?") > maxWildcards {
				return refuse("has more than %d wildcards in a value", maxWildcards)
			}
		}
		t.conditions = append(t.conditions, func(leaves []leaf) bool {
			return slices.ContainsFunc(leaves, func(l leaf) bool {
				return slices.ContainsFunc(list.patterns, func(p string) bool { return matchWildcard(p, l.text) })
			}) != list.negate
		})
	}
	if len(t.conditions) == 0 {
		return refuse("has no operator")
	}
	return nil
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

// leaf is one value of a member in a form that compares: numbers and times (in milliseconds since 1970) as numbers,
// everything else as text.
type leaf struct {
	number float64
	text   string
}

// parseLeaf reads the value of a condition.
func parseLeaf(kind wire.Kind, text string) (leaf, bool) {
	switch kind {
	case wire.Boolean:
		return leaf{text: text}, text == "true" || text == "false"
	case wire.Integer, wire.Long, wire.Double:
		n, err := strconv.ParseFloat(text, 64)
		return leaf{number: n}, err == nil
	case wire.Timestamp:
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return leaf{number: float64(t.UnixMilli())}, true
		}
		n, err := strconv.ParseFloat(text, 64)
		return leaf{number: n}, err == nil
	}
	return leaf{text: text}, true
}

// leafOf reads a value of a finding.
func leafOf(kind wire.Kind, v any) (leaf, bool) {
	switch v := v.(type) {
	case string:
		return parseLeaf(kind, v)
	case bool:
		return leaf{text: strconv.FormatBool(v)}, true
	case json.Number:
		n, err := v.Float64()
		switch {
		case err != nil:
			return leaf{}, false
		case kind == wire.Timestamp:
			return leaf{number: float64(int64(n*1000 + 0.5))}, true // seconds in findings
		case kind == wire.String:
			return leaf{text: v.String()}, true
		}
		return leaf{number: n}, true
	}
	return leaf{}, false
}

// match reports whether a finding satisfies the tests. The finding's JSON is only read when its columns do not say.
func (c *criteria) match(row *store.FindingRow) (bool, error) {
	var tree map[string]any
	var leaves []leaf
	for i := range c.tests {
		t := &c.tests[i]
		if l, ok := columnLeaf(row, t.name); ok {
			leaves = append(leaves[:0], l)
		} else {
			if tree == nil {
				var err error
				if tree, err = parseFinding(row.JSON); err != nil {
					return false, err
				}
			}
			leaves = appendLeaves(leaves[:0], tree, t.path, t.kind)
		}
		for _, holds := range t.conditions {
			if !holds(leaves) {
				return false, nil
			}
		}
	}
	return true, nil
}

// columnLeaf returns the value of a member that the store keeps in a column.
func columnLeaf(row *store.FindingRow, path string) (leaf, bool) {
	switch path {
	case "id":
		return leaf{text: row.ID}, true
	case "type":
		return leaf{text: row.Type}, true
	case "severity":
		return leaf{number: row.Severity}, true
	case "createdAt":
		return leaf{number: float64(row.CreatedAt.UnixMilli())}, true
	case "updatedAt":
		return leaf{number: float64(row.UpdatedAt.UnixMilli())}, true
	case "service.archived":
		return leaf{text: strconv.FormatBool(row.Archived)}, true
	case "service.count":
		return leaf{number: float64(row.Count)}, true
	}
	return leaf{}, false
}

// parseFinding returns a finding's tree, with the members of additionalInfo that its value holds as text.
func parseFinding(text []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var tree map[string]any
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("decoding a stored finding: %w", err)
	}
	service, _ := tree["service"].(map[string]any)
	info, _ := service["additionalInfo"].(map[string]any)
	if value, ok := info["value"].(string); ok {
		var more map[string]any
		if json.Unmarshal([]byte(value), &more) == nil {
			for name, v := range more {
				if _, taken := info[name]; !taken {
					info[name] = v
				}
			}
		}
	}
	return tree, nil
}

// appendLeaves appends the values at a path; arrays count with each of their elements, null as absent.
func appendLeaves(dst []leaf, v any, path []string, kind wire.Kind) []leaf {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			dst = appendLeaves(dst, item, path, kind)
		}
	case map[string]any:
		if len(path) > 0 {
			dst = appendLeaves(dst, v[path[0]], path[1:], kind)
		}
	case nil:
	default:
		if l, ok := leafOf(kind, v); ok && len(path) == 0 {
			dst = append(dst, l)
		}
	}
	return dst
}
