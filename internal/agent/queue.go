package agent

import (
	"sync"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
)

const (
	// turnItems is how many items one container gives before it is the next one's turn.
	turnItems = 32
	// maxTolled bounds the containers whose losses are told apart.
	maxTolled = 256
)

// queue holds items between the sensor and the shipper, for each container apart. It is fair: while it is full, no container
// may fill more than an equal share, one that has less than that takes the place of the latest item of one that has more,
// and the shipper is given items of all in turn. Programs that start and end may use a reserve of a quarter on top, because
// what they do cannot be understood without. An item's container is what is known of it when it comes; processes of the host
// are told apart by their cgroup.
//
// Many goroutines may push; one takes.
type queue struct {
	size  int
	ready chan struct{} // has a value when there may be items

	mu     sync.Mutex
	flows  map[string]*flow // those with items
	turn   *flow            // the next to take from, in a ring of all flows
	n      int
	spare  *flow // a list, by next
	latest *flow // the last one that was added to
	victim *flow // the last one that gave way
	tolls  map[string]*toll
	rest   uint64 // lost by containers beyond maxTolled
}

// flow is the items of one container, in order.
type flow struct {
	key         string
	first, last *item
	n           int
	prev, next  *flow
}

// toll is what one container has lost.
type toll struct {
	entry *container.Entry
	total uint64 // occurrences
	told  uint64 // of them, those that an alert has told of
}

func newQueue(size int) *queue {
	return &queue{size: size, ready: make(chan struct{}, 1), flows: make(map[string]*flow), tolls: make(map[string]*toll)}
}

// flowKey names the container of an item.
func flowKey(e *container.Entry) string {
	if e == nil {
		return ""
	}
	if c := e.Container(); c != nil && c.ID != "" {
		return c.ID
	}
	return e.Path()
}

// precious reports whether an item may use the reserve.
func (i *item) precious() bool {
	return i.ev.Kind == event.KindExec || i.ev.Kind == event.KindExit || i.ev.Kind == event.KindAlert
}

// push puts an item into the queue. It returns the item that has to be dropped for it, which may be the same one, or nil.
func (q *queue) push(i *item) (dropped *item) {
	key := flowKey(i.entry)
	q.mu.Lock()
	defer q.mu.Unlock()
	limit := q.size
	if i.precious() {
		limit += q.size / 4
	}
	f := q.latest
	if f == nil || f.key != key {
		f = q.flows[key]
	}
	if q.n >= limit {
		flows, own := len(q.flows), 0
		if f == nil {
			flows++
		} else {
			own = f.n
		}
		share := max(1, limit/flows)
		victim := q.over(share)
		if own >= share || victim == nil {
			q.toll(i)
			return i
		}
		dropped = q.evict(victim)
		q.toll(dropped)
		if q.flows[key] == nil {
			f = nil
		}
	}
	if f == nil {
		f = q.open(key)
	}
	i.prev, i.next = f.last, nil
	if f.last != nil {
		f.last.next = i
	} else {
		f.first = i
	}
	f.last = i
	f.n++
	q.n++
	q.latest = f
	if q.n == 1 {
		q.signal()
	}
	return dropped
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// over returns a flow with more than its share, or nil.
func (q *queue) over(share int) *flow {
	if q.victim != nil && q.victim.n > share {
		return q.victim
	}
	q.victim = nil
	for _, f := range q.flows {
		if f.n > share && (q.victim == nil || f.n > q.victim.n) {
			q.victim = f
		}
	}
	return q.victim
}

// evict takes the latest item off a flow that is not precious, if there is one among the last few; so what came first stays.
func (q *queue) evict(f *flow) *item {
	i := f.last
	for n := 0; n < 8 && i != nil && i.precious(); n++ {
		i = i.prev
	}
	if i == nil || i.precious() {
		i = f.last
	}
	q.remove(f, i)
	return i
}

func (q *queue) remove(f *flow, i *item) {
	if i.prev != nil {
		i.prev.next = i.next
	} else {
		f.first = i.next
	}
	if i.next != nil {
		i.next.prev = i.prev
	} else {
		f.last = i.prev
	}
	i.prev, i.next = nil, nil
	f.n--
	q.n--
	if f.n == 0 {
		q.shut(f)
	}
}

// open adds an empty flow to the ring; its turn comes last.
func (q *queue) open(key string) *flow {
	f := q.spare
	if f == nil {
		f = new(flow)
	} else {
		q.spare = f.next
	}
	*f = flow{key: key}
	q.flows[key] = f
	if q.turn == nil {
		f.prev, f.next = f, f
		q.turn = f
	} else {
		f.prev, f.next = q.turn.prev, q.turn
		f.prev.next, f.next.prev = f, f
	}
	return f
}

func (q *queue) shut(f *flow) {
	delete(q.flows, f.key)
	if q.turn == f {
		q.turn = f.next
	}
	if f.next == f {
		q.turn = nil
	} else {
		f.prev.next, f.next.prev = f.next, f.prev
	}
	if q.victim == f {
		q.victim = nil
	}
	if q.latest == f {
		q.latest = nil
	}
	*f = flow{next: q.spare}
	q.spare = f
}

// take appends at most about limit items to dst, of all containers in turn. While items are left, ready has a value.
func (q *queue) take(dst []*item, limit int) []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(dst) < limit && q.turn != nil {
		f := q.turn
		q.turn = f.next
		for n := min(turnItems, f.n); n > 0; n-- {
			i := f.first
			q.remove(f, i)
			dst = append(dst, i)
		}
	}
	if q.n > 0 {
		q.signal()
	}
	return dst
}

// toll counts an item as lost by its container.
func (q *queue) toll(i *item) {
	key := flowKey(i.entry)
	t := q.tolls[key]
	if t == nil {
		if len(q.tolls) >= maxTolled {
			q.rest += uint64(i.ev.Count)
			return
		}
		t = &toll{entry: i.entry}
		q.tolls[key] = t
	}
	t.total += uint64(i.ev.Count)
}

// lost calls yield for each container that has lost something, and last with a nil toll for all others together.
func (q *queue) lost(yield func(key string, t *toll, total uint64)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for key, t := range q.tolls {
		yield(key, t, t.total)
	}
	if q.rest > 0 {
		yield("", nil, q.rest)
	}
}
