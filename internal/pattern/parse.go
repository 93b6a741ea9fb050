package pattern

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Limits of one pattern. The first is AWS's; the others bound what a hostile pattern can cost.
const (
	MaxCombinations = 1000    // conjunctions that the $or of one pattern multiply to
	maxSource       = 1 << 18 // bytes of text
	maxCells        = 1 << 17 // fields summed over all conjunctions
)

// Options narrow the language. The zero Options is the language of EventBridge.
type Options struct {
	// Flat rejects nesting, as the SNS scope MessageAttributes does.
	Flat bool
	// PrefixOnly allows no object inside anything-but other than {"prefix": …}, as SNS does.
	PrefixOnly bool
	// MaxKeys bounds the keys with values, 0 for no bound.
	MaxKeys int
	// MaxValues bounds the product over the keys of their number of values times their nesting depth, 0 for no bound.
	MaxValues int
}

// The languages of SNS filter policies, by their FilterPolicyScope.
var (
	MessageAttributes = Options{Flat: true, PrefixOnly: true, MaxKeys: 5, MaxValues: 150}
	MessageBody       = Options{PrefixOnly: true, MaxKeys: 5, MaxValues: 150}
)

// A Pattern is one parsed pattern.
type Pattern struct {
	source       string
	conjunctions []conjunction
}

// conjunction is the fields that must all be satisfied together, in the order of their paths.
type conjunction []field

type field struct {
	path         string
	alternatives []alternative
}

// String returns the text that the pattern was parsed from.
func (p *Pattern) String() string { return p.source }

// Parse parses an EventBridge event pattern. The error is a *SyntaxError in the words AWS uses.
func Parse(text []byte) (*Pattern, error) { return ParseWith(text, Options{}) }

// ParseWith parses a pattern in the language that o describes.
func ParseWith(text []byte, o Options) (*Pattern, error) {
	source := string(text)
	p, err := parse(source, o, false)
	if err == nil {
		return p, nil
	}
	if err.fallback && strings.Contains(source, "$or") {
		// AWS takes a malformed $or as a field of that name when that reading is valid.
		if p, err := parse(source, o, true); err == nil {
			return p, nil
		}
	}
	return nil, err.SyntaxError
}

// parseError is a mistake and whether the reading of $or as an ordinary field may be tried.
type parseError struct {
	*SyntaxError
	fallback bool
}

func parse(source string, o Options, ordinaryOr bool) (p *Pattern, err *parseError) {
	if len(source) > maxSource {
		return nil, &parseError{SyntaxError: &SyntaxError{Reason: "Event pattern is too long", Source: source[:maxSnippet]}}
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *SyntaxError:
			p, err = nil, &parseError{SyntaxError: e, fallback: e.Line > 0}
		default:
			panic(e)
		}
	}()
	c := &parser{t: tokenizer{src: source}, o: o, ordinaryOr: ordinaryOr, sets: maxWildcardSets}
	if c.t.next() != tokObject {
		c.t.fail("Filter is not an object")
	}
	c.object(false)
	c.checkPolicy()
	p = &Pattern{source: source}
	for _, rule := range c.rules {
		var j conjunction
		for _, path := range slices.Sorted(maps.Keys(rule)) {
			j = append(j, field{path, rule[path]})
		}
		p.conjunctions = append(p.conjunctions, j)
	}
	return p, nil
}

// parser builds the disjunctive form while it reads: a field is added to every rule begun so far, and a $or replaces the
// rules by a copy of them for each of its branches. A field that is there already is replaced, within the branch.
type parser struct {
	t          tokenizer
	o          Options
	ordinaryOr bool
	rules      []map[string][]alternative
	cells      int
	sets       int // left for judging wildcards
	path       []string
	keys       []keyUse
	nested     bool
}

// keyUse is what the limits of SNS count.
type keyUse struct {
	path          string
	values, depth int
}

// reject throws a mistake to which AWS gives no position.
func (p *parser) reject(format string, args ...any) {
	panic(&SyntaxError{Reason: fmt.Sprintf(format, args...), Source: p.t.src})
}

// reserved are the names that may not be fields inside $or.
var reserved = map[string]bool{
	"exactly": true, "equals-ignore-case": true, "prefix": true, "suffix": true, "anything-but": true, "exists": true,
	"wildcard": true, "numeric": true, "cidr": true, "html": true, "=": true, "<": true, "<=": true, ">": true, ">=": true,
	"regex": true, "not-wildcard": true, "not-equals-ignore-case": true, "date-after": true, "date-on-or-after": true,
	"date-before": true, "date-on-or-before": true, "in-date-range": true, "ip-address-in-range": true,
	"ip-address-not-in-range": true,
}

