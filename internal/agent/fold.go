package agent

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

const (
	// maxFolds bounds the objects whose repeats are folded at a time; beyond, the oldest one's time is over early.
	maxFolds = 4096
	foldTick = 200 * time.Millisecond
	// foldTicks is after how many ticks repeats are sent: at most a second after the first.
	foldTicks = 5
)

// folds finds repeats: the same process, unchanged, doing the same to the same object with the same result. The first
// occurrence is an event of its own and goes out at once. Repeats within a second become one event with their count, which
// goes out at the end of that second; while there are repeats, one event a second follows.
//
// What differs from one occurrence to the next without being another object is left out of the comparison: the own port of a
// connection, the peer's port of an accepted one, the id of a DNS message, the address of changed memory.
type folds struct {
	seed maphash.Seed
	text []byte // scratch of the sensor's goroutine

	mu    sync.Mutex
	index map[uint64]int32
	ring  []fold // oldest first, from head on
	head  int
	n     int
	tick  uint32
}

// fold is an object that was touched within the last second.
type fold struct {
	key uint64
	due uint32 // the tick at which its time is over
	to  *item  // what the repeats are folded into; nil while there is none
}

func newFolds() *folds {
	return &folds{seed: maphash.MakeSeed(), index: make(map[uint64]int32), ring: make([]fold, maxFolds)}
}

// keyOf returns what a record is folded by, and whether its kind is folded at all: a hash of who did what, with a secret seed,
// so that nobody can make two of them collide. It is for the sensor's goroutine.
func (f *folds) keyOf(r *sensor.Record, s *snapshot) (uint64, bool) {
	b := number(f.text[:0], s.id, uint64(r.Kind)<<32|uint64(uint32(r.Errno)))
	switch r.Kind {
	case event.KindOpen:
		b = number(b, uint64(r.Open.Flags), r.Open.Dev, r.Open.Inode)
		b = append(b, r.Open.Path...)
	case event.KindConnect:
		b = endpoint(b, &r.Socket, netip.AddrPort{}, r.Socket.Remote)
	case event.KindAccept:
		b = endpoint(b, &r.Socket, r.Socket.Local, netip.AddrPortFrom(r.Socket.Remote.Addr(), 0))
	case event.KindBind, event.KindSocket, event.KindListen:
		b = endpoint(b, &r.Socket, r.Socket.Local, r.Socket.Remote)
	case event.KindDup:
		b = number(b, uint64(r.Call.Command), r.Call.Flags)
		b = endpoint(b, &r.Socket, r.Socket.Local, r.Socket.Remote)
	case event.KindDNS:
		skip := 2 // the id
		if r.DNS.Protocol == 6 {
			skip = 4 // after the length
		}
		if len(r.DNS.Payload) < skip {
			return 0, false
		}
		peer := r.DNS.Remote
		b = number(b, uint64(r.DNS.Protocol), boolean(r.DNS.Egress), boolean(r.DNS.PayloadCut))
		b = address(b, peer)
		b = append(b, r.DNS.Payload[skip:]...)
	case event.KindPtrace, event.KindVMRead, event.KindVMWrite, event.KindKill, event.KindSetns:
		b = number(b, uint64(r.PtraceRequest), uint64(r.PtraceTarget), r.PtraceStart)
	case event.KindRename, event.KindLink, event.KindSymlink, event.KindUnlink, event.KindChmod, event.KindMmap, event.KindModule,
		event.KindMemfd, event.KindChroot, event.KindPivotRoot:
		b = number(b, uint64(r.File.Flags), uint64(r.File.Mode), r.File.Dev, r.File.Inode)
		b = text(b, r.File.Path)
		b = append(b, r.File.Target...)
	case event.KindMprotect:
		b = number(b, uint64(r.Memory.Protection))
		b = append(b, r.Memory.Region...)
		b = append(b, 0)
		b = append(b, r.File.Path...)
	case event.KindMount, event.KindUmount:
		b = number(b, r.Mount.Flags)
		b = text(b, r.Mount.Source)
		b = text(b, r.Mount.Target)
		b = append(b, r.Mount.FSType...)
	case event.KindSetuid, event.KindCapset:
		b = number(b, uint64(r.Creds.UID), uint64(r.Creds.EUID), r.Creds.Capabilities, boolean(r.Creds.SetuidExe))
	case event.KindUserfaultfd, event.KindUnshare, event.KindBPF, event.KindKeyctl, event.KindIOUring:
		b = number(b, uint64(r.Call.Command), r.Call.Flags)
	default:
		return 0, false
	}
	f.text = b
	return maphash.Bytes(f.seed, b), true
}

