// Package outbox hands over the deliveries of one queue of the store, each at least once.
//
// What goes in: deliveries that were enqueued in the transaction of their cause, see [Dispatcher.Enqueue]. What comes out:
// calls of a Handler, which says how each ended. Success and whatever the handler wants stored with it are committed in one
// transaction, so hand-overs within the store happen exactly once; those that leave it (a mail, a web hook) happen again if
// the process dies between the act and the commit.
//
// A commit wakes the dispatcher, there is no polling. At most Workers handlers run at a time and at most PerLane of one
// lane, so a receiver that hangs holds up its own lane only. Nothing is dropped: a delivery ends by success, or as a dead
// letter that stays in the store to be looked at and redriven, of which the newest KeepDead are kept. A handler that panics
// makes a dead letter of its delivery.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/store"
)

// Options configure a Dispatcher. Store, Queue, Handle and Log are required.
type Options struct {
	Store      *store.DB
	Queue      string
	Handle     Handler
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics

	Workers  int           // handlers at a time; default 16
	PerLane  int           // of one lane; default 4
	Timeout  time.Duration // of one handler, also the basis of leases; default 60 s
	Grace    time.Duration // what running handlers get to finish when Run's context ends; default 5 s
	KeepDead int           // dead letters kept; default 10,000
}

// Handler does one delivery. Its context ends after Options.Timeout. It must not keep d.
type Handler func(ctx context.Context, d store.Delivery) Outcome

// Outcome says how a delivery ended. Make one with Done, Retry or Dead.
type Outcome struct {
	verdict verdict
	apply   func(tx *store.Tx) error
	after   time.Duration
	code    string
	err     error
}

type verdict string

const (
	delivered verdict = "delivered"
	retried   verdict = "retried"
	dead      verdict = "dead"
	released  verdict = "released"
)

// Done is the outcome of a delivery that was handed over. apply, which may be nil, runs in the transaction that removes the
// delivery; when it returns an error nothing of it is stored and the delivery is tried again, or ends as the error says if
// it is a *Failure. apply may run more than once, when the transaction around it fails.
func Done(apply func(tx *store.Tx) error) Outcome { return Outcome{verdict: delivered, apply: apply} }

// Retry is the outcome of a failed attempt that is to be repeated after a while.
func Retry(after time.Duration, code string, err error) Outcome {
	return Outcome{verdict: retried, after: after, code: code, err: err}
}

// Dead is the outcome of a delivery that is given up.
func Dead(code string, err error) Outcome { return Outcome{verdict: dead, code: code, err: err} }

// Failure is an error of the function given to Done that says how the delivery ends instead.
type Failure struct{ Outcome Outcome }

// Error returns the text of the failure's cause.
func (f *Failure) Error() string { return text(f.Outcome.err) }

// Unwrap returns the failure's cause.
func (f *Failure) Unwrap() error { return f.Outcome.err }

// applyRetry is how long a delivery waits whose effect could not be stored.
const applyRetry = 10 * time.Second

// Dispatcher runs the deliveries of one queue.
type Dispatcher struct {
	o       Options
	metrics *metrics
	wake    chan struct{}

	// Owned by Run.
	busy    map[string]int // running handlers by lane
	running int
	turn    string // lane that was served last
}

