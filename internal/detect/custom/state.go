package custom

import (
	"container/list"
	"hash/maphash"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/pattern"
)

// The bounds of what rules remember.
const (
	// maxGroups is how many groups all rules of a set remember together; each rule has its share, at least minShare and at
	// most maxShare.
	maxGroups = 65536
	minShare  = 16
	maxShare  = 4096

	// maxPerMinute is how many findings' occurrences one rule may make in a minute of event time. The rest of that minute is
	// counted, not described: a rule that fires for everything must not slow the others down.
	maxPerMinute = 10000
)

// state is what one rule remembers. It belongs to the goroutine of the engine.
type state struct {
	seed   maphash.Seed
	groups map[uint64]*list.Element
	order  *list.List // of *group, the latest used first
	limit  int

	minute int64 // start of the minute that made is about
	made   int
}

// group is the events that agree in the fields of a rule's by.
type group struct {
	key    uint64
	counts []count    // of a threshold, oldest first
	starts []int64    // of a sequence: when the latest chain began that has completed step i; 0 for none
	values [][]string // of a sequence: what the message wants of the steps of that chain, one text per capture
}

func newState() *state {
	return &state{seed: maphash.MakeSeed(), groups: map[uint64]*list.Element{}, order: list.New(), limit: maxShare}
}

// key returns the group that the values of the fields make. Groups are told apart by a hash with a secret seed: a workload
// cannot choose values that fall together.
func (s *state) key(facts *detect.Facts, by []int, scratch *[]pattern.Value) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, f := range by {
		*scratch = facts.AppendValues((*scratch)[:0], f)
		for _, v := range *scratch {
			write(&h, v)
		}
		h.WriteByte(0)
	}
	return h.Sum64()
}

// hash returns the hash of one value.
func (s *state) hash(v pattern.Value) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	write(&h, v)
	return h.Sum64()
}

func write(h *maphash.Hash, v pattern.Value) {
	h.WriteByte(byte(v.Kind) + 1)
	if v.Kind == pattern.Number {
		maphash.WriteComparable(h, v.Num)
	} else {
		h.WriteString(v.Str)
	}
}

// group returns the group with the given key; nil if there is none and add is false.
func (s *state) group(key uint64, add bool) *group {
	if e := s.groups[key]; e != nil {
		s.order.MoveToFront(e)
		return e.Value.(*group)
	}
	if !add {
		return nil
	}
	for s.order.Len() >= s.limit {
		oldest := s.order.Back()
		delete(s.groups, oldest.Value.(*group).key)
		s.order.Remove(oldest)
	}
	g := &group{key: key}
	s.groups[key] = s.order.PushFront(g)
	return g
}

// forget drops a group.
func (s *state) forget(key uint64) {
	if e := s.groups[key]; e != nil {
		delete(s.groups, key)
		s.order.Remove(e)
	}
}

// allow reports whether the rule may make one more occurrence at the given time.
func (s *state) allow(at int64) bool {
	const minute = 60e9
	if at < s.minute || at-s.minute >= minute {
		s.minute, s.made = at, 0
	}
	s.made++
	return s.made <= maxPerMinute
}

// count is events of a group at a time, or, where different values are counted, the hash of one and when it was seen last.
type count struct {
	at int64
	n  int64
}

// exact is up to which threshold every event's own time is kept. Above it, events that are less than a 32nd of the window
// apart are counted as if they all came with the first of them.
const exact = 32

// since drops what is older than the window and returns the time to count an event with. Times that go back count as the
// latest; a clock that went back by more than the window starts anew.
func (g *group) since(within, at int64) int64 {
	if k := len(g.counts); k > 0 && at < g.counts[k-1].at {
		if g.counts[k-1].at-at > within {
			g.counts = g.counts[:0]
		} else {
			at = g.counts[k-1].at
		}
	}
	old := 0
	for old < len(g.counts) && at-g.counts[old].at > within {
		old++
	}
	g.counts = append(g.counts[:0], g.counts[old:]...)
	return at
}

// see notes that a value, given by its hash, was seen, and returns how many different ones there were within the window.
func (g *group) see(t *threshold, at int64, hash uint64) int64 {
	at = g.since(t.within, at)
	for i := range g.counts {
		if g.counts[i].n == int64(hash) {
			g.counts = append(g.counts[:i], g.counts[i+1:]...) // it is the latest now
			break
		}
	}
	if int64(len(g.counts)) >= t.count {
		g.counts = append(g.counts[:0], g.counts[1:]...)
	}
	g.counts = append(g.counts, count{at, int64(hash)})
	return int64(len(g.counts))
}

// add counts n events at a time and returns how many there were within the window.
func (g *group) add(t *threshold, at, n int64) int64 {
	at = g.since(t.within, at)
	switch k := len(g.counts); {
	case k > 0 && t.count > exact && at-g.counts[k-1].at < t.within/exact:
		g.counts[k-1].n += n
	case t.count <= exact && k >= exact:
		// Cannot be: a full window would have been a finding. It keeps the slice bounded all the same.
		g.counts = append(g.counts[:0], g.counts[1:]...)
		fallthrough
	default:
		g.counts = append(g.counts, count{at, n})
	}
	var sum int64
	for _, c := range g.counts {
		sum += c.n
	}
	return sum
}

// step notes that step i of n happened, and reports whether the sequence is complete.
func (g *group) step(i, n int, at, within int64, values []string) bool {
	if g.starts == nil {
		g.starts, g.values = make([]int64, n-1), make([][]string, n-1)
	}
	start, earlier := at, []string(nil)
	if i > 0 {
		start, earlier = g.starts[i-1], g.values[i-1]
		if start == 0 || at-start > within || start-at > within {
			return false
		}
	}
	if i == n-1 {
		return true
	}
	if start >= g.starts[i] || g.starts[i]-at > within {
		g.starts[i], g.values[i] = start, append(earlier[:len(earlier):len(earlier)], values...)
	}
	return false
}
