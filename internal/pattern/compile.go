package pattern

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// A Set is many patterns compiled for matching together. It is immutable and safe for concurrent use.
type Set struct {
	patterns     int
	conjunctions []compiled
	predicates   []predicate
	fields       []index
	root         *node
	probed       []int32 // fields that have an index, in order
	absentees    []int32 // fields whose absence finds conjunctions
	contexts     bool    // some conjunction has several fields, so array elements matter
	states       int     // of the largest automaton
}

// compiled is a conjunction: its predicates in the order of their paths.
type compiled struct {
	pattern    int32
	access     int32 // the predicate it is filed under
	predicates []int32
}

// predicate is a field and the alternatives one of which must hold there.
type predicate struct {
	field        int32
	absent       bool // one alternative is the absence of the field
	alternatives []alternative
	exact        map[string]struct{} // the opExact alternatives, when there are many of them
}

// manyExact is from how many exact strings on a predicate uses a hash table.
const manyExact = 8

// index finds the conjunctions that a value at one path may satisfy.
type index struct {
	path     string
	strings  map[string][]int32
	folded   map[string][]int32 // by the string in lower case, ASCII only
	numbers  map[key][]int32
	literals map[string][]int32 // numbers that compare by their text
	null     []int32
	yes      []int32
	no       []int32
	forward  *automaton
	backward *automaton
	spans    *ranges // of numbers
	v4       *ranges
	v6       *ranges
	broad    []broad // found by evaluating an alternative that most values satisfy
	absent   []int32 // found when there is no leaf
	probed   bool

	// While compiling.
	numberSpans, v4Spans, v6Spans []interval
	exactValues                   int
	broadIDs                      map[string]int
}

// broad is an alternative for which there is no index, exists or anything-but, and the conjunctions filed under it.
type broad struct {
	alternative  alternative
	conjunctions []int32
}

// Compile compiles patterns. In what a matcher returns, a pattern is its index in the argument; nil patterns match nothing.
func Compile(patterns []*Pattern) *Set {
	s := &Set{patterns: len(patterns), root: newNode()}
	fieldIDs := map[string]int32{}
	predicateIDs := map[string]int32{}
	var shares []int
	seen := map[string]struct{}{}
	for id, p := range patterns {
		if p == nil {
			continue
		}
		for _, j := range p.conjunctions {
			c := compiled{pattern: int32(id), predicates: make([]int32, len(j))}
			s.contexts = s.contexts || len(j) > 1
			for i, f := range j {
				field, ok := fieldIDs[f.path]
				if !ok {
					field = int32(len(s.fields))
					fieldIDs[f.path] = field
					s.fields = append(s.fields, index{path: f.path})
					s.root.insert(f.path).field = field
				}
				key := identity(field, f.alternatives)
				n, ok := predicateIDs[key]
				if !ok {
					n = int32(len(s.predicates))
					predicateIDs[key] = n
					s.predicates = append(s.predicates, newPredicate(field, f.alternatives))
					shares = append(shares, 0)
					s.countExact(field, f.alternatives, seen)
				}
				shares[n]++
				c.predicates[i] = n
			}
			s.conjunctions = append(s.conjunctions, c)
		}
	}
	for i := range s.conjunctions {
		s.file(int32(i), shares)
	}
	for i := range s.fields {
		s.finish(int32(i))
	}
	return s
}

