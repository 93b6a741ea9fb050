package pattern

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// This file evaluates patterns the slow and obvious way, on its own reading of the pattern's and the event's JSON, so that
// the compiled form can be compared with it. It knows nothing of the package's types, and validates nothing.

// member is one name and value of a JSON object; objects are kept as lists because names may repeat.
type member struct {
	name  string
	value any // []member, []any, string, json.Number, bool or nil
}

func decodeTree(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := decodeValue(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("trailing data")
	}
	return v, nil
}

func decodeValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		members := []member{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			members = append(members, member{name.(string), v})
		}
		_, err = d.Token()
		return members, err
	case json.Delim('['):
		elements := []any{}
		for d.More() {
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			elements = append(elements, v)
		}
		_, err = d.Token()
		return elements, err
	}
	return t, nil
}

// referenceLeaf is a leaf of an event with the element of each array that it is in.
type referenceLeaf struct {
	path     string
	value    any
	elements map[int]int
}

type flattener struct {
	leaves []referenceLeaf
	arrays int
}

func (f *flattener) flatten(path []string, v any, elements map[int]int) {
	switch v := v.(type) {
	case []member:
		for _, m := range v {
			f.flatten(append(slices.Clone(path), m.name), m.value, elements)
		}
	case []any:
		id := f.arrays
		f.arrays++
		for i, e := range v {
			inside := elements
			switch e.(type) {
			case []member, []any:
				inside = map[int]int{id: i}
				for k, v := range elements {
					inside[k] = v
				}
			}
			f.flatten(path, e, inside)
		}
	default:
		f.leaves = append(f.leaves, referenceLeaf{strings.Join(path, "."), v, elements})
	}
}

// disjunction returns the conjunctions of a pattern's object, each a map from path to the array written there.
func disjunction(rules []map[string][]any, path []string, object []member, plainOr bool) []map[string][]any {
	if len(rules) == 0 {
		rules = []map[string][]any{{}}
	}
	for _, m := range object {
		if m.name == "$or" && !plainOr {
			var all []map[string][]any
			for _, branch := range m.value.([]any) {
				var copied []map[string][]any
				for _, r := range rules {
					c := map[string][]any{}
					for k, v := range r {
						c[k] = v
					}
					copied = append(copied, c)
				}
				all = append(all, disjunction(copied, path, branch.([]member), plainOr)...)
			}
			rules = all
			continue
		}
		at := append(slices.Clone(path), m.name)
		switch v := m.value.(type) {
		case []member:
			rules = disjunction(rules, at, v, plainOr)
		case []any:
			for _, r := range rules {
				r[strings.Join(at, ".")] = v
			}
		}
	}
	return rules
}

// referenceMatch evaluates a pattern that is known to be valid.
func referenceMatch(pattern, event any) bool {
	f := &flattener{}
	f.flatten(nil, event, nil)
	for _, rule := range disjunction(nil, nil, pattern.([]member), false) {
		var paths []string
		for p := range rule {
			paths = append(paths, p)
		}
		slices.Sort(paths)
		if referenceChoose(rule, paths, f.leaves, map[int]int{}) {
			return true
		}
	}
	return false
}

func referenceChoose(rule map[string][]any, paths []string, leaves []referenceLeaf, chosen map[int]int) bool {
	if len(paths) == 0 {
		return true
	}
	absent := true
	for _, l := range leaves {
		if l.path != paths[0] || !compatibleElements(chosen, l.elements) {
			continue
		}
		absent = false
		if !slices.ContainsFunc(rule[paths[0]], func(a any) bool { return referenceAccepts(a, l.value) }) {
			continue
		}
		merged := map[int]int{}
		for k, v := range chosen {
			merged[k] = v
		}
		for k, v := range l.elements {
			merged[k] = v
		}
		if referenceChoose(rule, paths[1:], leaves, merged) {
			return true
		}
	}
	if absent {
		for _, a := range rule[paths[0]] {
			if m, ok := a.([]member); ok && m[0].name == "exists" && m[0].value == false {
				return referenceChoose(rule, paths[1:], leaves, chosen)
			}
		}
	}
	return false
}

func compatibleElements(a, b map[int]int) bool {
	for k, v := range b {
		if w, ok := a[k]; ok && v != w {
			return false
		}
	}
	return true
}

