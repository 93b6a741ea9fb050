package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/store"
)

// Detector finds occurrences in a batch; detect.Engine is one.
type Detector interface {
	Process(b *event.Batch, emit func(*finding.Occurrence))
}

// Options are what New needs. Store, Publish, Engine, Log, AccountID and Region are required.
type Options struct {
	Store *store.DB
	// Publish writes an event to a bus in the transaction; bus.Bus.Put is one.
	Publish           func(tx *store.Tx, busName string, ev bus.Event) error
	Engine            Detector
	Log               *slog.Logger
	AccountID, Region string
	Trust             Trust                 // nil: nothing is trusted
	Registry          prometheus.Registerer // nil: metrics are not registered
	Now               func() time.Time      // nil: time.Now
}

// streamCursor is the name of the position in the stream.
const streamCursor = "ingest/stream"

const (
	maxGroup    = 64              // messages whose findings share a transaction
	maxFindings = 1024            // findings that share one
	lazyFlush   = time.Second     // how long positions without an effect may stay in memory
	detectorAge = time.Second / 4 // how old the detector may be while messages wait behind
)

// Ingester handles messages. Handle is for one goroutine; Run, Position and CreateSamples may be called beside it.
type Ingester struct {
	o       Options
	now     func() time.Time
	metrics *metrics
	decoder *event.Decoder
	due     chan struct{} // wakes the publisher

	mu         sync.Mutex // guards what follows, between Handle and the lazy flush
	done       uint64     // stream position handled so far, stored or not
	agents     map[string]*agentState
	group      group
	detector   *finding.Detector
	detectorAt time.Time
	complained map[string]time.Time
}

// group is what was handled and is not yet stored.
type group struct {
	messages int
	findings []*finding.Finding // in the order of their first occurrence
	byID     map[string]*finding.Finding
	stream   uint64
	agents   map[string]bool // whose state changed
}

// agentState is up to where an agent's batches were handled, by epoch.
type agentState struct {
	Epochs []epochState `json:"epochs"` // the latest used last
}

type epochState struct {
	Epoch    string `json:"epoch"`
	Sequence uint64 `json:"sequence"`
}

// maxEpochs is how many epochs of an agent are remembered: a spool can hold batches of a few starts.
const maxEpochs = 16

const agentStates store.Documents[agentState] = "ingest-agent"

const detectors store.Documents[finding.Detector] = finding.DetectorKind

// New returns an Ingester that continues where the store says the last one stopped.
func New(ctx context.Context, o Options) (*Ingester, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	i := &Ingester{
		o: o, now: o.Now, metrics: newMetrics(o.Registry), decoder: event.NewDecoder(), due: make(chan struct{}, 1),
		agents: map[string]*agentState{}, complained: map[string]time.Time{},
	}
	i.group = newGroup()
	err := o.Store.View(ctx, func(tx *store.Tx) (err error) {
		if i.done, _, err = tx.Cursor(streamCursor); err != nil {
			return err
		}
		states, err := agentStates.List(tx, "", "", 0)
		for _, e := range states {
			i.agents[e.Key] = &e.Value
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("where ingest stopped: %w", err)
	}
	i.group.stream = i.done
	return i, nil
}

func newGroup() group { return group{byID: map[string]*finding.Finding{}, agents: map[string]bool{}} }

// Position returns the stream position to consume from.
func (i *Ingester) Position() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.done
}

// Handle handles one message. After an error the same message must be handed over again.
func (i *Ingester) Handle(ctx context.Context, msg link.Message) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.handle(ctx, msg); err != nil {
		return err
	}
	if len(i.group.findings) == 0 {
		return nil
	}
	if msg.Pending > 0 && i.group.messages < maxGroup && len(i.group.findings) < maxFindings {
		return nil
	}
	return i.flush(ctx)
}

// handle takes a message into the group, unless that was done before.
func (i *Ingester) handle(ctx context.Context, msg link.Message) error {
	if i.done != 0 && msg.Sequence == i.done {
		return nil // It is in the group already; only storing it failed.
	}
	if err := i.refresh(ctx, msg.Pending > 0); err != nil {
		return err
	}
	i.metrics.received.Inc()
	batch, err := event.Decode(msg.Data, i.decoder)
	switch {
	case err != nil:
		i.undecodable(msg, err)
	case !i.claim(msg.AgentID, batch.Epoch, batch.Sequence):
		i.metrics.duplicates.Inc()
	default:
		i.metrics.events.Add(float64(len(batch.Events)))
		// Who sent it is what the link has checked, whatever the batch says.
		batch.AgentID = msg.AgentID
		if i.detector != nil {
			i.detect(batch)
		}
	}
	i.done = msg.Sequence
	i.group.stream = msg.Sequence
	i.group.messages++
	return nil
}

// detect adds what detection finds in a batch to the group.
func (i *Ingester) detect(batch *event.Batch) {
	identity := finding.Identity{AccountID: i.o.AccountID, Region: i.o.Region, DetectorID: i.detector.ID}
	now := i.now()
	i.o.Engine.Process(batch, func(occ *finding.Occurrence) {
		if i.trusted(&occ.Action) {
			i.metrics.suppressed.WithLabelValues("trusted").Inc()
			return
		}
		if occ.Time.After(now.Add(time.Minute)) || occ.Time.Unix() <= 0 {
			occ.Time = now // An agent's clock may be wrong, or lie; it must not pin a finding's last occurrence in the future.
		}
		f := finding.New(identity, occ, now)
		i.metrics.latency.Observe(max(0, now.Sub(occ.Time).Seconds()))
		if earlier := i.group.byID[f.ID]; earlier != nil {
			finding.Merge(earlier, f)
			return
		}
		i.group.byID[f.ID] = f
		i.group.findings = append(i.group.findings, f)
	})
}