// object reads the fields of an object whose opening brace has been read.
func (p *parser) object(insideOr bool) {
	t := &p.t
	empty := true
	for t.next() != tokObjectEnd {
		empty = false
		name := t.name
		if name == "$or" && !p.ordinaryOr {
			p.or()
			continue
		}
		if insideOr && reserved[name] {
			t.fail("%s is Ruler reserved fieldName which cannot be used inside $or.", name)
		}
		switch t.next() {
		case tokObject:
			p.nested = true
			p.path = append(p.path, name)
			p.object(insideOr)
			p.path = p.path[:len(p.path)-1]
		case tokArray:
			p.path = append(p.path, name)
			p.write(p.values())
			p.path = p.path[:len(p.path)-1]
		default:
			t.fail("\"%s\" must be an object or an array", name)
		}
	}
	if empty {
		t.fail("Empty objects are not allowed")
	}
}

func (p *parser) or() {
	t := &p.t
	before := p.rules
	if len(before) == 0 {
		before = []map[string][]alternative{{}}
	}
	var after []map[string][]alternative
	if t.next() != tokArray {
		t.fail("It must be an Array followed with $or.")
	}
	n := 0
	for t.next() != tokArrayEnd {
		if t.kind != tokObject {
			t.fail("Only JSON object is allowed in array of $or relationship.")
		}
		n++
		p.rules = make([]map[string][]alternative, len(before))
		for i, rule := range before {
			p.rules[i] = maps.Clone(rule)
			p.count(len(rule))
		}
		p.object(true)
		after = append(after, p.rules...)
		if len(after) > MaxCombinations {
			p.reject("Rule is too complex - the number of combinations of $or exceeds the limit of %d", MaxCombinations)
		}
	}
	if n < 2 {
		t.fail("There must have at least 2 Objects in $or relationship.")
	}
	p.rules = after
}

// count bounds the memory that the disjunctive form takes.
func (p *parser) count(cells int) {
	if p.cells += cells; p.cells > maxCells {
		p.reject("Rule is too complex - too many fields in the combinations of $or")
	}
}

func (p *parser) write(values []alternative) {
	path := strings.Join(p.path, ".")
	if len(p.rules) == 0 {
		p.rules = []map[string][]alternative{{}}
	}
	for _, rule := range p.rules {
		rule[path] = values
	}
	p.count(len(p.rules))
	p.keys = append(p.keys, keyUse{path, len(values), len(p.path)})
}

func (p *parser) checkPolicy() {
	if p.o.Flat && p.nested {
		p.reject("%s", ReasonNested)
	}
	if p.o.MaxKeys > 0 && len(p.keys) > p.o.MaxKeys {
		p.reject("Filter policy can not have more than %d keys", p.o.MaxKeys)
	}
	if p.o.MaxValues > 0 {
		product := 1
		for _, k := range p.keys {
			if product *= k.values * k.depth; product > p.o.MaxValues {
				p.reject("%s", ReasonTooComplex)
			}
		}
	}
}

// values reads the elements of a field's array whose opening bracket has been read.
func (p *parser) values() []alternative {
	t := &p.t
	var out []alternative
	for t.next() != tokArrayEnd {
		switch t.kind {
		case tokObject:
			out = append(out, p.expression())
		case tokString:
			out = append(out, exactString(t.getText()))
		case tokNumber:
			out = append(out, exactNumber(t.text))
		case tokTrue:
			out = append(out, alternative{op: opTrue})
		case tokFalse:
			out = append(out, alternative{op: opFalse})
		case tokNull:
			out = append(out, alternative{op: opNull})
		default:
			t.fail("Match value must be String, number, true, false, or null")
		}
	}
	if len(out) == 0 {
		t.fail("Empty arrays are not allowed")
	}
	return out
}

// exactString is the string itself, or the address when the string is an IP literal.
func exactString(s string) alternative {
	if a, ok := parseAddress(s); ok {
		return alternative{op: opAddress, text: s, lo: a.key, hi: a.key, v6: a.v6}
	}
	return alternative{op: opExact, text: s}
}

func exactNumber(text string) alternative {
	if f, ok := comparableNumber(text); ok {
		return alternative{op: opNumber, lo: numberKey(f)}
	}
	return alternative{op: opLiteral, text: text}
}

// end requires the end of the match expression.
func (p *parser) end() {
	if p.t.next() != tokObjectEnd {
		p.t.fail("Only one key allowed in match expression")
	}
}

// stringOperand reads the string that an operator compares with.
func (p *parser) stringOperand(what string) string {
	if p.t.kind != tokString {
		p.t.fail("%s match pattern must be a string", what)
	}
	return p.t.getText()
}