// New returns a dispatcher. Deliveries may be enqueued before Run is called.
func New(o Options) *Dispatcher {
	if o.Workers <= 0 {
		o.Workers = 16
	}
	if o.PerLane <= 0 {
		o.PerLane = 4
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Grace <= 0 {
		o.Grace = 5 * time.Second
	}
	if o.KeepDead <= 0 {
		o.KeepDead = 10_000
	}
	return &Dispatcher{o: o, metrics: newMetrics(o), wake: make(chan struct{}, 1), busy: map[string]int{}}
}

// Enqueue adds a delivery to the dispatcher's queue and has it looked at as soon as tx commits.
func (d *Dispatcher) Enqueue(tx *store.Tx, item store.Delivery) error {
	item.Queue = d.o.Queue
	if item.CreatedAt.IsZero() {
		item.CreatedAt = time.Now()
	}
	if _, err := tx.Enqueue(item); err != nil {
		return err
	}
	tx.AfterCommit(d.Wake)
	return nil
}

// Queue returns the name of the dispatcher's queue.
func (d *Dispatcher) Queue() string { return d.o.Queue }

// DeadLetters returns dead letters with an id greater than after, at most limit of them; limit 0 means all.
func (d *Dispatcher) DeadLetters(tx *store.Tx, after int64, limit int) ([]store.Delivery, error) {
	return tx.DeadLetters(d.o.Queue, after, limit)
}

// Redrive has a dead letter of the dispatcher's queue delivered once more, as if it were new, and reports whether there is
// such a one.
func (d *Dispatcher) Redrive(tx *store.Tx, id int64) (bool, error) {
	ok, err := tx.Redrive(d.o.Queue, id, time.Now())
	if ok {
		tx.AfterCommit(d.Wake)
	}
	return ok, err
}

// Wake makes Run look for due deliveries now. It never blocks.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// result is a delivery whose handler has ended.
type result struct {
	item    store.Delivery
	outcome Outcome // what the handler said
	final   Outcome // what was stored
}

// Run hands over deliveries until ctx ends, then waits for the running handlers and stores how they ended. It may be called
// once.
func (d *Dispatcher) Run(ctx context.Context) error {
	// Handlers outlive ctx by the grace period, so that a mail that is on its way is not sent again after a restart.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	results := make(chan result, d.o.Workers)
	var finished []result
	for ctx.Err() == nil {
		claimed, next, err := d.turnOver(context.WithoutCancel(ctx), finished)
		if err == nil {
			finished = finished[:0]
		} else {
			// The results are kept and stored with the next try.
			d.o.Log.Error("storing deliveries", "queue", d.o.Queue, "err", err)
			next = time.Now().Add(time.Second)
		}
		for _, item := range claimed {
			d.busy[item.Lane]++
			d.running++
			go func() { results <- result{item: item, outcome: d.handle(work, item)} }()
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		if err != nil { // neither results nor wake-ups may turn a failing disk into a busy loop
			select {
			case <-ctx.Done():
			case <-timer:
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-d.wake:
		case <-timer:
		case r := <-results:
			finished = append(finished, d.ended(r))
		}
		for more := true; more; { // whatever else has ended goes into the same transaction
			select {
			case r := <-results:
				finished = append(finished, d.ended(r))
			default:
				more = false
			}
		}
	}
	time.AfterFunc(d.o.Grace, cancel)
	for d.running > 0 {
		finished = append(finished, d.ended(<-results))
	}
	if len(finished) == 0 {
		return nil
	}
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), d.o.Grace)
	defer cancelLast()
	if err := d.o.Store.Update(last, func(tx *store.Tx) error { return d.settle(tx, finished) }); err != nil {
		return fmt.Errorf("storing the last deliveries of %s: %w", d.o.Queue, err)
	}
	d.count(finished)
	return nil
}

// ended takes note that a handler has ended.
func (d *Dispatcher) ended(r result) result {
	d.running--
	if d.busy[r.item.Lane]--; d.busy[r.item.Lane] == 0 {
		delete(d.busy, r.item.Lane)
	}
	return r
}

// turnOver stores how deliveries ended and claims new ones. next is when to look again, if nothing happens before; zero
// means never.
//
// A transaction that is under way is not cut off when the process is asked to end, only when the store does not answer.
func (d *Dispatcher) turnOver(ctx context.Context, finished []result) (claimed []store.Delivery, next time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = d.o.Store.Update(ctx, func(tx *store.Tx) error {
		if err := d.settle(tx, finished); err != nil {
			return err
		}
		claimed, next, err = d.claim(tx)
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	d.count(finished)
	return claimed, next, nil
}

// settle stores how deliveries ended.
func (d *Dispatcher) settle(tx *store.Tx, finished []result) error {
	buried := false
	for i := range finished {
		r := &finished[i]
		r.final = r.outcome
		if r.outcome.verdict == delivered && r.outcome.apply != nil {
			if err := d.apply(tx, r); err != nil {
				var f *Failure
				if errors.As(err, &f) && f.Outcome.verdict != delivered {
					r.final = f.Outcome
				} else {
					r.final = Retry(applyRetry, "INTERNAL", err)
				}
			}
		}
		var held bool
		var err error
		now := time.Now()
		switch o := r.final; o.verdict {
		case delivered:
			held, err = tx.Finish(r.item)
		case retried:
			held, err = tx.Retry(r.item, now.Add(o.after), o.code, text(o.err))
		case dead:
			buried = true
			held, err = tx.Bury(r.item, now, o.code, text(o.err))
		case released:
			held, err = tx.Release(r.item, now)
		}
		if err != nil {
			return err
		}
		if !held {
			d.o.Log.Warn("delivery ended after its lease", "queue", d.o.Queue, "delivery", r.item.ID)
		}
	}
	if buried {
		if _, err := tx.TrimDeadLetters(d.o.Queue, d.o.KeepDead); err != nil {
			return err
		}
	}
	return nil
}

// apply stores the effect of a delivery. A panic in it makes a dead letter, like one in the handler.
func (d *Dispatcher) apply(tx *store.Tx, r *result) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Failure{d.panicked(r.item, p)}
		}
	}()
	return tx.Nested(func() error { return r.outcome.apply(tx) })
}

