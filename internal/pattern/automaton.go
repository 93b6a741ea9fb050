package pattern

import "slices"

// automaton finds which of many string patterns a string matches, reading it once from one end. It is a
// nondeterministic automaton in the form of a tree: patterns that begin alike share states, a star is a state that loops,
// and the states that are alive at once are followed together.
type automaton struct {
	states []state
	edges  []edge
	tables [][256]uint32 // by byte: 1 + the first of a state's edges with it, 0 for none
	lists  [][]int32     // conjunctions found; number 0 is empty
	draft  *draft        // while patterns are added
}

// state is a state of the finished automaton.
type state struct {
	first, last uint32 // its edges, in the order of their bytes; several for one byte where patterns with and without case part
	table       int32  // for a state with many edges, -1 for none
	star        int32  // the looping state that is alive whenever this one is, -1 for none
	any         uint32 // list of conjunctions found as soon as the state is reached
	end         uint32 // list of conjunctions found when the string ends here
	loop        bool
}

type edge struct {
	b  byte
	to int32
}

// draft is an automaton that patterns are being added to.
type draft struct {
	states []draftState
	paths  map[string]int32 // state and element → state
}

type draftState struct {
	edges    []edge
	star     int32
	loop     bool
	any, end []int32
}

// manyEdges is from how many edges on a state uses a table.
const manyEdges = 6

// newDraft returns a draft with its first state, number 0.
func newDraft() *draft {
	d := &draft{paths: map[string]int32{}}
	d.newState()
	return d
}

func (d *draft) newState() int32 {
	d.states = append(d.states, draftState{star: -1})
	return int32(len(d.states) - 1)
}

// element is one step of a pattern: a star, or one of one or two byte sequences.
type element struct {
	star        bool
	one, orElse string
}

// add extends the path at from by an element and returns the state it leads to.
func (d *draft) add(from int32, e element) int32 {
	id := string([]byte{byte(from >> 24), byte(from >> 16), byte(from >> 8), byte(from)})
	switch {
	case e.star:
		id += "*"
	case e.orElse == "":
		id += "1" + e.one
	default:
		id += "2" + e.one + "\x00" + e.orElse
	}
	if to, ok := d.paths[id]; ok {
		return to
	}
	to := d.newState()
	d.paths[id] = to
	if e.star {
		d.states[to].loop = true
		d.states[from].star = to
		return to
	}
	d.connect(from, to, e.one)
	if e.orElse != "" {
		d.connect(from, to, e.orElse)
	}
	return to
}

// connect leads from one state to another by a sequence of at least one byte.
func (d *draft) connect(from, to int32, s string) {
	for i := 0; i < len(s); i++ {
		next := to
		if i+1 < len(s) {
			next = d.newState()
		}
		d.states[from].edges = append(d.states[from].edges, edge{s[i], next})
		from = next
	}
}

// addString adds the bytes of s one by one, so that strings share what they have in common.
func (d *draft) addString(from int32, s string, reverse bool) int32 {
	for i := range len(s) {
		if reverse {
			i = len(s) - 1 - i
		}
		from = d.add(from, element{one: s[i : i+1]})
	}
	return from
}

// addFold adds the characters of a pattern that ignores case.
func (d *draft) addFold(from int32, elements []foldElement, reverse bool) int32 {
	for i := range elements {
		e := element{one: elements[i].lower, orElse: elements[i].upper}
		if reverse {
			e = elements[len(elements)-1-i].reversed()
		}
		if e.orElse == "" {
			from = d.addString(from, e.one, false)
		} else {
			from = d.add(from, e)
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
	a.lists = [][]int32{nil}
	list := func(ids []int32) uint32 {
		if len(ids) == 0 {
			return 0
		}
		a.lists = append(a.lists, ids)
		return uint32(len(a.lists) - 1)
	}
	a.states = make([]state, len(a.draft.states))
	for i := range a.draft.states {
		d := &a.draft.states[i]
		slices.SortStableFunc(d.edges, func(x, y edge) int { return int(x.b) - int(y.b) })
		st := &a.states[i]
		*st = state{first: uint32(len(a.edges)), star: d.star, loop: d.loop, table: -1, any: list(d.any), end: list(d.end)}
		a.edges = append(a.edges, d.edges...)
		st.last = uint32(len(a.edges))
		if len(d.edges) >= manyEdges {
			st.table = int32(len(a.tables))
			a.tables = append(a.tables, [256]uint32{})
			for j := st.last; j > st.first; j-- {
				a.tables[st.table][a.edges[j-1].b] = j
			}
		}
	}
	a.draft = nil
}

// run reads s, from its end when reverse is set, and hands over the conjunctions it finds.
func (a *automaton) run(s string, reverse bool, m *matcher) {
	m.alive = m.alive[:0]
	m.generation()
	a.enter(0, m)
	alive := m.alive
	spare := m.spare
	for i := 0; i < len(s) && len(alive) > 0; i++ {
		if len(alive) == 1 && a.states[alive[0]].loop {
			// Only a star is alive: go to where something can follow it.
			st := &a.states[alive[0]]
			for i < len(s) && a.edge(st, at(s, i, reverse)) == st.last {
				i++
			}
			if i == len(s) {
				break
			}
		}
		b := at(s, i, reverse)
		m.alive = spare[:0]
		m.generation()
		for _, id := range alive {
			st := &a.states[id]
			if st.loop {
				a.enter(id, m)
			}
			for j := a.edge(st, b); j < st.last && a.edges[j].b == b; j++ {
				a.enter(a.edges[j].to, m)
			}
		}
		spare, alive = alive, m.alive
	}
	for _, id := range alive {
		m.candidates(a.lists[a.states[id].end])
	}
	m.alive, m.spare = alive, spare
}

// at returns byte i of s, from its end when reverse is set.
func at(s string, i int, reverse bool) byte {
	if reverse {
		return s[len(s)-1-i]
	}
	return s[i]
}

// edge returns a state's first edge with a byte, the end of its edges if it has none.
func (a *automaton) edge(st *state, b byte) uint32 {
	if st.table >= 0 {
		if j := a.tables[st.table][b]; j > 0 {
			return j - 1
		}
		return st.last
	}
	for j := st.first; j < st.last; j++ {
		if a.edges[j].b == b {
			return j
		}
	}
	return st.last
}

// enter makes a state alive, and the loop that goes with it.
func (a *automaton) enter(id int32, m *matcher) {
	for id >= 0 && m.mark[id] != m.marked {
		m.mark[id] = m.marked
		st := &a.states[id]
		if st.any != 0 {
			m.candidates(a.lists[st.any])
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