// referenceAccepts reports whether one alternative of a pattern accepts a leaf value.
func referenceAccepts(a, v any) bool {
	expression, ok := a.([]member)
	if !ok {
		if s, isString := a.(string); isString {
			if want, ok := referenceIP(s); ok {
				got, ok := v.(string)
				ip, isIP := referenceIP(got)
				return ok && isIP && ip == want
			}
		}
		return referenceEqual(a, v)
	}
	s, isString := v.(string)
	operand := expression[0].value
	switch op := expression[0].name; op {
	case "exactly":
		return isString && s == operand
	case "prefix", "suffix":
		if inner, ok := operand.([]member); ok {
			re := foldExpression(inner[0].value.(string))
			if op == "prefix" {
				return isString && regexp.MustCompile(`(?s)^`+re).MatchString(s)
			}
			return isString && regexp.MustCompile(`(?s)`+re+`$`).MatchString(s)
		}
		if op == "prefix" {
			return isString && strings.HasPrefix(s, operand.(string))
		}
		return isString && strings.HasSuffix(s, operand.(string))
	case "equals-ignore-case":
		return isString && regexp.MustCompile(`(?s)^`+foldExpression(operand.(string))+`$`).MatchString(s)
	case "wildcard":
		return isString && regexp.MustCompile(`(?s)^`+wildcardExpression(operand.(string))+`$`).MatchString(s)
	case "exists":
		return operand == true
	case "cidr":
		prefix := netip.MustParsePrefix(operand.(string))
		ip, ok := referenceIP(s)
		return isString && ok && unmappedPrefix(prefix).Contains(ip)
	case "numeric":
		n, ok := v.(json.Number)
		got := referenceNumber(string(n))
		if !ok || got == nil {
			return false
		}
		terms := operand.([]any)
		for i := 0; i < len(terms); i += 2 {
			c := got.Cmp(referenceNumber(string(terms[i+1].(json.Number))))
			switch terms[i] {
			case "=":
				ok = c == 0
			case "<":
				ok = c < 0
			case "<=":
				ok = c <= 0
			case ">":
				ok = c > 0
			case ">=":
				ok = c >= 0
			}
			if !ok {
				return false
			}
		}
		return true
	case "anything-but":
		wrap := func(x any) any { return x }
		if inner, ok := operand.([]member); ok {
			operand = inner[0].value
			wrap = func(x any) any { return []member{{inner[0].name, x}} }
		}
		list, ok := operand.([]any)
		if !ok {
			list = []any{operand}
		}
		for _, x := range list {
			if _, plain := wrap(x).([]member); plain {
				if referenceAccepts(wrap(x), v) {
					return false
				}
			} else if referenceEqual(x, v) {
				return false
			}
		}
		return true
	default:
		panic(fmt.Sprintf("unknown operator %q", op))
	}
}

func referenceEqual(a, v any) bool {
	m, ok := a.(json.Number)
	if !ok {
		return a == v
	}
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	x, y := referenceNumber(string(m)), referenceNumber(string(n))
	if x == nil || y == nil {
		return m == n
	}
	return x.Cmp(y) == 0
}

// referenceNumber returns the number if the shortest decimal of the nearest double is the number itself, else nil.
func referenceNumber(text string) *big.Rat {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil
	}
	if _, e, ok := strings.Cut(strings.ToLower(text), "e"); ok {
		if n, err := strconv.Atoi(e); err != nil || n < -5000 || n > 5000 {
			if f == 0 && !strings.ContainsAny(strings.ToLower(text)[:strings.IndexByte(strings.ToLower(text), 'e')], "123456789") {
				return new(big.Rat)
			}
			return nil
		}
	}
	exact, ok := new(big.Rat).SetString(text)
	shortest, ok2 := new(big.Rat).SetString(strconv.FormatFloat(f, 'e', -1, 64))
	if !ok || !ok2 || exact.Cmp(shortest) != 0 {
		return nil
	}
	return exact
}

var (
	dotted = regexp.MustCompile(`^[0-9.]+$`)
	hexes  = regexp.MustCompile(`^[0-9a-fA-F:]+$`)
)

func referenceIP(s string) (netip.Addr, bool) {
	if !dotted.MatchString(s) && !hexes.MatchString(s) {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}

func unmappedPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
	}
	return p.Masked()
}

func foldExpression(s string) string {
	var b strings.Builder
	for _, r := range s {
		lower, upper := string(unicode.ToLower(r)), string(unicode.ToUpper(r))
		if r == 'İ' {
			lower = "i\u0307"
		}
		if long, ok := longUpper[r]; ok {
			upper = long
		}
		b.WriteString("(?:" + regexp.QuoteMeta(lower) + "|" + regexp.QuoteMeta(upper) + ")")
	}
	return b.String()
}

func wildcardExpression(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*':
			b.WriteString(".*")
		case '\\':
			i++
			b.WriteString(regexp.QuoteMeta(s[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(s[i : i+1]))
		}
	}
	return b.String()
}
