package agent

import (
	"context"
	"errors"
	"time"

	"vedette.dev/vedette/internal/link"
)

const (
	publishTimeout = 5 * time.Second
	// lastPublish is how long a stopping agent goes on sending; the rest stays in the spool.
	lastPublish = 3 * time.Second
	retryPause  = 200 * time.Millisecond
)

// publish brings batches to the server in order, one after the other, until the shipper closes the channel.
func (a *Agent) publish(stop context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		// With something in the spool, new batches queue up behind it.
		if !a.spool.empty() {
			retry.Reset(0)
			if !a.opts.Link.Connected() {
				retry.Reset(retryPause)
			}
			select {
			case b, ok := <-a.batches:
				if !ok {
					a.drainLast()
					return
				}
				a.keep(b)
			case <-retry.C:
				if a.opts.Link.Connected() && !a.sendOldest(stop) {
					select {
					case <-time.After(retryPause):
					case <-stop.Done():
					}
				}
			}
			continue
		}
		b, ok := <-a.batches
		if !ok {
			return
		}
		if !a.opts.Link.Connected() {
			a.keep(b)
			continue
		}
		if err := a.send(context.Background(), a.epoch, b); err != nil {
			a.log.Warn("publishing events; they go to the spool", "err", err)
			a.keep(b)
		}
	}
}

// send publishes one batch. One that can never be sent is dropped and counted.
func (a *Agent) send(ctx context.Context, epoch string, b batch) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
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
	if err := a.send(ctx, r.epoch, batch{r.sequence, r.events, r.data}); err != nil {
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
