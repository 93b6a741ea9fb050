package ebpf

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

const (
	busyWait = 2 * time.Millisecond
	idleWait = 20 * time.Millisecond
)

// reader delivers the records of both rings to a sink.
type reader struct {
	source *Source
	rings  [2]*ring
	decode decoder
	epoll  int
	stop   int // eventfd
}

func newReader(s *Source) (_ *reader, err error) {
	r := &reader{source: s, epoll: -1, stop: -1}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if r.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	// Edge-triggered: a ring that merely holds records, which is the normal case, must not end the wait; a wake-up must.
	fds := []int{s.kernel.lifecycle.FD(), s.kernel.activity.FD(), r.stop}
	for _, fd := range fds {
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(fd)}
		if err = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return nil, err
		}
	}
	for i, m := range []interface {
		FD() int
		MaxEntries() uint32
	}{s.kernel.lifecycle, s.kernel.activity} {
		if r.rings[i], err = openRing(m.FD(), m.MaxEntries()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *reader) close() {
	for _, ring := range r.rings {
		if ring != nil {
			ring.close()
		}
	}
	if r.stop >= 0 {
		unix.Close(r.stop)
	}
	if r.epoll >= 0 {
		unix.Close(r.epoll)
	}
}

func (r *reader) run(ctx context.Context, sink func(*sensor.Record)) error {
	told := make(chan struct{})
	stopped := context.AfterFunc(ctx, func() {
		defer close(told)
		unix.Write(r.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stopped() {
			<-told // the descriptor must outlive the write
		}
	}()
	wait := busyWait
	for ctx.Err() == nil {
		switch n, more := r.drain(sink); {
		case more:
			wait = busyWait
			continue
		case n > 0:
			wait = busyWait
		default:
			wait = min(2*wait, idleWait)
		}
		if err := r.sleep(wait); err != nil {
			return fmt.Errorf("waiting for the rings: %w", err)
		}
	}
	return nil
}

// sleep waits for the time given, or less if a ring fills up or the context ends.
func (r *reader) sleep(d time.Duration) error {
	var events [3]unix.EpollEvent
	r.source.kernel.control.setSleeping(1)
	_, err := unix.EpollWait(r.epoll, events[:], int(d.Milliseconds()))
	r.source.kernel.control.setSleeping(0)
	if err == unix.EINTR {
		return nil
	}
	return err
}

// drain delivers, in order of time, what was in the rings when it was called. The rings are merged, so that an exec and what
// the new program did at once keep their order. Records that are newer than the call wait for the next one even if
// they are visible, because an older one can still be on its way in the other ring; more tells that there are such.
func (r *reader) drain(sink func(*sensor.Record)) (n int, more bool) {
	now := boottime()
	var heads [2][]byte
	var ends [2]uint64
	for i, ring := range r.rings {
		ends[i] = ring.end()
	}
	defer func() {
		for _, ring := range r.rings {
			ring.release()
		}
	}()
	for i, ring := range r.rings {
		var busy bool
		if heads[i], busy = ring.head(ends[i]); busy {
			return n, false
		}
	}
	for {
		i := 0
		if heads[0] == nil || heads[1] != nil && timeOf(heads[1]) < timeOf(heads[0]) {
			i = 1
		}
		if heads[i] == nil {
			return n, more
		}
		if timeOf(heads[i]) > now {
			return n, true
		}
		r.deliver(heads[i], sink)
		n++
		r.rings[i].next(heads[i])
		var busy bool
		if heads[i], busy = r.rings[i].head(ends[i]); busy {
			return n, false
		}
	}
}

func (r *reader) deliver(raw []byte, sink func(*sensor.Record)) {
	rec, err := r.decode.record(raw)
	if err != nil {
		r.source.malformed[kindOf(raw)].Add(1)
		r.source.log.Error("record from the kernel", "error", err)
		return
	}
	if r.decode.read {
		if list := r.source.reads.Load(); list == nil || !list.match(rec.Open.Path) {
			return
		}
	}
	r.source.delivered[rec.Kind].Add(1)
	sink(rec)
	if peer := r.decode.peer; len(peer) > 0 {
		rec.Socket.Path = peer
		sink(rec)
	}
}

func boottime() uint64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail for this clock
	return uint64(ts.Nano())
}

func timeOf(raw []byte) uint64 {
	if len(raw) < int(unsafe.Sizeof(bpfHeader{})) {
		return 0
	}
	return (*bpfHeader)(unsafe.Pointer(&raw[0])).Time
}

func kindOf(raw []byte) event.Kind {
	if len(raw) < int(unsafe.Sizeof(bpfHeader{})) {
		return 0
	}
	if k := (*bpfHeader)(unsafe.Pointer(&raw[0])).Kind; k < event.KindCount {
		return event.Kind(k)
	}
	return 0
}
