package pattern

import "slices"

// ranges finds which of many intervals hold a key: a segment tree, whose memory is n·log n in the number of intervals
// whatever they overlap.
type ranges struct {
	starts []key     // the elementary intervals begin here; the first has no bound
	lists  [][]int32 // heap-ordered tree over the elementary intervals
	size   int       // leaves of the tree, a power of two
}

type interval struct {
	lo, hi key
	id     int32
}

func newRanges(intervals []interval) *ranges {
	if len(intervals) == 0 {
		return nil
	}
	r := &ranges{starts: []key{{}}}
	for _, v := range intervals {
		r.starts = append(r.starts, v.lo)
		if end := v.hi.next(); v.hi.less(end) {
			r.starts = append(r.starts, end)
		}
	}
	compare := func(a, b key) int {
		switch {
		case a.less(b):
			return -1
		case b.less(a):
			return 1
		}
		return 0
	}
	slices.SortFunc(r.starts, compare)
	r.starts = slices.Compact(r.starts)
	for r.size = 1; r.size < len(r.starts); r.size *= 2 {
	}
	r.lists = make([][]int32, 2*r.size)
	for _, v := range intervals {
		if v.hi.less(v.lo) {
			continue
		}
		from := r.slot(v.lo) + r.size
		to := r.slot(v.hi) + r.size + 1
		for from < to {
			if from&1 == 1 {
				r.lists[from] = append(r.lists[from], v.id)
				from++
			}
			if to&1 == 1 {
				to--
				r.lists[to] = append(r.lists[to], v.id)
			}
			from, to = from/2, to/2
		}
	}
	return r
}

// slot returns the elementary interval that holds k.
func (r *ranges) slot(k key) int {
	lo, hi := 0, len(r.starts)
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if k.less(r.starts[mid]) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo
}

// find hands over the conjunctions of the intervals that hold k, the position of leaf l.
func (r *ranges) find(k key, l *leaf, m *matcher) {
	for i := r.slot(k) + r.size; i > 0; i /= 2 {
		if ids := r.lists[i]; len(ids) > 0 {
			if l.Kind == Number && !l.comparable() {
				return
			}
			m.candidates(ids)
		}
	}
}