// claim reports whether a batch is new, and notes it as handled.
func (i *Ingester) claim(agent, epoch string, sequence uint64) bool {
	state := i.agents[agent]
	if state == nil {
		state = &agentState{}
		i.agents[agent] = state
	}
	for k := len(state.Epochs) - 1; k >= 0; k-- {
		e := state.Epochs[k]
		if e.Epoch != epoch {
			continue
		}
		if sequence <= e.Sequence {
			return false
		}
		if gap := sequence - e.Sequence - 1; gap > 0 {
			i.metrics.missing.Add(float64(gap))
		}
		state.Epochs[k].Sequence = sequence
		i.group.agents[agent] = true
		return true
	}
	if len(state.Epochs) >= maxEpochs {
		state.Epochs = append(state.Epochs[:0], state.Epochs[1:]...)
	}
	// The batch's strings live in its text; these live long.
	state.Epochs = append(state.Epochs, epochState{string([]byte(epoch)), sequence})
	i.group.agents[agent] = true
	return true
}

func (i *Ingester) undecodable(msg link.Message, err error) {
	i.metrics.undecodable.Inc()
	now := i.now()
	if last, ok := i.complained[msg.AgentID]; ok && now.Sub(last) < time.Minute {
		return
	}
	if len(i.complained) > 10000 {
		clear(i.complained)
	}
	i.complained[msg.AgentID] = now
	i.o.Log.Warn("a batch cannot be read and is skipped", "agent", event.PrintableN(msg.AgentID, 64), "sequence", msg.Sequence,
		"bytes", len(msg.Data), "err", err)
}

// refresh reads the detector. While messages wait behind, a slightly old one will do.
func (i *Ingester) refresh(ctx context.Context, hurry bool) error {
	now := time.Now()
	if hurry && now.Sub(i.detectorAt) < detectorAge {
		return nil
	}
	var d *finding.Detector
	err := i.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		d, err = monitoring(tx)
		return err
	})
	if err != nil {
		return err
	}
	i.detector, i.detectorAt = d, now
	return nil
}

// monitoring returns the detector that monitors, or nil.
func monitoring(tx *store.Tx) (*finding.Detector, error) {
	entries, err := detectors.List(tx, "", "", 0)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Value.Monitors() {
			return &e.Value, nil
		}
	}
	return nil, nil
}

// flush stores the group: the findings, the events about them and the positions, or nothing.
func (i *Ingester) flush(ctx context.Context) error {
	g := &i.group
	if g.messages == 0 {
		return nil
	}
	began := time.Now()
	err := i.o.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := monitoring(tx)
		if err != nil {
			return err
		}
		var filters *suppression
		for _, f := range g.findings {
			if d == nil || d.ID != f.Service.DetectorID {
				continue // The detector was deleted or switched off since.
			}
			if filters == nil {
				if filters, err = i.suppression(tx, d.ID); err != nil {
					return err
				}
			}
			if err := i.record(tx, d, filters, f); err != nil {
				return err
			}
		}
		for agent := range g.agents {
			if err := agentStates.Put(tx, agent, *i.agents[agent]); err != nil {
				return err
			}
		}
		return tx.SetCursor(streamCursor, g.stream)
	})
	if err != nil {
		return fmt.Errorf("storing findings: %w", err)
	}
	i.metrics.flush.Observe(time.Since(began).Seconds())
	stream := g.stream
	*g = newGroup()
	g.stream = stream
	return nil
}

// Run publishes findings that are due, writes positions and deletes old findings, until ctx ends; then it stores what is still in memory.
func (i *Ingester) Run(ctx context.Context) error {
	lazy := time.NewTicker(lazyFlush)
	defer lazy.Stop()
	publish := time.NewTimer(0)
	defer publish.Stop()
	sweep := time.NewTicker(time.Hour)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return i.locked(last, i.flush)
		case <-lazy.C:
			if err := i.locked(ctx, i.flush); err != nil && ctx.Err() == nil {
				i.o.Log.Error("ingest", "err", err)
			}
			continue
		case <-sweep.C:
			if err := i.sweep(ctx); err != nil && ctx.Err() == nil {
				i.o.Log.Error("ingest", "err", err)
			}
			continue
		case <-i.due:
		case <-publish.C:
		}
		next, err := i.publishDue(ctx)
		if err != nil {
			if ctx.Err() == nil {
				i.o.Log.Error("publishing findings", "err", err)
			}
			next = i.now().Add(time.Second)
		}
		// Whoever sets an earlier time wakes us; the minute is for a clock that jumps.
		wait := time.Minute
		if !next.IsZero() {
			wait = min(wait, max(0, next.Sub(i.now())))
		}
		publish.Reset(wait)
	}
}

func (i *Ingester) locked(ctx context.Context, f func(context.Context) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return f(ctx)
}
