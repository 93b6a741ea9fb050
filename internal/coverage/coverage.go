package coverage

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/inventory"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/store"
)

// Options are what Coverage needs. Store, Publish, Log, AccountID and Region are required.
type Options struct {
	Store *store.DB
	// Publish writes an event to a bus in the transaction; bus.Bus.Put is one.
	Publish           func(tx *store.Tx, busName string, ev bus.Event) error
	Inventory         []inventory.Source // may be empty
	Log               *slog.Logger
	AccountID, Region string

	// SilenceTimeout is how long an agent, or a task that has started, may be silent. Default 30 s.
	SilenceTimeout time.Duration
	// StartGrace is how long after the start of Run nobody is found unhealthy, so that agents can come back. Default
	// SilenceTimeout.
	StartGrace time.Duration
	// PollInterval is how often inventories are read at least. Default 15 s.
	PollInterval time.Duration
	Registry     prometheus.Registerer // nil: metrics are not registered
}

const (
	// readTimeout bounds one reading of one inventory.
	readTimeout = 10 * time.Second
	// pause is the least time between two assessments, so that a storm of heartbeats costs little.
	pause = 100 * time.Millisecond
	// retireAgent is how long a silent agent is remembered.
	retireAgent = 24 * time.Hour
	// retireRow is how long an unhealthy cluster is kept of which nothing is heard any more.
	retireRow = 7 * 24 * time.Hour

	maxAgents    = 10000
	maxWorkloads = 1000 // of one agent
	maxRows      = 10000
	maxIssues    = 50 // of one row, as in GuardDuty's model
	maxName      = 255
)

// Coverage assesses clusters. Heartbeat, Refresh and Rows may be called from any goroutine; Run once.
type Coverage struct {
	o       Options
	metrics *metrics
	wake    chan struct{}

	mu     sync.Mutex
	agents map[string]*agent
	left   map[string]departure // by task key: what agents reported until a moment ago

	// The rest belongs to the goroutine of Run.
	started   time.Time
	snapshots [][]inventory.Task // the last good reading of each inventory
	reads     int                // inventories that were read without error last time
	firstSeen map[string]time.Time
	clusters  map[string]*memory
}

// agent is what is known of one agent. Its heartbeat is hostile in all but the id.
type agent struct {
	epoch       string
	host        bool // it watches the whole host, not one task
	first, seen time.Time
	stopping    bool
	workloads   []link.Workload
	settled     map[string]bool // tasks for which an inventory has answered: its word stands
	remembered  map[string]bool // resource ids of clusters it ever reported, for agents of a whole host
}

// departure is a workload that an agent reports no more. An agent that was restarted does not know its containers at once,
// so that the silence of a task counts from its last report, whoever reports what since.
type departure struct {
	link.Workload
	last time.Time
}

// memory is what is remembered of a cluster between assessments.
type memory struct {
	lastCovered time.Time
	tasks       map[string]bool
}

// New returns a Coverage. Run must be called for rows to change.
func New(o Options) *Coverage {
	if o.SilenceTimeout <= 0 {
		o.SilenceTimeout = 30 * time.Second
	}
	if o.StartGrace <= 0 {
		o.StartGrace = o.SilenceTimeout
	}
	if o.PollInterval <= 0 {
		o.PollInterval = 15 * time.Second
	}
	return &Coverage{
		o:         o,
		metrics:   newMetrics(o.Registry),
		wake:      make(chan struct{}, 1),
		agents:    make(map[string]*agent),
		left:      make(map[string]departure),
		snapshots: make([][]inventory.Task, len(o.Inventory)),
		firstSeen: make(map[string]time.Time),
		clusters:  make(map[string]*memory),
	}
}