// panicked logs a panic and returns what becomes of its delivery.
func (d *Dispatcher) panicked(item store.Delivery, p any) Outcome {
	d.o.Log.Error("delivering panicked", "queue", d.o.Queue, "delivery", item.ID, "panic", p, "stack", string(debug.Stack()))
	return Dead("INTERNAL", fmt.Errorf("panic: %v", p))
}

// claim takes due deliveries for the free workers, fairly over the lanes.
func (d *Dispatcher) claim(tx *store.Tx) (claimed []store.Delivery, next time.Time, err error) {
	free := d.o.Workers - d.running
	if free <= 0 {
		return nil, time.Time{}, nil // a worker that ends makes the next turn
	}
	lanes, err := tx.Lanes(d.o.Queue)
	if err != nil {
		return nil, time.Time{}, err
	}
	// Begin behind the lane that was served last, so that none starves when there are more lanes than workers.
	start := 0
	for start < len(lanes) && lanes[start].Name <= d.turn {
		start++
	}
	now := time.Now()
	for i := range lanes {
		lane := lanes[(start+i)%len(lanes)]
		room := min(d.o.PerLane-d.busy[lane.Name], free)
		if room <= 0 {
			if free <= 0 {
				return claimed, time.Time{}, nil
			}
			continue
		}
		due := lane.Due
		if !due.After(now) {
			list, err := tx.Claim(d.o.Queue, lane.Name, now, d.o.Timeout+30*time.Second, room)
			if err != nil {
				return nil, time.Time{}, err
			}
			claimed = append(claimed, list...)
			free -= len(list)
			d.turn = lane.Name
			if len(list) == room {
				continue // full: whoever ends first makes the next turn
			}
			var ok bool
			if due, ok, err = tx.NextInLane(d.o.Queue, lane.Name); err != nil {
				return nil, time.Time{}, err
			} else if !ok {
				continue
			}
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return claimed, next, nil
}

// handle runs the handler for one delivery.
func (d *Dispatcher) handle(ctx context.Context, item store.Delivery) (outcome Outcome) {
	defer func() {
		if p := recover(); p != nil {
			outcome = d.panicked(item, p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	outcome = d.o.Handle(ctx, item)
	if outcome.verdict != delivered && errors.Is(ctx.Err(), context.Canceled) {
		return Outcome{verdict: released} // the process ends; that is nobody's failed attempt
	}
	return outcome
}

// count updates the metrics and the log once the outcomes are stored.
func (d *Dispatcher) count(finished []result) {
	for _, r := range finished {
		d.metrics.ended(r)
		attrs := []any{"queue", d.o.Queue, "delivery", r.item.ID, "subject", r.item.Subject, "attempts", r.item.Attempts + 1, "code", r.final.code, "err", r.final.err}
		switch r.final.verdict {
		case retried:
			d.o.Log.Info("delivery failed, will retry", append(attrs, "in", r.final.after)...)
		case dead:
			d.o.Log.Warn("delivery given up, kept as a dead letter", attrs...)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