// identity returns a string that two predicates share exactly when they mean the same.
func identity(field int32, alternatives []alternative) string {
	ids := make([]string, len(alternatives))
	for i := range alternatives {
		ids[i] = alternatives[i].identity()
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return fmt.Sprintf("%d %d %s", field, len(ids), strings.Join(ids, ""))
}

func newPredicate(field int32, alternatives []alternative) predicate {
	p := predicate{field: field}
	exact := 0
	for _, a := range alternatives {
		if a.op == opExact {
			exact++
		}
	}
	for _, a := range alternatives {
		switch {
		case a.op == opAbsent:
			p.absent = true
		case a.op == opExact && exact >= manyExact:
			if p.exact == nil {
				p.exact = make(map[string]struct{}, exact)
			}
			p.exact[a.text] = struct{}{}
		default:
			p.alternatives = append(p.alternatives, a)
		}
	}
	return p
}

// matches reports whether the leaf satisfies the predicate.
func (p *predicate) matches(l *leaf) bool {
	if p.exact != nil && l.Kind == String {
		if _, ok := p.exact[l.Str]; ok {
			return true
		}
	}
	for i := range p.alternatives {
		if p.alternatives[i].matches(l) {
			return true
		}
	}
	return false
}

// countExact counts the different exact values that patterns name at a field.
func (s *Set) countExact(field int32, alternatives []alternative, seen map[string]struct{}) {
	for i := range alternatives {
		a := &alternatives[i]
		switch a.op {
		case opExact, opNumber, opLiteral, opEqualFold, opAddress:
			id := identity(field, alternatives[i:i+1])
			if _, ok := seen[id]; !ok {
				seen[id] = struct{}{}
				s.fields[field].exactValues++
			}
		}
	}
}

// chance estimates how often a predicate is satisfied. It orders predicates and means nothing else.
func (s *Set) chance(p *predicate) float64 {
	values := float64(s.fields[p.field].exactValues)
	sum := float64(len(p.exact)) / (values + 2)
	for i := range p.alternatives {
		a := &p.alternatives[i]
		switch a.op {
		case opExact, opNumber, opLiteral, opEqualFold:
			sum += 1 / (values + 2)
		case opNull, opTrue, opFalse:
			sum += 0.3
		case opPrefix, opPrefixFold, opSuffix, opSuffixFold:
			sum += math.Max(0.01, 0.9*math.Pow(0.6, float64(len(a.text))))
		case opWildcard:
			sum += math.Max(0.02, 0.9*math.Pow(0.7, float64(len(a.text)-2*(len(a.glob)-1))))
		case opRange:
			sum += 0.3
		case opAddress:
			if a.lo == a.hi {
				sum += 1 / (values + 2)
			} else {
				sum += prefixChance(a)
			}
		default:
			sum += 0.95
		}
	}
	if p.absent {
		sum += 0.9
	}
	return math.Min(sum, 1)
}

// prefixChance is that of an address prefix: 0.2 for one that holds half of all addresses, less the longer it is.
func prefixChance(a *alternative) float64 {
	length := bits.LeadingZeros64(a.lo.hi ^ a.hi.hi)
	if length == 64 {
		length += bits.LeadingZeros64(a.lo.lo ^ a.hi.lo)
	}
	if !a.v6 {
		length -= 96
	}
	return math.Max(0.005, 0.2*math.Pow(0.85, float64(length)))
}

// file enters a conjunction into the index of the predicate that is likely to be satisfied least often. One that many
// conjunctions share is likely to name a common value.
func (s *Set) file(id int32, shares []int) {
	c := &s.conjunctions[id]
	best := math.Inf(1)
	for _, n := range c.predicates {
		cost := s.chance(&s.predicates[n]) * (1 + math.Log2(float64(shares[n])))
		if cost < best {
			best, c.access = cost, n
		}
	}
	p := &s.predicates[c.access]
	f := &s.fields[p.field]
	f.probed = true
	if p.absent {
		f.absent = append(f.absent, id)
	}
	for text := range p.exact {
		f.addString(text, id)
	}
	for i := range p.alternatives {
		f.add(&p.alternatives[i], id)
	}
}

func (f *index) addString(text string, id int32) {
	if f.strings == nil {
		f.strings = map[string][]int32{}
	}
	f.strings[text] = append(f.strings[text], id)
}

// add enters a conjunction under one alternative.
func (f *index) add(a *alternative, id int32) {
	switch a.op {
	case opExact:
		f.addString(a.text, id)
	case opNumber:
		if f.numbers == nil {
			f.numbers = map[key][]int32{}
		}
		f.numbers[a.lo] = append(f.numbers[a.lo], id)
	case opLiteral:
		if f.literals == nil {
			f.literals = map[string][]int32{}
		}
		f.literals[a.text] = append(f.literals[a.text], id)
	case opNull:
		f.null = append(f.null, id)
	case opTrue:
		f.yes = append(f.yes, id)
	case opFalse:
		f.no = append(f.no, id)
	case opPrefix:
		f.any(true, func(d *draft) int32 { return d.addString(0, a.text, false) }, id)
	case opSuffix:
		f.any(false, func(d *draft) int32 { return d.addString(0, a.text, true) }, id)
	case opPrefixFold:
		f.any(true, func(d *draft) int32 { return d.addFold(0, a.fold, false) }, id)
	case opSuffixFold:
		f.any(false, func(d *draft) int32 { return d.addFold(0, a.fold, true) }, id)
	case opEqualFold:
		if isASCII(a.text) {
			if f.folded == nil {
				f.folded = map[string][]int32{}
			}
			lower := string(appendLowerASCII(nil, a.text))
			f.folded[lower] = append(f.folded[lower], id)
			return
		}
		d := f.draft(true)
		at := d.addFold(0, a.fold, false)
		d.states[at].end = append(d.states[at].end, id)
	case opWildcard:
		f.addGlob(a.glob, id)
	case opRange:
		f.numberSpans = append(f.numberSpans, interval{a.lo, a.hi, id})
	case opAddress:
		if a.v6 {
			f.v6Spans = append(f.v6Spans, interval{a.lo, a.hi, id})
		} else {
			f.v4Spans = append(f.v4Spans, interval{a.lo, a.hi, id})
		}
	case opExists, opAnythingBut:
		if f.broadIDs == nil {
			f.broadIDs = map[string]int{}
		}
		key := a.identity()
		n, ok := f.broadIDs[key]
		if !ok {
			n = len(f.broad)
			f.broadIDs[key] = n
			f.broad = append(f.broad, broad{alternative: *a})
		}
		f.broad[n].conjunctions = append(f.broad[n].conjunctions, id)
	}
}

// addGlob enters a wildcard; those with a star at one end only are a prefix or a suffix.
func (f *index) addGlob(g glob, id int32) {
	last := len(g) - 1
	switch {
	case last == 0:
		f.addString(g[0], id)
		return
	case last == 1 && g[0] == "" && g[1] != "":
		f.any(false, func(d *draft) int32 { return d.addString(0, g[1], true) }, id)
		return
	}
	d := f.draft(true)
	at := d.addString(0, g[0], false)
	for i, piece := range g[1:] {
		if i+1 == last && piece == "" {
			d.states[at].any = append(d.states[at].any, id)
			return
		}
		at = d.addString(d.add(at, element{star: true}), piece, false)
	}
	d.states[at].end = append(d.states[at].end, id)
}

// draft returns the draft of the automaton that reads strings forward or backward.
func (f *index) draft(forward bool) *draft {
	at := &f.backward
	if forward {
		at = &f.forward
	}
	if *at == nil {
		*at = &automaton{draft: newDraft()}
	}
	return (*at).draft
}

// any enters a conjunction that is found as soon as the state that build returns is reached.
func (f *index) any(forward bool, build func(*draft) int32, id int32) {
	d := f.draft(forward)
	at := build(d)
	d.states[at].any = append(d.states[at].any, id)
}

// finish makes a field's index ready for use.
func (s *Set) finish(id int32) {
	f := &s.fields[id]
	f.spans, f.v4, f.v6 = newRanges(f.numberSpans), newRanges(f.v4Spans), newRanges(f.v6Spans)
	f.numberSpans, f.v4Spans, f.v6Spans, f.broadIDs = nil, nil, nil, nil
	for _, m := range []*automaton{f.forward, f.backward} {
		if m != nil {
			m.finish()
			s.states = max(s.states, len(m.states))
		}
	}
	if f.probed {
		s.probed = append(s.probed, id)
	}
	if len(f.absent) > 0 {
		s.absentees = append(s.absentees, id)
	}
}

// Paths returns the dotted paths that the patterns name, in order.
func (s *Set) Paths() []string {
	out := make([]string, len(s.fields))
	for i := range s.fields {
		out[i] = s.fields[i].path
	}
	slices.Sort(out)
	return out
}