// expression reads a match expression whose opening brace has been read.
func (p *parser) expression() (a alternative) {
	t := &p.t
	if t.next() != tokName {
		t.fail("Match expression name not found")
	}
	switch operator := t.name; operator {
	case "exactly":
		t.next()
		a = alternative{op: opExact, text: p.stringOperand("exact")}
		p.end()
	case "prefix":
		a = p.affix("prefix", "Prefix", opPrefix, opPrefixFold)
	case "suffix":
		a = p.affix("suffix", "Suffix", opSuffix, opSuffixFold)
	case "equals-ignore-case":
		t.next()
		a = foldAlternative(opEqualFold, p.stringOperand("equals-ignore-case"))
		p.end()
	case "wildcard":
		t.next()
		a = p.wildcard(p.stringOperand("wildcard"))
		p.end()
	case "numeric":
		if t.next() != tokArray {
			t.fail("Value of numeric must be an array.")
		}
		a = p.numeric()
		if t.next() != tokObjectEnd {
			t.fail("Too many elements in numeric expression")
		}
	case "anything-but":
		a = p.anythingBut()
	case "exists":
		switch t.next() {
		case tokTrue:
			a.op = opExists
		case tokFalse:
			a.op = opAbsent
		default:
			t.fail("exists match pattern must be either true or false.")
		}
		p.end()
	case "cidr":
		t.next()
		a = p.cidr(p.stringOperand("prefix")) // sic: AWS says prefix here
		p.end()
	default:
		t.fail("Unrecognized match type %s", operator)
	}
	return a
}

// affix reads the operand of prefix or suffix, a string or {"equals-ignore-case": string}.
func (p *parser) affix(name, title string, plain, fold operator) alternative {
	t := &p.t
	if t.next() != tokObject {
		a := alternative{op: plain, text: p.stringOperand(name)}
		p.end()
		return a
	}
	if t.next() != tokName {
		t.fail("%s expression name not found", title)
	}
	if t.name != "equals-ignore-case" {
		t.fail("Unsupported %s pattern: %s", name, t.name)
	}
	t.next()
	a := foldAlternative(fold, p.stringOperand("equals-ignore-case"))
	p.end()
	p.end()
	return a
}

func foldAlternative(op operator, text string) alternative {
	return alternative{op: op, text: text, fold: foldElements(text)}
}

// wildcard compiles a wildcard's text. Its errors count positions as AWS does, with the opening quote.
func (p *parser) wildcard(text string) alternative {
	var g glob
	var piece []byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '*':
			if i+1 < len(text) && text[i+1] == '*' {
				p.t.fail("Consecutive wildcard characters at pos %d", i+1)
			}
			g = append(g, string(piece))
			piece = piece[:0]
		case '\\':
			if i+1 == len(text) || (text[i+1] != '*' && text[i+1] != '\\') {
				p.t.fail("Invalid escape character at pos %d", i+1)
			}
			i++
			piece = append(piece, text[i])
		default:
			piece = append(piece, c)
		}
	}
	g = append(g, string(piece))
	if wildcardTooComplex(g, &p.sets) {
		p.reject("Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character")
	}
	return alternative{op: opWildcard, text: text, glob: g}
}

// comparable returns the value of a numeric operand.
func (p *parser) comparable(text string) float64 {
	f, ok := comparableNumber(text)
	if !ok {
		p.t.fail("Cannot compare number : %s", text)
	}
	return f
}

// numeric reads a numeric expression whose opening bracket has been read.
func (p *parser) numeric() alternative {
	t := &p.t
	if t.next() != tokString {
		t.fail("Invalid member in numeric match: %s", t.text)
	}
	operator := t.getText()
	word := operator
	if word == "=" {
		word = "equals"
	}
	t.next()
	switch operator {
	case "=", "<", "<=", ">", ">=":
		if t.kind != tokNumber {
			t.fail("Value of %s must be numeric", word)
		}
	default:
		t.fail("Unrecognized numeric range operator: %s", operator)
	}
	text := t.text
	if t.next() == tokArrayEnd {
		k := numberKey(p.comparable(text))
		switch operator {
		case "=":
			return alternative{op: opNumber, lo: k}
		case "<":
			return alternative{op: opRange, lo: lowestNumber, hi: k.previous()}
		case "<=":
			return alternative{op: opRange, lo: lowestNumber, hi: k}
		case ">":
			return alternative{op: opRange, lo: k.next(), hi: highestNumber}
		default:
			return alternative{op: opRange, lo: k, hi: highestNumber}
		}
	}
	if operator[0] != '>' {
		t.fail("Too many elements in numeric expression")
	}
	if t.kind != tokString {
		t.fail("Bad value in numeric range: %s", t.text)
	}
	upper := t.getText()
	if upper != "<" && upper != "<=" {
		t.fail("Bad numeric range operator: %s", upper)
	}
	if t.next() != tokNumber {
		t.fail("Value of %s must be numeric", upper)
	}
	top := t.text
	if t.next() != tokArrayEnd {
		t.fail("Too many terms in numeric range expression")
	}
	low, high := p.comparable(text), p.comparable(top)
	if low >= high {
		t.fail("Bottom must be less than top")
	}
	a := alternative{op: opRange, lo: numberKey(low), hi: numberKey(high)}
	if operator == ">" {
		a.lo = a.lo.next()
	}
	if upper == "<" {
		a.hi = a.hi.previous()
	}
	return a
}

