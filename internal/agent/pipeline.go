package agent

import (
	"sync"
	"time"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// item is an event between the sensor's goroutine and the shipper's. It holds the details of every kind, so that
// an event costs no more than the texts in it.
type item struct {
	ev     event.Event
	actor  *snapshot
	target *snapshot
	entry  *container.Entry
	at     time.Time // when it came, on the monotonic clock

	exec   event.Exec
	exit   event.Exit
	open   event.Open
	socket event.Socket
	dns    event.DNS
	ptrace event.Ptrace
}

var items = sync.Pool{New: func() any { return new(item) }}

func (i *item) free() {
	answers := i.dns.Answers[:0]
	*i = item{}
	i.dns.Answers = answers
	items.Put(i)
}

// sink takes one record. It runs in the sensor's goroutine.
func (a *Agent) sink(r *sensor.Record) {
	if r.Kind == 0 || r.Kind >= event.KindCount {
		return
	}
	a.ledger.received[r.Kind].Add(1)
	if _, own := a.ignore[r.PID]; own {
		a.ledger.ignored.Add(1)
		return
	}
	entry := a.entry(r)
	switch r.Kind {
	case event.KindFork:
		a.table.fork(r, entry)
		return
	case event.KindExec:
		s, previous := a.table.exec(r, entry)
		s.cell = a.lookups.start(job{
			pid: r.PID, parent: r.PPID, path: s.proc.ExePath, file: s.proc.Exe, mntNS: r.MntNS, uid: r.UID,
			contained: entry.Container() != nil,
		})
		if i := a.item(r, s); i != nil {
			i.exec.PreviousExe = previous
			i.ev.Exec = &i.exec
			a.enqueue(i)
		}
		return
	}

	s := a.table.acting(r, entry)
	switch r.Kind {
	case event.KindExit:
		a.table.exit(r)
	case event.KindOpen:
		a.table.wrote(r, s)
	}
	i := a.item(r, s)
	if i == nil {
		return
	}
	switch r.Kind {
	case event.KindExit:
		i.exit = r.Exit
		i.ev.Exit = &i.exit
	case event.KindOpen:
		i.open = event.Open{Path: string(r.Open.Path), Flags: r.Open.Flags, Dev: r.Open.Dev, Inode: r.Open.Inode}
		i.ev.Open = &i.open
	case event.KindConnect, event.KindBind:
		i.socket = event.Socket{
			Family: r.Socket.Family, Type: r.Socket.Type, Protocol: r.Socket.Protocol, Local: r.Socket.Local, Remote: r.Socket.Remote, Path: string(r.Socket.Path),
		}
		if r.Kind == event.KindConnect {
			i.ev.Connect = &i.socket
		} else {
			i.ev.Bind = &i.socket
		}
	case event.KindDNS:
		if err := parseDNS(&i.dns, &r.DNS); err != nil {
			a.ledger.malformed.Add(1)
			i.free()
			return
		}
		i.ev.DNS = &i.dns
	case event.KindPtrace:
		i.target = a.table.find(r.PtraceTarget, r.PtraceStart)
		i.ptrace = event.Ptrace{Request: r.PtraceRequest, TargetPID: r.PtraceTarget}
		if i.target != nil {
			i.ptrace.Target = &i.target.proc
		}
		i.ev.Ptrace = &i.ptrace
	}
	a.enqueue(i)
}

// entry returns what is known about the cgroup that a record is from.
func (a *Agent) entry(r *sensor.Record) *container.Entry {
	entry := a.opts.Containers.Entry(r.CgroupID, r.PID)
	if r.NSPID == 1 && r.PID != 1 && entry != nil {
		entry.Began(a.clock.wall(r.Start))
	}
	return entry
}

// item returns a new item for a record, or nil if its kind is not wanted.
func (a *Agent) item(r *sensor.Record, s *snapshot) *item {
	if !event.Kinds(a.kinds.Load()).Has(r.Kind) {
		a.ledger.unwanted.Add(1)
		return nil
	}
	i := items.Get().(*item)
	i.ev = event.Event{Kind: r.Kind, Time: a.clock.wall(r.Boottime), Errno: r.Errno, Count: 1, Process: &s.proc}
	i.actor, i.entry = s, s.entry
	return i
}

func (a *Agent) enqueue(i *item) {
	i.at = time.Now()
	select {
	case a.queue <- i:
		a.ledger.made.Add(1)
	default:
		a.ledger.queueFull[i.ev.Kind].Add(1)
		i.free()
	}
}
