package agent

// lru is a map of bounded size that forgets what was not used for longest. It is for one goroutine. Its nodes live in one
// array, so that a full map allocates nothing.
type lru[K comparable, V any] struct {
	index map[K]int32
	nodes []lruNode[K, V] // nodes[0] is the ring's anchor
	free  []int32
	max   int
}

type lruNode[K comparable, V any] struct {
	key        K
	value      V
	prev, next int32
}

func newLRU[K comparable, V any](max int) *lru[K, V] {
	return &lru[K, V]{index: make(map[K]int32), nodes: make([]lruNode[K, V], 1), max: max}
}

func (l *lru[K, V]) len() int { return len(l.index) }

// get returns the value of a key, which counts as used now.
func (l *lru[K, V]) get(k K) (V, bool) {
	if v := l.use(k); v != nil {
		return *v, true
	}
	var none V
	return none, false
}

// use returns the value of a key, to be changed in place before the next call of another method, or nil.
func (l *lru[K, V]) use(k K) *V {
	i, ok := l.index[k]
	if !ok {
		return nil
	}
	if l.nodes[0].next != i {
		l.unlink(i)
		l.link(i)
	}
	return &l.nodes[i].value
}

// put sets the value of a key.
func (l *lru[K, V]) put(k K, v V) {
	if i, ok := l.index[k]; ok {
		l.nodes[i].value = v
		l.unlink(i)
		l.link(i)
		return
	}
	if len(l.index) >= l.max {
		l.delete(l.nodes[l.nodes[0].prev].key)
	}
	var i int32
	if n := len(l.free); n > 0 {
		i, l.free = l.free[n-1], l.free[:n-1]
	} else {
		i = int32(len(l.nodes))
		l.nodes = append(l.nodes, lruNode[K, V]{})
	}
	l.nodes[i].key, l.nodes[i].value = k, v
	l.index[k] = i
	l.link(i)
}

func (l *lru[K, V]) delete(k K) {
	i, ok := l.index[k]
	if !ok {
		return
	}
	l.unlink(i)
	l.nodes[i] = lruNode[K, V]{}
	delete(l.index, k)
	l.free = append(l.free, i)
}

func (l *lru[K, V]) link(i int32) {
	first := l.nodes[0].next
	l.nodes[i].prev, l.nodes[i].next = 0, first
	l.nodes[first].prev = i
	l.nodes[0].next = i
}

func (l *lru[K, V]) unlink(i int32) {
	n := &l.nodes[i]
	l.nodes[n.prev].next, l.nodes[n.next].prev = n.next, n.prev
}
