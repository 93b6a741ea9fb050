package pattern

import "slices"

// automaton finds which of many string patterns a string matches, reading it once from one end. It is a
// nondeterministic automaton in the form of a tree: patterns that begin alike share states, a star is a state that loops,
// and the states that are alive at once are followed together.
type automaton struct {
	states []state
	build  map[string]int32 // while building: state and element → state
}

type state struct {
	edges []edge   // in the order of their bytes; several for one byte where patterns with and without case part
	wide  []uint16 // by byte: 1 + the index of its first edge, 0 for none; nil when there are few edges
	star  int32    // the looping state that is alive whenever this one is, -1 for none
	loop  bool
	any   []int32 // conjunctions found as soon as the state is reached
	end   []int32 // conjunctions found when the string ends here
}

type edge struct {
	b  byte
	to int32
}

// manyEdges is from how many edges on a state uses a table.
const manyEdges = 6

func (a *automaton) newState() int32 {
	a.states = append(a.states, state{star: -1})
	return int32(len(a.states) - 1)
}

// begin returns the state from which patterns are added.
func (a *automaton) begin() int32 {
	if len(a.states) == 0 {
		a.build = map[string]int32{}
		a.newState()
	}
	return 0
}

// element is one step of a pattern: a star, or one of one or two byte sequences.
type element struct {
	star        bool
	one, orElse string
}

// add extends the path at from by an element and returns the state it leads to.
func (a *automaton) add(from int32, e element) int32 {
	id := string([]byte{byte(from >> 24), byte(from >> 16), byte(from >> 8), byte(from)})
	switch {
	case e.star:
		id += "*"
	case e.orElse == "":
		id += "1" + e.one
	default:
		id += "2" + e.one + "\x00" + e.orElse
	}
	if to, ok := a.build[id]; ok {
		return to
	}
	to := a.newState()
	a.build[id] = to
	if e.star {
		a.states[to].loop = true
		a.states[from].star = to
		return to
	}
	a.connect(from, to, e.one)
	if e.orElse != "" {
		a.connect(from, to, e.orElse)
	}
	return to
}

// connect leads from one state to another by a sequence of at least one byte.
func (a *automaton) connect(from, to int32, s string) {
	for i := 0; i < len(s); i++ {
		next := to
		if i+1 < len(s) {
			next = a.newState()
		}
		a.states[from].edges = append(a.states[from].edges, edge{s[i], next})
		from = next
	}
}

// addString adds the bytes of s one by one, so that strings share what they have in common.
func (a *automaton) addString(from int32, s string, reverse bool) int32 {
	for i := range len(s) {
		if reverse {
			i = len(s) - 1 - i
		}
		from = a.add(from, element{one: s[i : i+1]})
	}
	return from
}

// addFold adds the characters of a pattern that ignores case.
func (a *automaton) addFold(from int32, elements []foldElement, reverse bool) int32 {
	for i := range elements {
		e := element{one: elements[i].lower, orElse: elements[i].upper}
		if reverse {
			e = elements[len(elements)-1-i].reversed()
		}
		if e.orElse == "" {
			from = a.addString(from, e.one, false)
		} else {
			from = a.add(from, e)
		}
	}
	return from
}

func (e foldElement) reversed() element {
	flip := func(s string) string {
		b := []byte(s)
		slices.Reverse(b)
		return string(b)
	}
	return element{one: flip(e.lower), orElse: flip(e.upper)}
}

// finish makes the automaton ready for use.
func (a *automaton) finish() {
	a.build = nil
	for i := range a.states {
		s := &a.states[i]
		slices.SortStableFunc(s.edges, func(x, y edge) int { return int(x.b) - int(y.b) })
		if len(s.edges) >= manyEdges {
			s.wide = make([]uint16, 256)
			for j, e := range slices.Backward(s.edges) {
				s.wide[e.b] = uint16(j + 1)
			}
		}
	}
}

// run reads s, from its end when reverse is set, and hands over the conjunctions it finds.
func (a *automaton) run(s string, reverse bool, m *matcher) {
	if a == nil {
		return
	}
	m.alive = m.alive[:0]
	m.generation()
	a.enter(0, m)
	alive := m.alive
	spare := m.spare
	for i := range len(s) {
		if len(alive) == 0 {
			break
		}
		b := s[i]
		if reverse {
			b = s[len(s)-1-i]
		}
		m.alive = spare[:0]
		m.generation()
		for _, id := range alive {
			st := &a.states[id]
			if st.loop {
				a.enter(id, m)
			}
			j := 0
			if st.wide != nil {
				if j = int(st.wide[b]) - 1; j < 0 {
					continue
				}
			}
			for ; j < len(st.edges); j++ {
				if e := st.edges[j]; e.b == b {
					a.enter(e.to, m)
				} else if e.b > b {
					break
				}
			}
		}
		spare, alive = alive, m.alive
	}
	for _, id := range alive {
		m.candidates(a.states[id].end)
	}
	m.alive, m.spare = alive, spare
}

// enter makes a state alive, and the loop that goes with it.
func (a *automaton) enter(id int32, m *matcher) {
	for id >= 0 && m.mark[id] != m.marked {
		m.mark[id] = m.marked
		st := &a.states[id]
		if len(st.any) > 0 {
			m.candidates(st.any)
		}
		m.alive = append(m.alive, id)
		id = st.star
	}
}

// generation forgets which states are alive.
func (m *matcher) generation() {
	if m.marked++; m.marked == 0 {
		clear(m.mark)
		m.marked = 1
	}
}