// Heartbeat takes what an agent reports. It never blocks on anything but memory.
func (c *Coverage) Heartbeat(hb link.Heartbeat) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.agents[hb.AgentID]
	if a == nil {
		if len(c.agents) >= maxAgents {
			c.metrics.refused.Inc()
			return
		}
		a = &agent{first: now, settled: map[string]bool{}, remembered: map[string]bool{}}
		c.agents[hb.AgentID] = a
	}
	c.metrics.heartbeats.Inc()
	news := a.seen.IsZero() || a.stopping != hb.Stopping || now.Sub(a.seen) >= c.o.SilenceTimeout || a.epoch != hb.Epoch
	if a.epoch != hb.Epoch {
		a.epoch, a.first = clip(hb.Epoch), now
	}
	before := a.seen
	a.seen, a.stopping, a.host = now, hb.Stopping, hb.Scope == "host"
	workloads := clean(hb.Workloads)
	// The last heartbeat of an agent that was told to stop may come when its containers are gone: what it watched stays known.
	if !(hb.Stopping && len(workloads) == 0) && !slices.Equal(a.workloads, workloads) {
		c.depart(a.workloads, before)
		a.workloads, news = workloads, true
	}
	if news {
		c.Refresh()
	}
}

// depart notes when workloads that may be reported no more were reported last.
func (c *Coverage) depart(workloads []link.Workload, last time.Time) {
	for _, w := range workloads {
		key := taskKey(w.Kind, w.TaskARN, w.Cluster, w.Service)
		if _, ok := c.left[key]; ok || len(c.left) < maxRows {
			c.left[key] = departure{w, last}
		}
	}
}

// Refresh has everything assessed again soon, for instance because the detector changed.
func (c *Coverage) Refresh() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Rows returns the rows that the filter selects (nil: all), by ResourceID. There are none while no detector monitors.
func (c *Coverage) Rows(ctx context.Context, keep Filter) (rows []Row, err error) {
	err = c.o.Store.View(ctx, func(tx *store.Tx) error {
		d, err := monitoring(tx)
		if err != nil || d == nil {
			return err
		}
		rows, err = list(tx, keep)
		return err
	})
	return rows, err
}

// Run assesses until ctx ends.
func (c *Coverage) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel()
	for _, source := range c.o.Inventory {
		if changes := source.Changes(); changes != nil {
			watchers.Go(func() { c.watch(ctx, changes) })
		}
	}
	c.started = time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var planned time.Time // when the timer was meant to fire; zero at the start
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-timer.C:
			if now := time.Now(); !planned.IsZero() && now.Sub(planned) > c.o.SilenceTimeout/2 {
				c.overslept(now)
			}
		}
		next := c.step(ctx)
		if !sleep(ctx, pause) {
			return nil
		}
		planned = next
		timer.Reset(time.Until(next))
	}
}

// overslept gives everybody time to report after this process itself stood still (stopped, or starved of CPU): the silence was ours.
func (c *Coverage) overslept(now time.Time) {
	c.o.Log.Warn("coverage woke up late; waiting for agents before judging them")
	c.started = now
}

// step makes one assessment and returns when the next is due.
func (c *Coverage) step(ctx context.Context) time.Time {
	c.read(ctx)
	next, err := c.assess(ctx, time.Now())
	if err != nil {
		if ctx.Err() == nil {
			c.o.Log.Error("coverage", "err", err)
			c.metrics.errors.Inc()
		}
		next = time.Now().Add(time.Second)
	}
	if poll := time.Now().Add(c.o.PollInterval); next.IsZero() || next.After(poll) {
		next = poll
	}
	return next
}

// read asks every inventory.
func (c *Coverage) read(ctx context.Context) {
	c.reads = 0
	for i, source := range c.o.Inventory {
		readCtx, cancel := context.WithTimeout(ctx, readTimeout)
		tasks, err := source.Tasks(readCtx)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				c.o.Log.Warn("coverage: the inventory cannot be read; going by what it said last", "err", err)
				c.metrics.unreadable.Inc()
			}
			continue
		}
		c.snapshots[i] = tasks
		c.reads++
	}
}

func (c *Coverage) watch(ctx context.Context, changes <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				return
			}
			c.Refresh()
		}
	}
}

// sleep waits, and reports whether it did to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// clean bounds what an agent says it watches.
func clean(workloads []link.Workload) []link.Workload {
	workloads = slices.Clone(workloads[:min(len(workloads), maxWorkloads)])
	for i := range workloads {
		w := &workloads[i]
		for _, s := range [...]*string{&w.Kind, &w.Cluster, &w.ClusterARN, &w.Service, &w.TaskARN, &w.TaskDefinition, &w.LaunchType} {
			*s = clip(*s)
		}
		w.Containers = 0 // Containers come and go without the workload changing.
	}
	return workloads
}
