package agent

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
)

// entries makes n containers.
func entries(t testing.TB, n int) []*container.Entry {
	t.Helper()
	root := t.TempDir()
	known := claims{}
	for i := range n {
		known[fmt.Sprint("/c", i)] = &event.Container{ID: fmt.Sprint("id-", i)}
	}
	r, err := container.Open(container.Options{CgroupRoot: root, Claimers: []container.Claimer{known}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	var list []*container.Entry
	for i := range n {
		var st unix.Stat_t
		path := filepath.Join(root, fmt.Sprint("c", i))
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		list = append(list, r.Entry(st.Ino, 0))
	}
	return list
}

func queued(kind event.Kind, e *container.Entry, mark int) *item {
	return &item{ev: event.Event{Kind: kind, Count: 1, Errno: int32(mark)}, entry: e}
}

func TestQueueKeepsOrderWithinAContainer(t *testing.T) {
	e := entries(t, 3)
	q := newQueue(1000)
	for i := range 300 {
		if q.push(queued(event.KindOpen, e[i%3], i)) != nil {
			t.Fatal("an item was dropped")
		}
	}
	last := map[*container.Entry]int32{}
	n := 0
	for {
		got := q.take(nil, 64)
		if len(got) == 0 {
			break
		}
		for _, i := range got {
			if at, ok := last[i.entry]; ok && i.ev.Errno <= at {
				t.Fatalf("%d came after %d", i.ev.Errno, at)
			}
			last[i.entry] = i.ev.Errno
			n++
		}
	}
	if n != 300 || q.turn != nil || len(q.flows) != 0 {
		t.Errorf("%d items, %d flows are left", n, len(q.flows))
	}
}

// TestNoisyContainerStarvesNobody: a container that floods the queue first leaves room for the others, loses only its own,
// and delays them by at most one turn.
func TestNoisyContainerStarvesNobody(t *testing.T) {
	e := entries(t, 4)
	q := newQueue(400)
	lost := map[*container.Entry]int{}
	push := func(i *item) {
		if d := q.push(i); d != nil {
			lost[d.entry]++
		}
	}
	for i := range 10_000 {
		push(queued(event.KindOpen, e[0], i))
	}
	for i := range 60 {
		for _, quiet := range e[1:] {
			push(queued(event.KindOpen, quiet, i))
		}
	}
	if lost[e[0]] != 10_000-400+180 || len(lost) != 1 {
		t.Errorf("lost: %d of the noisy one, %d containers", lost[e[0]], len(lost))
	}
	if first := q.take(nil, 4*turnItems); len(first) != 4*turnItems || count(first, e[0]) != turnItems || count(first, e[3]) != turnItems {
		t.Errorf("the first %d items: %d of the noisy one, %d of the last quiet one", len(first), count(first, e[0]), count(first, e[3]))
	}
	// Of the noisy one, what came first was kept.
	for i := q.flows["id-0"].first; i != nil; i = i.next {
		if i.ev.Errno >= 400 {
			t.Fatalf("kept item %d", i.ev.Errno)
		}
	}
	var total uint64
	q.lost(func(key string, _ *toll, n uint64) {
		if key != "id-0" {
			t.Errorf("%s has a toll", key)
		}
		total += n
	})
	if total != uint64(lost[e[0]]) {
		t.Errorf("the toll is %d, want %d", total, lost[e[0]])
	}
}

func count(items []*item, e *container.Entry) (n int) {
	for _, i := range items {
		if i.entry == e {
			n++
		}
	}
	return n
}

func TestPreciousItemsHaveAReserve(t *testing.T) {
	e := entries(t, 1)[0]
	q := newQueue(100)
	for range 1000 {
		q.push(queued(event.KindOpen, e, 0))
	}
	for i := range 25 {
		if q.push(queued(event.KindExec, e, 0)) != nil {
			t.Fatalf("exec %d was dropped", i)
		}
	}
	if q.push(queued(event.KindExec, e, 0)) == nil {
		t.Error("the reserve has no end")
	}
}

// TestQueueAddsUp pushes and takes at random, with many containers, and checks every invariant.
func TestQueueAddsUp(t *testing.T) {
	e := append(entries(t, 40), nil)
	q := newQueue(64)
	r := rand.New(rand.NewPCG(1, 2))
	pushed, dropped, taken := 0, 0, 0
	kinds := []event.Kind{event.KindOpen, event.KindExec, event.KindConnect, event.KindExit}
	for round := range 200_000 {
		if r.IntN(20) > 0 {
			pushed++
			i := queued(kinds[r.IntN(4)], e[min(r.IntN(len(e)), r.IntN(len(e)))], round)
			if q.push(i) != nil {
				dropped++
			}
		} else {
			taken += len(q.take(nil, r.IntN(40)))
		}
		if q.n > q.size+q.size/4 || pushed != dropped+taken+q.n {
			t.Fatalf("round %d: %d pushed, %d dropped, %d taken, %d in the queue", round, pushed, dropped, taken, q.n)
		}
	}
	n, ring := 0, 0
	for f := q.turn; f != nil; f = f.next {
		n += f.n
		if ring++; f.next == q.turn {
			break
		}
	}
	if n != q.n || ring != len(q.flows) {
		t.Errorf("the ring has %d flows of %d items; there are %d and %d", ring, n, len(q.flows), q.n)
	}
	if dropped == 0 || taken == 0 {
		t.Error("nothing was tested")
	}
	var total uint64
	q.lost(func(_ string, _ *toll, lost uint64) { total += lost })
	if total != uint64(dropped) {
		t.Errorf("the tolls are %d, want %d", total, dropped)
	}
}

func TestTollsAreBounded(t *testing.T) {
	q := newQueue(1)
	list := entries(t, 2*maxTolled)
	q.push(queued(event.KindExec, nil, 0))
	for _, e := range list {
		q.push(queued(event.KindOpen, e, 0))
	}
	n, rest := 0, uint64(0)
	q.lost(func(_ string, t *toll, total uint64) {
		n++
		if t == nil {
			rest = total
		}
	})
	if n != maxTolled+1 || rest != maxTolled {
		t.Errorf("%d tolls, %d in the rest", n, rest)
	}
}
