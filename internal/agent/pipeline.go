package agent

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

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

	prev, next *item // in the queue

	exec   event.Exec
	exit   event.Exit
	open   event.Open
	socket event.Socket
	dns    event.DNS
	ptrace event.Ptrace
	change event.FileChange
	memory event.Memory
	mount  event.MountChange
	creds  event.Creds
	call   event.Call
	alert  event.Alert

	loaded event.File // mmap and module: the file, of which the shipper tells the origin
	writer *snapshot  // of change.Writer
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
		if a.wanted(r.Kind) {
			i := a.item(r, s)
			i.exec.PreviousExe = previous
			i.ev.Exec = &i.exec
			a.ledger.made.Add(1)
			a.enqueue(i)
		}
		return
	}

	s := a.table.acting(r, entry)
	switch r.Kind {
	case event.KindExit:
		a.table.exit(r)
	case event.KindOpen:
		// Reads of sensitive files are opens, too.
		if r.Open.Flags&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC) != 0 {
			a.table.wrote(r, s, r.Open.Dev, r.Open.Inode)
		}
	case event.KindMemfd:
		a.table.wrote(r, s, r.File.Dev, r.File.Inode)
	case event.KindRename, event.KindLink, event.KindChmod:
		a.table.touched(r, s)
	}
	if !a.wanted(r.Kind) {
		return
	}
	if a.repeats(r, s) {
		a.ledger.made.Add(1)
		return
	}
	i := a.item(r, s)
	if !a.describe(i, r) {
		a.ledger.malformed.Add(1)
		i.free()
		return
	}
	a.ledger.made.Add(1)
	a.enqueue(i)
}

// wanted reports whether somebody needs a kind of event, and counts a record of which nothing becomes.
func (a *Agent) wanted(k event.Kind) bool {
	if event.Kinds(a.kinds.Load()).Has(k) {
		return true
	}
	a.ledger.unwanted.Add(1)
	return false
}

// describe fills in what happened, for all kinds but exec. It reports false if that cannot be told.
func (a *Agent) describe(i *item, r *sensor.Record) bool {
	switch r.Kind {
	case event.KindExit:
		i.exit = r.Exit
		i.ev.Exit = &i.exit
	case event.KindOpen:
		i.open = event.Open{Path: string(r.Open.Path), Flags: r.Open.Flags, Dev: r.Open.Dev, Inode: r.Open.Inode}
		i.ev.Open = &i.open
	case event.KindConnect, event.KindBind:
		i.setSocket(&r.Socket)
		if r.Kind == event.KindConnect {
			i.ev.Connect = &i.socket
		} else {
			i.ev.Bind = &i.socket
		}
	case event.KindDNS:
		if err := parseDNS(&i.dns, &r.DNS); err != nil {
			return false
		}
		i.ev.DNS = &i.dns
	case event.KindPtrace:
		a.aim(i, r)
		i.ev.Ptrace = &i.ptrace
	case event.KindVMRead, event.KindVMWrite, event.KindKill, event.KindSetns:
		a.aim(i, r)
		i.ev.Target = &i.ptrace
	case event.KindRename, event.KindLink, event.KindSymlink, event.KindUnlink, event.KindChmod, event.KindMemfd, event.KindChroot, event.KindPivotRoot:
		i.setFile(&r.File)
	case event.KindMmap, event.KindModule:
		i.setFile(&r.File)
		a.load(i, r)
	case event.KindMprotect:
		i.memory = r.Memory
		i.memory.Path = string(r.File.Path)
		i.ev.Memory = &i.memory
	case event.KindMount, event.KindUmount:
		i.mount = event.MountChange{Source: string(r.Mount.Source), Target: string(r.Mount.Target), FSType: string(r.Mount.FSType), Flags: r.Mount.Flags}
		i.ev.Mount = &i.mount
	case event.KindSocket, event.KindListen, event.KindAccept:
		i.setSocket(&r.Socket)
		i.ev.Socket = &i.socket
	case event.KindDup:
		i.setSocket(&r.Socket)
		i.call = r.Call
		i.ev.Socket, i.ev.Call = &i.socket, &i.call
	case event.KindSetuid, event.KindCapset:
		i.creds = r.Creds
		i.ev.Creds = &i.creds
	case event.KindUserfaultfd, event.KindUnshare, event.KindBPF, event.KindKeyctl, event.KindIOUring:
		i.call = r.Call
		i.ev.Call = &i.call
	default:
		return false
	}
	return true
}

// entry returns what is known about the cgroup that a record is from.
func (a *Agent) entry(r *sensor.Record) *container.Entry {
	entry := a.opts.Containers.Entry(r.CgroupID, r.PID)
	if r.NSPID == 1 && r.PID != 1 && entry != nil {
		entry.Began(a.clock.wall(r.Start))
	}
	return entry
}

func (i *item) setSocket(s *sensor.SocketRecord) {
	i.socket = event.Socket{Family: s.Family, Type: s.Type, Protocol: s.Protocol, Local: s.Local, Remote: s.Remote, Path: string(s.Path)}
}

func (i *item) setFile(f *sensor.FileRecord) {
	i.change = event.FileChange{Path: string(f.Path), Target: string(f.Target), Flags: f.Flags, Mode: f.Mode, Dev: f.Dev, Inode: f.Inode}
	i.ev.File = &i.change
}

// aim fills in the process that a record is aimed at.
func (a *Agent) aim(i *item, r *sensor.Record) {
	i.target = a.table.find(r.PtraceTarget, r.PtraceStart)
	i.ptrace = event.Ptrace{Request: r.PtraceRequest, TargetPID: r.PtraceTarget}
	if i.target != nil {
		i.ptrace.Target = &i.target.proc
	}
}

// load fills in what is known of a file that was mapped or loaded.
func (a *Agent) load(i *item, r *sensor.Record) {
	i.loaded = r.File.File
	i.loaded.Dev, i.loaded.Inode = r.File.Dev, r.File.Inode
	w, ok := a.table.writers.get(fileKey{containerID(i.entry), r.File.Dev, r.File.Inode})
	if !ok || r.File.Inode == 0 {
		return
	}
	i.writer, i.change.Writer, i.change.WrittenAt = w.by, &w.by.proc, w.at
}

// item returns a new item for a record, without what its kind says.
func (a *Agent) item(r *sensor.Record, s *snapshot) *item {
	i := items.Get().(*item)
	i.ev = event.Event{Kind: r.Kind, Time: a.clock.wall(r.Boottime), Errno: r.Errno, Count: 1, Process: &s.proc}
	i.actor, i.entry = s, s.entry
	return i
}

// enqueue hands an item to the shipper, or drops one that has to make room.
func (a *Agent) enqueue(i *item) {
	i.at = time.Now()
	if dropped := a.queue.push(i); dropped != nil {
		a.ledger.queueFull[dropped.ev.Kind].Add(uint64(dropped.ev.Count))
		dropped.free()
	}
}
