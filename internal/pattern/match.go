package pattern

import "slices"

// matcher is the scratch memory of one match. The state of an event is forgotten by counting up generation: what carries an
// older number is not set.
type matcher struct {
	set  *Set
	load func(field int32) // fetches a field of a Record; nil when the leaves of the event are there from the start

	leaves  [][]leaf // by field
	touched []int32  // fields that have leaves

	event     uint32   // the generation
	predicate []uint32 // by predicate: 2·generation, +1 when it is satisfied
	tried     []uint32 // by conjunction: the generation in which it was a candidate
	matched   []uint32 // by pattern: the generation in which it matched
	out       []int

	alive, spare []int32 // states of an automaton
	mark         []uint32
	marked       uint32
	lower        []byte

	contexts []context
	arrays   []array
	chosen   []int32 // elements chosen so far, in the order of choice
	matters  []bool  // by number of the field: it shares an array with a later one
	failed   map[uint64]struct{}
	steps    int // leaves that may yet be examined for the consistency of this event's arrays
	budget   int // steps at the beginning
	gaveUp   bool
}

// context is one element of an array of objects or arrays. Number 0 stands for being in no element.
type context struct {
	parent int32 // the element around the array
	array  int32
}

// array is one array of the event.
type array struct {
	end    int32 // contexts begun when the array ended: its elements and theirs come before
	last   int32 // while choosing: the last field of the conjunction that has leaves in it
	chosen int32 // while choosing: the element chosen, 0 for none
}

func newMatcher(s *Set) matcher {
	return matcher{
		set:       s,
		leaves:    make([][]leaf, len(s.fields)),
		predicate: make([]uint32, len(s.predicates)),
		tried:     make([]uint32, len(s.conjunctions)),
		matched:   make([]uint32, s.patterns),
		mark:      make([]uint32, s.states),
		failed:    map[uint64]struct{}{},
		budget:    maxSteps,
	}
}

// keptLeaves is how many leaves of a field stay allocated from one event to the next.
const keptLeaves = 1024

// keptContexts is how many array elements stay allocated from one event to the next.
const keptContexts = 1 << 14

// release drops the event's leaves, and with them every reference to its memory.
func (m *matcher) release() {
	for _, f := range m.touched {
		if cap(m.leaves[f]) > keptLeaves {
			m.leaves[f] = nil
			continue
		}
		clear(m.leaves[f])
		m.leaves[f] = m.leaves[f][:0]
	}
	m.touched = m.touched[:0]
	if cap(m.contexts) > keptContexts {
		m.contexts, m.arrays, m.chosen, m.failed = nil, nil, nil, map[uint64]struct{}{}
	}
}

// reset prepares for the next event.
func (m *matcher) reset() {
	m.release() // nothing to do unless the last match panicked
	m.out = m.out[:0]
	m.contexts = append(m.contexts[:0], context{})
	m.arrays = m.arrays[:0]
	m.steps, m.gaveUp = m.budget, false
	if m.event++; m.event == 1<<31 {
		clear(m.predicate)
		clear(m.tried)
		clear(m.matched)
		m.event = 1
	}
}

// add notes a leaf of a field.
func (m *matcher) add(field int32, v Value, context int32) {
	l := m.leaves[field]
	if len(l) == 0 {
		m.touched = append(m.touched, field)
	}
	m.leaves[field] = append(l, leaf{Value: v, context: context, order: int32(len(m.contexts))})
}

// probe finds the conjunctions that a field's leaves may satisfy.
func (m *matcher) probe(id int32) {
	f := &m.set.fields[id]
	if !f.probed {
		return
	}
	for i := range m.leaves[id] {
		l := &m.leaves[id][i]
		switch l.Kind {
		case String:
			if f.strings != nil {
				m.candidates(f.strings[l.Str])
			}
			if f.folded != nil {
				m.lower = appendLowerASCII(m.lower[:0], l.Str)
				m.candidates(f.folded[string(m.lower)])
			}
			if f.forward != nil {
				f.forward.run(l.Str, false, m)
			}
			if f.backward != nil {
				f.backward.run(l.Str, true, m)
			}
			if f.v4 != nil || f.v6 != nil {
				if ip, ok := l.ip(); ok && ip.v6 && f.v6 != nil {
					f.v6.find(ip.key, l, m)
				} else if ok && !ip.v6 && f.v4 != nil {
					f.v4.find(ip.key, l, m)
				}
			}
		case Number:
			if f.numbers != nil || f.spans != nil {
				m.probeNumber(f, l)
			}
			if f.literals != nil && l.Str != "" {
				m.candidates(f.literals[l.Str])
			}
		case Null:
			m.candidates(f.null)
		case True:
			m.candidates(f.yes)
		case False:
			m.candidates(f.no)
		}
		for j := range f.broad {
			if b := &f.broad[j]; b.alternative.matches(l) {
				m.candidates(b.conjunctions)
			}
		}
	}
}

func (m *matcher) probeNumber(f *index, l *leaf) {
	k, ok := l.nearest()
	if !ok {
		return
	}
	if ids := f.numbers[k]; len(ids) > 0 && l.comparable() {
		m.candidates(ids)
	}
	if f.spans != nil {
		f.spans.find(k, l, m)
	}
}

// probeAbsent finds the conjunctions that the absence of fields may satisfy.
func (m *matcher) probeAbsent() {
	for _, id := range m.set.absentees {
		if m.load != nil {
			m.load(id)
		}
		if len(m.leaves[id]) == 0 || m.inArrays(id) {
			m.candidates(m.set.fields[id].absent)
		}
	}
}

// inArrays reports whether some leaf of the field is in an array's element, so that it may be absent beside other elements.
func (m *matcher) inArrays(field int32) bool {
	if len(m.contexts) == 1 {
		return false
	}
	return slices.ContainsFunc(m.leaves[field], func(l leaf) bool { return l.context != 0 })
}

// candidates examines conjunctions that an index has found.
func (m *matcher) candidates(ids []int32) {
	for _, id := range ids {
		if m.tried[id] != m.event {
			m.tried[id] = m.event
			m.candidate(id)
		}
	}
}

func (m *matcher) candidate(id int32) {
	c := &m.set.conjunctions[id]
	if m.matched[c.pattern] == m.event {
		return
	}
	for _, p := range c.predicates {
		if !m.satisfied(p) {
			return
		}
	}
	if m.set.contexts && len(m.contexts) > 1 && m.arraysMatter(c) && !m.consistent(c) {
		return
	}
	m.matched[c.pattern] = m.event
	m.out = append(m.out, int(c.pattern))
}

// satisfied reports whether some leaf satisfies the predicate, or its field may be absent. It remembers the answer.
func (m *matcher) satisfied(id int32) bool {
	if known := m.predicate[id]; known>>1 == m.event {
		return known&1 != 0
	}
	p := &m.set.predicates[id]
	if m.load != nil {
		m.load(p.field)
	}
	ok := p.absent && (len(m.leaves[p.field]) == 0 || m.inArrays(p.field))
	for i := 0; i < len(m.leaves[p.field]) && !ok; i++ {
		ok = p.matches(&m.leaves[p.field][i])
	}
	m.predicate[id] = m.event << 1
	if ok {
		m.predicate[id]++
	}
	return ok
}

// finish completes a match: the patterns' indexes in order.
func (m *matcher) finish(dst []int) []int {
	m.release()
	slices.Sort(m.out)
	return append(dst, m.out...)
}