func number(b []byte, values ...uint64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func text(b, s []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

func boolean(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

func address(b []byte, a netip.AddrPort) []byte {
	v := a.Addr().As16() // An invalid one is all zeros, as :: is; the family tells them apart.
	return binary.LittleEndian.AppendUint16(append(b, v[:]...), a.Port())
}

func endpoint(b []byte, s *sensor.SocketRecord, local, remote netip.AddrPort) []byte {
	b = number(b, uint64(s.Family), uint64(s.Type), uint64(s.Protocol))
	return append(address(address(b, local), remote), s.Path...)
}

// repeats reports whether a record repeats what its process did just now; then it has been counted. Otherwise it is the
// first of its kind, or not folded. The record's kind is wanted.
func (a *Agent) repeats(r *sensor.Record, s *snapshot) bool {
	f := a.folds
	key, ok := f.keyOf(r, s)
	if !ok {
		return false
	}
	f.mu.Lock()
	at, known := f.index[key]
	if !known {
		early := f.add(key)
		f.mu.Unlock()
		if early != nil {
			a.enqueue(early)
		}
		return false
	}
	defer f.mu.Unlock()
	to := f.ring[at].to
	if to == nil {
		to = a.item(r, s)
		if !a.describe(to, r) {
			to.free()
			return false
		}
		f.ring[at].to = to
		return true
	}
	to.ev.Count++
	to.ev.Time = a.clock.wall(r.Boottime)
	return true
}

// add remembers an object. It returns the event of the oldest one, if that has to make room and had repeats.
func (f *folds) add(key uint64) (early *item) {
	if f.n == maxFolds {
		early = f.pop().to
	}
	at := (f.head + f.n) % maxFolds
	f.ring[at] = fold{key: key, due: f.tick + foldTicks}
	f.index[key] = int32(at)
	f.n++
	return early
}

// pop removes the oldest object.
func (f *folds) pop() fold {
	oldest := f.ring[f.head]
	f.ring[f.head] = fold{}
	delete(f.index, oldest.key)
	f.head = (f.head + 1) % maxFolds
	f.n--
	return oldest
}

// expire moves the time on and appends the events of repeats whose second is over to dst; or all, at the end.
func (f *folds) expire(dst []*item, all bool) []*item {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tick++
	for n := f.n; n > 0; n-- {
		if !all && int32(f.ring[f.head].due-f.tick) > 0 {
			break
		}
		oldest := f.pop()
		if oldest.to == nil {
			continue
		}
		dst = append(dst, oldest.to)
		if !all {
			f.add(oldest.key) // It goes on: for as long as it does, the next ones are no firsts.
		}
	}
	return dst
}

// tend sends folded repeats when they are due and tells of losses, until ctx ends; then it sends all repeats. The sensor has
// stopped by then.
func (a *Agent) tend(ctx context.Context) {
	ticker := time.NewTicker(foldTick)
	defer ticker.Stop()
	var due []*item
	for n := 1; ; n++ {
		last := false
		select {
		case <-ticker.C:
		case <-ctx.Done():
			last = true
		}
		due = a.folds.expire(due[:0], last)
		for _, i := range due {
			a.enqueue(i)
		}
		clear(due)
		if last || n%foldTicks == 0 {
			a.losses.tell(a, last)
		}
		if last {
			return
		}
	}
}
