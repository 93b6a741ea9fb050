package agent

import (
	"cmp"
	"os"
	"slices"
	"time"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
)

const (
	// alertPause is how long the agent is silent after it has told of losses at one place.
	alertPause = 10 * time.Second
	// maxAlerts is how many containers it tells of by name at a time; the others are told of together.
	maxAlerts = 8
)

// losses tells the server of lost events, by events of their own: a flood that is made to blind the agent is an attack. The
// first loss is told of within a second. What all alerts of one place tell of adds up to all that was lost there. It is for
// one goroutine.
type losses struct {
	self   *snapshot
	kernel place
	spool  place
	queue  place // its told is that of containers beyond the queue's bound
}

// place is where events are lost.
type place struct {
	told uint64
	next time.Time // no alert before
}

func newLosses(t *table) *losses {
	s := &snapshot{}
	p := &s.proc
	p.PID = uint32(os.Getpid())
	p.Name, p.UID, p.EUID, p.GID, p.EGID = "vedette", uint32(os.Getuid()), uint32(os.Geteuid()), uint32(os.Getgid()), uint32(os.Getegid())
	p.ExePath, _ = os.Executable()
	p.Args = os.Args[:1]
	p.StartTime = time.Now().UnixNano()
	p.UUID = event.ProcessUUID(t.host, p.PID, uint64(p.StartTime))
	return &losses{self: s}
}

// tell makes the alerts that are due, or at the end of the agent all. While the server is away, alerts would only wait in the
// spool, where they may be lost themselves.
func (l *losses) tell(a *Agent, last bool) {
	if !last && !a.opts.Link.Connected() {
		return
	}
	now := time.Now()
	var dropped uint64
	for _, n := range a.opts.Source.Stats().Dropped {
		dropped += n
	}
	l.kernel.tell(a, "kernel", dropped, now, last)
	l.spool.tell(a, "spool", a.ledger.spoolLost.Load()+a.ledger.unsendable.Load(), now, last)
	if !last && now.Before(l.queue.next) {
		return
	}

	type loss struct {
		entry *container.Entry
		n     uint64
	}
	var list []loss
	var rest uint64
	a.queue.lost(func(_ string, t *toll, total uint64) {
		switch {
		case t == nil:
			rest += total - l.queue.told
			l.queue.told = total
		case total > t.told:
			list = append(list, loss{t.entry, total - t.told})
			t.told = total
		}
	})
	if len(list) == 0 && rest == 0 {
		return
	}
	l.queue.next = now.Add(alertPause)
	slices.SortFunc(list, func(x, y loss) int { return cmp.Compare(y.n, x.n) })
	for n, lost := range list {
		if n >= maxAlerts {
			rest += lost.n
			continue
		}
		a.alert("queue", lost.n, lost.entry, now)
	}
	if rest > 0 {
		a.alert("queue", rest, nil, now)
	}
}

func (p *place) tell(a *Agent, where string, total uint64, now time.Time, last bool) {
	if total <= p.told || !last && now.Before(p.next) {
		return
	}
	a.alert(where, total-p.told, nil, now)
	p.told, p.next = total, now.Add(alertPause)
}

// alert sends an event about lost events. It is sent whatever kinds are wanted.
func (a *Agent) alert(where string, lost uint64, entry *container.Entry, now time.Time) {
	name := ""
	if entry != nil {
		name = entry.Path()
		if c := entry.Container(); c != nil && c.Name != "" {
			name = c.Name
		}
	}
	a.log.Warn("events were lost", "where", where, "events", lost, "container", event.PrintableN(name, 128))
	i := items.Get().(*item)
	i.alert = event.Alert{Reason: "loss", Lost: lost, Where: where}
	i.ev = event.Event{Kind: event.KindAlert, Time: now.UnixNano(), Count: 1, Process: &a.losses.self.proc, Alert: &i.alert}
	i.actor, i.entry = a.losses.self, entry
	a.ledger.made.Add(1)
	a.enqueue(i)
}
