package pattern

import "sort"

// An event's array may hold several objects. Fields of a pattern that are found in elements of one array must be found in the
// same element; fields in different arrays, and scalars that are elements themselves, do not constrain each other. A field
// that must be absent must have no leaf that could be combined with the elements chosen for the fields before it, in the
// order of the paths.

// maxSteps bounds the leaves examined for the consistency of one event. An event that needs more is an error, not a mismatch.
const maxSteps = 1 << 25

// arraysMatter reports whether a conjunction whose predicates are all satisfied may yet fail because of arrays.
func (m *matcher) arraysMatter(c *compiled) bool {
	fields := 0
	for _, id := range c.predicates {
		p := &m.set.predicates[id]
		if m.inArrays(p.field) {
			if fields++; fields > 1 || p.absent {
				return true
			}
		}
	}
	return false
}

// consistent reports whether elements can be chosen so that every predicate holds.
func (m *matcher) consistent(c *compiled) bool {
	for i := range m.arrays {
		m.arrays[i].last, m.arrays[i].chosen = -1, 0
	}
	for i, id := range c.predicates {
		m.noteLast(m.leaves[m.set.predicates[id].field], int32(i))
	}
	m.matters = m.matters[:0]
	for i, id := range c.predicates {
		m.matters = append(m.matters, m.shares(m.leaves[m.set.predicates[id].field], int32(i)))
	}
	m.chosen = m.chosen[:0]
	clear(m.failed)
	return m.choose(c, 0)
}

// noteLast makes field number i the last one of the arrays that its leaves are in.
func (m *matcher) noteLast(leaves []leaf, i int32) {
	for j := range leaves {
		at := leaves[j].context
		for at != 0 && m.arrays[m.contexts[at].array].last != i {
			m.arrays[m.contexts[at].array].last = i
			at = m.contexts[at].parent
		}
	}
}

// shares reports whether some leaf of field number i is in an array that a later field has leaves in too.
func (m *matcher) shares(leaves []leaf, i int32) bool {
	for j := range leaves {
		for at := leaves[j].context; at != 0; at = m.contexts[at].parent {
			if m.arrays[m.contexts[at].array].last > i {
				return true
			}
		}
	}
	return false
}

// choose reports whether the fields from number i on can be satisfied beside the elements chosen so far. It remembers where
// it failed, by what of the choice can still matter, so that no such situation is explored twice.
func (m *matcher) choose(c *compiled, i int) bool {
	if i == len(c.predicates) {
		return true
	}
	situation := m.situation(i)
	m.steps -= len(m.chosen)
	if _, ok := m.failed[situation]; ok || m.gaveUp {
		return false
	}
	p := &m.set.predicates[c.predicates[i]]
	leaves := m.leaves[p.field]
	present := false
	for j := 0; j < len(leaves); {
		if m.steps--; m.steps < 0 {
			m.gaveUp = true
			return false
		}
		l := &leaves[j]
		if next, ok := m.compatible(leaves, j); !ok {
			j = next
			continue
		}
		present = true
		j++
		if !p.matches(l) {
			continue
		}
		before := len(m.chosen)
		for at := l.context; at != 0; at = m.contexts[at].parent {
			a := &m.arrays[m.contexts[at].array]
			if a.chosen != at {
				a.chosen = at
				m.chosen = append(m.chosen, at)
			}
		}
		if m.choose(c, i+1) {
			return true
		}
		for _, at := range m.chosen[before:] {
			m.arrays[m.contexts[at].array].chosen = 0
		}
		m.chosen = m.chosen[:before]
		if !m.matters[i] {
			break // any other leaf leaves the same situation
		}
	}
	if p.absent && !present && m.choose(c, i+1) {
		return true
	}
	m.failed[situation] = struct{}{}
	return false
}

// situation identifies what of the elements chosen so far can matter to the fields from number i on.
func (m *matcher) situation(i int) uint64 {
	h := mix(uint64(i) << 32)
	for _, at := range m.chosen {
		if m.arrays[m.contexts[at].array].last >= int32(i) {
			h += mix(uint64(at))
		}
	}
	return h
}

// mix scatters the bits of x (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// compatible reports whether leaf j can stand beside the elements chosen so far. If not, it returns the next leaf to look at: the
// leaves of an element follow each other, so those of the wrong elements of an array are skipped together.
func (m *matcher) compatible(leaves []leaf, j int) (next int, ok bool) {
	wrong := int32(0)
	for at := leaves[j].context; at != 0; at = m.contexts[at].parent {
		chosen := m.arrays[m.contexts[at].array].chosen
		if chosen == at {
			break
		}
		if chosen != 0 {
			wrong = at
		}
	}
	if wrong == 0 {
		return j, true
	}
	a := &m.arrays[m.contexts[wrong].array]
	target := a.end // behind the array
	if wrong < a.chosen {
		target = a.chosen + 1 // inside the chosen element
	}
	rest := leaves[j+1:]
	return j + 1 + sort.Search(len(rest), func(k int) bool { return rest[k].order >= target }), false
}
