package agent

import (
	"context"
	"time"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
)

const (
	// maxBatchBytes is the size before compression at which a batch is closed.
	maxBatchBytes = 512 << 10
	maxBatchCount = 4096
	// maxHeld bounds the events that wait for lookups.
	maxHeld = 8192
	// takeItems is how many events are taken from the queue at a time.
	takeItems = 64
	// holdTick is how often held events are looked at.
	holdTick = 3 * time.Millisecond
)

// batch is an encoded batch on its way to the publisher.
type batch struct {
	sequence uint64
	events   uint32
	data     []byte
}

// shipper takes events from the queue, holds them until they are complete and encodes them. It is one goroutine.
type shipper struct {
	agent    *Agent
	encoder  *event.Encoder
	sequence uint64
	held     map[*container.Entry][]*item // in order, for each cgroup
	holding  int
	taken    []*item
	began    time.Time // when the open batch got its first event
}

func (a *Agent) ship(ctx context.Context) {
	s := &shipper{agent: a, encoder: event.NewEncoder(), held: make(map[*container.Entry][]*item)}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := time.Hour
		if s.encoder.Count() > 0 {
			wait = max(0, a.opts.BatchInterval-time.Since(s.began))
		}
		if s.holding > 0 {
			wait = min(wait, holdTick)
		}
		timer.Reset(wait)
		select {
		case <-a.queue.ready:
			// Under load, looking at the clock for each event would cost more than the event.
			s.taken = a.queue.take(s.taken[:0], takeItems)
			for _, i := range s.taken {
				s.take(i)
			}
		case <-timer.C:
			s.release(false)
		case <-ctx.Done():
			// The sensor has stopped: what is in the queue is all there will be.
			for {
				if s.taken = a.queue.take(s.taken[:0], takeItems); len(s.taken) == 0 {
					break
				}
				for _, i := range s.taken {
					s.take(i)
				}
			}
			s.release(true)
			s.flush()
			close(a.batches)
			return
		}
		if s.encoder.Count() > 0 && time.Since(s.began) >= a.opts.BatchInterval {
			s.flush()
		}
	}
}

// take adds an event to the batch, or holds it when it or one of its cgroup before it is not complete.
func (s *shipper) take(i *item) {
	if waiting, ok := s.held[i.entry]; ok || !s.complete(i) {
		s.held[i.entry] = append(waiting, i)
		if s.holding++; s.holding > maxHeld {
			s.release(true)
		}
		return
	}
	s.add(i)
}

// complete reports whether waiting cannot make an event better, or it has waited long enough.
func (s *shipper) complete(i *item) bool {
	if i.entry != nil && !i.entry.Settled() {
		return false
	}
	return i.actor.cell.done() || time.Since(i.at) > s.agent.opts.HashWait
}

// release adds the held events that are complete now, or all.
func (s *shipper) release(all bool) {
	for entry, waiting := range s.held {
		n := 0
		for n < len(waiting) && (all || s.complete(waiting[n])) {
			s.add(waiting[n])
			n++
		}
		s.holding -= n
		if n == len(waiting) {
			delete(s.held, entry)
		} else if n > 0 {
			s.held[entry] = append(waiting[:0:0], waiting[n:]...)
		}
	}
}

// add completes an event and encodes it.
func (s *shipper) add(i *item) {
	a := s.agent
	i.actor.complete()
	if i.target != nil {
		i.target.complete()
	}
	if i.writer != nil {
		i.writer.complete()
	}
	if i.entry != nil {
		i.ev.Container = i.entry.Container()
	}
	if i.ev.Kind == event.KindMmap || i.ev.Kind == event.KindModule {
		i.change.Origin = origin(&i.loaded, i.loaded.Origin == event.OriginMemory, i.ev.Container)
	}
	if !i.actor.final {
		a.ledger.held.Add(1)
	}
	if s.encoder.Count() == 0 {
		s.began = time.Now()
	}
	if err := s.encoder.Add(&i.ev); err != nil {
		a.ledger.invalid.Add(uint64(i.ev.Count))
		a.log.Debug("dropping event", "err", err)
	} else {
		a.ledger.encoded.Add(1)
		a.ledger.folded.Add(uint64(i.ev.Count - 1))
	}
	i.free()
	if s.encoder.Size() >= maxBatchBytes || s.encoder.Count() >= maxBatchCount || s.encoder.Full() {
		s.flush()
	}
}

// flush closes the batch and hands it to the publisher, whom it waits for.
func (s *shipper) flush() {
	n := s.encoder.Count()
	if n == 0 {
		return
	}
	s.sequence++
	a := s.agent
	data := s.encoder.Finish(nil, &event.Batch{
		AgentID: a.opts.Link.AgentID(), Epoch: a.epoch, Sequence: s.sequence, AgentVersion: a.opts.Version, Host: a.host,
	})
	s.encoder.Reset()
	a.batches <- batch{s.sequence, uint32(n), data}
}

// complete fills in the late fields of a process and of those it hangs on. It runs in the shipper's goroutine only.
func (s *snapshot) complete() {
	for n := 0; s != nil && n <= maxDepth; s, n = s.parent, n+1 {
		if s.writer != nil && !s.writer.final {
			s.writer.complete()
		}
		if s.final {
			continue
		}
		settled := s.entry == nil || s.entry.Settled()
		p := &s.proc
		if s.cell != nil && s.cell.done() {
			p.SHA256, p.User = s.cell.sha, s.cell.user
		}
		var c *event.Container
		if s.entry != nil {
			c = s.entry.Container()
		}
		p.IsContainer = c != nil && p.NSPID == 1
		p.Exe.Origin = origin(&p.Exe, s.memory, c)
		s.final = settled && s.cell.done()
	}
}

// origin tells where an executable or library comes from.
//
//   - One without a path is OriginMemory.
//   - In a container, one on the writable layer of an overlay file system is OriginWritten: it was made, changed, or copied up
//     by a change of its owner, mode or times, after the container was made.
//   - In a container, one that a process of the same container was seen to open for writing is OriginWritten, wherever it is.
//   - In a container, one elsewhere whose content or inode changed after the container started is OriginWritten too. The
//     inode's change time counts because a workload can set the other one back.
//   - Everything else in a container is OriginImage.
//   - For a process of the host, and one that was running before the agent, nothing is known.
func origin(f *event.File, memory bool, c *event.Container) event.FileOrigin {
	switch {
	case memory:
		return event.OriginMemory
	case c == nil || f.Inode == 0:
		return event.OriginUnknown
	case f.UpperLayer, f.Writer != nil:
		return event.OriginWritten
	case c.StartedAt != 0 && max(f.MTime, f.CTime) > c.StartedAt:
		return event.OriginWritten
	}
	return event.OriginImage
}
