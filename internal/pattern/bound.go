package pattern

import "fmt"

// A Bound is a Set bound to the fields of a kind of Record. It is immutable and safe for concurrent use.
type Bound struct {
	set    *Set
	fields []int // by the Set's own field number
}

// Bind resolves the paths that the Set names to field numbers of a Record. The error names the first path, in order, that
// resolve does not know.
func (s *Set) Bind(resolve func(path string) (field int, ok bool)) (*Bound, error) {
	b := &Bound{set: s, fields: make([]int, len(s.fields))}
	numbers := make(map[string]int, len(s.fields))
	for _, path := range s.Paths() {
		field, ok := resolve(path)
		if !ok {
			return nil, fmt.Errorf("binding patterns: unknown field %q", path)
		}
		numbers[path] = field
	}
	for i := range s.fields {
		b.fields[i] = numbers[s.fields[i].path]
	}
	return b, nil
}

// A BoundMatcher matches Records. It is for one goroutine at a time.
type BoundMatcher struct {
	matcher
	bound  *Bound
	record Record
	values []Value
	loaded []uint32 // by field: the generation in which it was fetched
}

// NewMatcher returns a matcher for Records.
func (b *Bound) NewMatcher() *BoundMatcher {
	m := &BoundMatcher{matcher: newMatcher(b.set), bound: b, loaded: make([]uint32, len(b.fields))}
	m.load = m.fetch
	return m
}

// Match appends the indexes of the patterns that match the record to dst, in ascending order. It asks the record only for
// fields that decide the match, each at most once.
func (m *BoundMatcher) Match(dst []int, r Record) []int {
	m.reset()
	if m.event == 1 {
		clear(m.loaded)
	}
	m.record = r
	for _, f := range m.set.probed {
		m.fetch(f)
		m.probe(f)
	}
	m.probeAbsent()
	m.record = nil
	return m.finish(dst)
}

// fetch gets a field of the record unless it has been.
func (m *BoundMatcher) fetch(field int32) {
	if m.loaded[field] == m.event {
		return
	}
	m.loaded[field] = m.event
	m.values = m.record.AppendValues(m.values[:0], m.bound.fields[field])
	for _, v := range m.values {
		m.add(field, v, 0)
	}
	clear(m.values)
}
