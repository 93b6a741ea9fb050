package detect

import (
	"hash/maphash"
	"strings"
	"time"
)

// MaxKeys is how many findings of one type one place can make within an hour. What goes beyond is folded into one further
// finding of that type and place, so that a process which talks to a million listed addresses, or a program that copies
// itself a million times, fills nobody's mailbox.
const MaxKeys = 50

const (
	keyWindow  = time.Hour
	maxKeyRows = 8192 // types times places remembered
)

// keyBook counts the different aggregation keys of each type and place.
type keyBook struct {
	seed maphash.Seed
	rows map[uint64]*keyRow
}

type keyRow struct {
	since time.Time
	seen  map[uint64]struct{}
}

func newKeyBook() *keyBook {
	return &keyBook{seed: maphash.MakeSeed(), rows: make(map[uint64]*keyRow)}
}

// key returns the aggregation key of an occurrence, and whether it had to be folded. Time is the event's, so that replayed
// events fold as they did live.
func (b *keyBook) key(typ string, place Place, executable, object string, at time.Time) (key string, folded bool) {
	key = strings.Join([]string{place.Host, place.Container, executable, object}, "\x00")
	id := b.hash(typ, place.Host, place.Container)
	row := b.rows[id]
	if row == nil {
		if len(b.rows) >= maxKeyRows {
			b.evict(at)
		}
		row = &keyRow{since: at, seen: make(map[uint64]struct{}, 1)}
		b.rows[id] = row
	}
	if at.Sub(row.since) >= keyWindow {
		row.since = at
		clear(row.seen)
	}
	h := b.hash(executable, object)
	if _, ok := row.seen[h]; ok {
		return key, false
	}
	if len(row.seen) >= MaxKeys {
		return strings.Join([]string{place.Host, place.Container, "folded"}, "\x00"), true
	}
	row.seen[h] = struct{}{}
	return key, false
}

// evict makes room: everything whose window is over, and if that is too little, an eighth of the rest at random.
// Whoever is forgotten may make MaxKeys findings more.
func (b *keyBook) evict(now time.Time) {
	for id, row := range b.rows {
		if now.Sub(row.since) >= keyWindow {
			delete(b.rows, id)
		}
	}
	for id := range b.rows {
		if len(b.rows) <= maxKeyRows-maxKeyRows/8 {
			return
		}
		delete(b.rows, id)
	}
}

func (b *keyBook) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	for _, p := range parts {
		h.WriteString(p)
		h.WriteByte(0)
	}
	return h.Sum64()
}