// cidr compiles an address block. AWS gives its errors no position.
func (p *parser) cidr(text string) alternative {
	parts := strings.Split(text, "/")
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	if len(parts) != 2 {
		p.reject("Malformed CIDR, one '/' required")
	}
	bits, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil {
		p.reject("Malformed CIDR, mask bits must be an integer")
	}
	if bits < 0 {
		p.reject("Malformed CIDR, mask bits must not be negative")
	}
	a, ok := parseAddress(parts[0])
	switch {
	case !ok:
		p.reject("Nonstandard IP address: %s", parts[0])
	case !a.v6 && bits > 31:
		p.reject("IPv4 mask bits must be < 32")
	case bits > 127:
		p.reject("IPv6 mask bits must be < 128")
	}
	first, last := a.block(int(bits))
	return alternative{op: opAddress, lo: first, hi: last, v6: a.v6}
}

// anythingBut reads the operand of anything-but and the end of the expression.
func (p *parser) anythingBut() alternative {
	t := &p.t
	op := opExact
	if t.next() == tokObject {
		if t.next() != tokName {
			t.fail("Anything-But expression name not found")
		}
		known := true
		switch t.name {
		case "prefix":
			op = opPrefix
		case "suffix":
			op = opSuffix
		case "equals-ignore-case":
			op = opEqualFold
		case "wildcard":
			op = opWildcard
		default:
			known = false
		}
		if !known || (p.o.PrefixOnly && op != opPrefix) {
			t.fail("Unsupported anything-but pattern: %s", t.name)
		}
		t.next()
		if p.o.PrefixOnly && t.kind != tokString {
			t.fail("prefix match pattern must be a string")
		}
	}
	a := alternative{op: opAnythingBut}
	switch t.kind {
	case tokArray:
		a.not = p.excludedList(op)
	case tokString, tokNumber:
		a.not = []alternative{p.excluded(op, false)}
	default:
		t.fail("Value of anything-but must be an array or single string/number value.")
	}
	if t.next() != tokObjectEnd || (op != opExact && t.next() != tokObjectEnd) {
		t.fail("Too many elements in numeric expression")
	}
	return a
}

// excludedList reads the elements of an anything-but list whose opening bracket has been read. AWS reports a mistake in
// the list with its position twice.
func (p *parser) excludedList(op operator) (out []alternative) {
	t := &p.t
	strs, numbers := false, false
	func() {
		defer func() {
			switch e := recover().(type) {
			case nil:
			case *SyntaxError:
				if e.Line == 0 {
					panic(e)
				}
				t.fail("%s", e.Error())
			default:
				panic(e)
			}
		}()
		for t.next() != tokArrayEnd {
			out = append(out, p.excluded(op, true))
			strs = strs || t.kind == tokString
			numbers = numbers || t.kind == tokNumber
		}
	}()
	if op == opExact && strs == numbers {
		t.fail("Inside anything but list, either all values are number or string, mixed type is not supported")
	}
	return out
}

// excluded turns the current token into what anything-but excludes.
func (p *parser) excluded(op operator, inList bool) alternative {
	t := &p.t
	if t.kind == tokNumber && op == opExact {
		f, ok := comparableNumber(t.text)
		if !ok && inList {
			t.fail("Cannot compare number : %s", t.text)
		} else if !ok {
			p.reject("Cannot compare number : %s", t.text)
		}
		return alternative{op: opNumber, lo: numberKey(f)}
	}
	if t.kind != tokString {
		switch op {
		case opExact:
			t.fail("Inside anything but list, start|null|boolean is not supported.")
		case opEqualFold:
			t.fail("Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.")
		case opWildcard:
			t.fail("wildcard match pattern must be a string")
		default:
			t.fail("prefix/suffix match pattern must be a string")
		}
	}
	text := t.getText()
	switch op {
	case opEqualFold:
		return foldAlternative(op, text)
	case opWildcard:
		return p.wildcard(text)
	case opPrefix, opSuffix:
		if text == "" {
			t.fail("Null prefix/suffix not allowed")
		}
	}
	return alternative{op: op, text: text}
}
