package agent

import (
	"bytes"
	"context"
	"errors"
	"time"

	"vedette.dev/vedette/internal/link"
)

const (
	publishTimeout = 5 * time.Second
	// patience is how long a batch that is not in the spool may take: nothing behind it moves meanwhile.
	patience = time.Second
	// lastPublish is how long a stopping agent goes on sending; the rest stays in the spool.
	lastPublish = 3 * time.Second
	retryPause  = 200 * time.Millisecond
)

// flight is a batch of the spool on its way to the server.
type flight struct {
	segment *segment
	offset  int64
	batch   spooled
	err     chan error
}

// publish brings batches to the server in order, one after the other, until the shipper closes the channel. With something in
// the spool, new batches queue up behind it, and they go on doing so while the server takes its time over one: a server that
// is connected but answers nothing must not make the queue overflow.
func (a *Agent) publish(stop context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	var flying *flight
	var next time.Time // when to try the spool again
	for {
		if flying == nil && a.spool.empty() {
			b, ok := <-a.batches
			if !ok {
				return
			}
			if !a.opts.Link.Connected() {
				a.keep(b)
			} else if err := a.send(context.Background(), a.epoch, b, patience); err != nil {
				a.log.Warn("publishing events; they go to the spool", "err", err)
				a.keep(b)
			}
			continue
		}
		var again <-chan time.Time
		var landed <-chan error
		switch {
		case flying != nil:
			landed = flying.err
		case stop.Err() == nil:
			retry.Reset(time.Until(next))
			again = retry.C
		}
		select {
		case b, ok := <-a.batches:
			if !ok {
				if flying != nil { // it ends with stop
					a.land(flying, <-flying.err)
				}
				a.drainLast()
				return
			}
			a.keep(b)
		case <-again:
			next = time.Now().Add(retryPause)
			if a.opts.Link.Connected() {
				flying = a.launch(stop)
			}
		case err := <-landed:
			if a.land(flying, err) {
				next = time.Time{}
			} else {
				next = time.Now().Add(retryPause)
			}
			flying = nil
		}
	}
}

// launch begins to send the spool's oldest batch, which stays there until it has landed. It returns nil if there is none.
func (a *Agent) launch(ctx context.Context) *flight {
	r, lost, ok := a.spool.first()
	a.ledger.spoolLost.Add(lost)
	if !ok {
		return nil
	}
	r.data = bytes.Clone(r.data) // the spool's own is valid only until something is added to it
	seg := a.spool.segments[0]
	f := &flight{segment: seg, offset: seg.offset, batch: r, err: make(chan error, 1)}
	go func() { f.err <- a.send(ctx, r.epoch, batch{r.sequence, r.events, r.data}, publishTimeout) }()
	return f
}

// land takes a batch that was sent out of the spool, and reports whether it was sent. A spool that overflowed meanwhile may
// have dropped it already; then it counts as dropped although it was sent.
func (a *Agent) land(f *flight, err error) bool {
	if err != nil {
		return false
	}
	if s := a.spool; !s.empty() && s.segments[0] == f.segment && f.segment.offset == f.offset {
		s.advance(f.batch)
	}
	return true
}

// send publishes one batch. One that can never be sent is dropped and counted.
func (a *Agent) send(ctx context.Context, epoch string, b batch, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := a.opts.Link.Publish(ctx, epoch, b.sequence, b.data)
	switch {
	case err == nil:
		a.ledger.batches.Add(1)
		a.ledger.shipped.Add(uint64(b.events))
	case errors.Is(err, link.ErrTooLarge):
		a.ledger.unsendable.Add(uint64(b.events))
		a.log.Error("dropping events", "events", b.events, "err", err)
		return nil
	}
	return err
}

// keep puts a batch into the spool.
func (a *Agent) keep(b batch) {
	dropped, err := a.spool.append(spooled{epoch: a.epoch, sequence: b.sequence, events: b.events, data: b.data})
	if dropped > 0 {
		a.log.Warn("the spool is full; dropping the oldest events", "events", dropped)
	}
	a.ledger.spoolLost.Add(dropped)
	a.ledger.spooling.Store(a.spool.waiting())
	if err != nil {
		a.ledger.spoolLost.Add(uint64(b.events))
		a.log.Error("dropping events", "events", b.events, "err", err)
		return
	}
	a.ledger.spooled.Add(1)
}

// sendOldest publishes the spool's oldest batch. It reports whether there is a point in going on.
func (a *Agent) sendOldest(ctx context.Context) bool {
	r, lost, ok := a.spool.first()
	a.ledger.spoolLost.Add(lost)
	defer func() { a.ledger.spooling.Store(a.spool.waiting()) }()
	if !ok {
		return true
	}
	if err := a.send(ctx, r.epoch, batch{r.sequence, r.events, r.data}, publishTimeout); err != nil {
		return false
	}
	a.spool.advance(r)
	return true
}

// drainLast sends what it can when the agent stops.
func (a *Agent) drainLast() {
	ctx, cancel := context.WithTimeout(context.Background(), lastPublish)
	defer cancel()
	for ctx.Err() == nil && !a.spool.empty() && a.opts.Link.Connected() && a.sendOldest(ctx) {
	}
}
