package rules

import "vedette.dev/vedette/internal/detect"

// memory is what a rule remembers of each place. When there are too many places, the one that was made first is forgotten.
type memory[T any] struct {
	byPlace map[detect.Place]*T
	order   []detect.Place // ring
	next    int
	limit   int
}

func newMemory[T any](limit int) *memory[T] {
	return &memory[T]{byPlace: make(map[detect.Place]*T), limit: limit}
}

// of returns what is remembered of the place of an event, and makes it where there is nothing.
func (s *memory[T]) of(m *detect.Match) *T {
	name := m.Place()
	if v := s.byPlace[name]; v != nil {
		return v
	}
	name = name.Clone()
	if len(s.order) < s.limit {
		s.order = append(s.order, name)
	} else {
		delete(s.byPlace, s.order[s.next])
		s.order[s.next] = name
		s.next = (s.next + 1) % s.limit
	}
	v := new(T)
	s.byPlace[name] = v
	return v
}

// known returns what is remembered of the place of an event, or nil.
func (s *memory[T]) known(m *detect.Match) *T { return s.byPlace[m.Place()] }
