package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/sensor"
)

// Link is what the agent needs of the link to the server; [link.Client] is it.
type Link interface {
	AgentID() string
	Connected() bool
	// Publish returns nil when the batch is stored.
	Publish(ctx context.Context, epoch string, sequence uint64, batch []byte) error
	Heartbeat(hb link.Heartbeat) error
	Configs() <-chan link.AgentConfig
}

// Containers is what the agent needs to know of containers; [container.Resolver] is it.
type Containers interface {
	Entry(cgroup uint64, pid uint32) *container.Entry
	Live() []*event.Container
}

// Snapshotter is a source that can list the processes that run already, as records of KindExec.
type Snapshotter interface {
	Snapshot(ctx context.Context, sink func(*sensor.Record)) error
}

// Options configures an [Agent].
type Options struct {
	Source     sensor.Source // required; if it is a [Snapshotter] too, the processes that run already are listed first
	Link       Link          // required
	Containers Containers    // required

	Scope    string // the cgroup the source is limited to; "" is the whole host
	HostID   string // identifies the host, over reboots; default /etc/machine-id, else the host's name
	Hostname string // default the kernel's
	Version  string

	SpoolDir      string // required
	SpoolMaxBytes int64  // default 64 MiB

	Kinds             event.Kinds   // wanted until the server says; default all
	BatchInterval     time.Duration // how long an event may wait for others; default 50 ms
	HashWait          time.Duration // how long an event may wait for the hash of its program; default 50 ms
	HeartbeatInterval time.Duration // until the server says; default 5 s
	QueueSize         int           // events between sensor and shipper; default 16384
	NoWriters         bool          // do not watch who writes files when no rule needs opens; then events do not name the writer
	Ready             func()        // called once, when the sensor sees what it is to see; may be nil
	Ignore            []uint32      // pids that are not reported, besides the agent's own
	Log               *slog.Logger
	Registerer        prometheus.Registerer // may be nil
	procRoot          string                // tests: instead of /proc; "-" for none
}

// Agent is the agent's pipeline.
type Agent struct {
	opts     Options
	log      *slog.Logger
	epoch    string
	started  time.Time
	host     event.Host
	ignore   map[uint32]struct{}
	clock    clock
	ledger   ledger
	table    *table
	lookups  *lookups
	spool    *spool
	queue    *queue
	folds    *folds
	losses   *losses
	batches  chan batch
	kinds    atomic.Uint64
	interval atomic.Int64
	beatNow  chan struct{}
}

// New returns an agent that is ready to run.
func New(opts Options) (*Agent, error) {
	switch {
	case opts.Source == nil, opts.Link == nil, opts.Containers == nil:
		return nil, errors.New("making agent: source, link and containers are required")
	case opts.SpoolDir == "":
		return nil, errors.New("making agent: the spool's folder is required")
	}
	setDefault(&opts.SpoolMaxBytes, 64<<20)
	setDefault(&opts.Kinds, event.AllKinds)
	setDefault(&opts.BatchInterval, 50*time.Millisecond)
	setDefault(&opts.HashWait, 50*time.Millisecond)
	setDefault(&opts.HeartbeatInterval, 5*time.Second)
	setDefault(&opts.QueueSize, 16384)
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("reading the kernel's name: %w", err)
	}
	setDefault(&opts.Hostname, unix.ByteSliceToString(uts.Nodename[:]))
	if opts.HostID == "" {
		if text, err := os.ReadFile("/etc/machine-id"); err == nil {
			opts.HostID = strings.TrimSpace(string(text))
		}
	}
	setDefault(&opts.HostID, opts.Hostname)
	a := &Agent{
		opts: opts, log: opts.Log, epoch: newEpoch(), started: time.Now().UTC(),
		host:   event.Host{ID: opts.HostID, Name: opts.Hostname, Kernel: unix.ByteSliceToString(uts.Release[:]), Arch: runtime.GOARCH},
		ignore: map[uint32]struct{}{uint32(os.Getpid()): {}},
		queue:  newQueue(opts.QueueSize), folds: newFolds(), batches: make(chan batch, 4), beatNow: make(chan struct{}, 1),
	}
	for _, pid := range opts.Ignore {
		a.ignore[pid] = struct{}{}
	}
	a.clock.sync()
	a.kinds.Store(uint64(opts.Kinds))
	a.interval.Store(int64(opts.HeartbeatInterval))
	a.lookups = newLookups(&a.ledger)
	// Pids and start times repeat after a reboot.
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("reading the boot's id: %w", err)
	}
	proc := "/proc"
	if opts.procRoot != "" {
		proc = strings.TrimPrefix(opts.procRoot, "-")
	}
	a.table = newTable(opts.HostID+"/"+strings.TrimSpace(string(boot)), &a.clock, proc)
	a.losses = newLosses(a.table)
	var torn int
	a.spool, torn, err = openSpool(opts.SpoolDir, opts.SpoolMaxBytes)
	if err != nil {
		return nil, err
	}
	a.ledger.recovered.Store(a.spool.waiting())
	a.ledger.spooling.Store(a.spool.waiting())
	if torn > 0 {
		a.ledger.torn.Add(uint64(torn))
		a.log.Warn("the spool has files with a damaged end; what follows the damage is lost", "files", torn)
	}
	if opts.Registerer != nil {
		if err := opts.Registerer.Register(newCollector(&a.ledger, opts.Source, a.queue)); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return a, nil
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// newEpoch returns an unguessable name for this start of the agent.
func newEpoch() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails.
	return hex.EncodeToString(b[:])
}

// Epoch returns the name of this start of the agent.
func (a *Agent) Epoch() string { return a.epoch }

// firstKinds returns the kinds to begin with: those that the server wants, if it says so at once. Attaching all hooks only to
// detach most of them a moment later would make the agent late.
func (a *Agent) firstKinds(ctx context.Context) event.Kinds {
	if a.opts.Link.Connected() {
		patience := time.NewTimer(time.Second)
		defer patience.Stop()
		select {
		case cfg := <-a.opts.Link.Configs():
			if cfg.HeartbeatInterval > 0 {
				a.interval.Store(int64(cfg.HeartbeatInterval))
			}
			return cfg.Kinds
		case <-patience.C:
		case <-ctx.Done():
		}
	}
	return event.Kinds(a.kinds.Load())
}

// Run works until ctx ends or the source fails. Then what is under way is sent, or kept in the spool, and a last heartbeat
// says that the agent stops. It may be called once.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.setKinds(a.firstKinds(ctx)); err != nil {
		return fmt.Errorf("setting the wanted kinds: %w", err)
	}
	if a.opts.Ready != nil {
		a.opts.Ready()
	}
	// Stages end one after the other, each when the one before has ended.
	running, stop := context.WithCancel(ctx)
	defer stop()
	sensing, sensed := context.WithCancel(context.Background())
	defer sensed()
	var background, tending, pipeline sync.WaitGroup
	background.Go(func() { a.lookups.run(sensing) })
	background.Go(func() { a.configure(running) })
	background.Go(func() { a.beat(running) })
	tending.Go(func() { a.tend(running) })
	pipeline.Go(func() { a.ship(sensing) })
	pipeline.Go(func() { a.publish(sensing) })

	err := a.sense(running)
	if ctx.Err() != nil {
		err = nil
	}
	stop()
	tending.Wait()
	sensed()
	pipeline.Wait()
	background.Wait()
	a.spool.close()
	a.sendHeartbeat(true)
	return err
}

// sense lists the processes that run already and then delivers the source's records.
func (a *Agent) sense(ctx context.Context) error {
	if s, ok := a.opts.Source.(Snapshotter); ok {
		if err := s.Snapshot(ctx, a.known); err != nil && ctx.Err() == nil {
			a.log.Warn("listing the processes that run already", "err", err)
		}
	}
	if err := a.opts.Source.Run(ctx, a.sink); err != nil {
		return fmt.Errorf("running the sensor: %w", err)
	}
	return nil
}

// known adds a process that ran before the agent. That is no event.
func (a *Agent) known(r *sensor.Record) {
	entry := a.entry(r)
	s, _ := a.table.exec(r, entry)
	if entry.Container() == nil || s.proc.Exe.Inode == 0 {
		return // Hashing all that runs on a host would take minutes, and nobody asks for it.
	}
	s.cell = a.lookups.start(job{pid: r.PID, path: s.proc.ExePath, file: s.proc.Exe, mntNS: r.MntNS, uid: r.UID, contained: true})
}

// configure applies what the server says.
func (a *Agent) configure(ctx context.Context) {
	for {
		select {
		case cfg := <-a.opts.Link.Configs():
			if err := a.setKinds(cfg.Kinds); err != nil {
				a.log.Error("setting the wanted kinds", "err", err)
			}
			if cfg.HeartbeatInterval > 0 {
				a.interval.Store(int64(cfg.HeartbeatInterval))
			}
			select {
			case a.beatNow <- struct{}{}: // The server is there, perhaps again; it should know that the agent is, too.
			default:
			}
		case <-ctx.Done():
			return
		}
	}
}

func (a *Agent) setKinds(k event.Kinds) error {
	a.kinds.Store(uint64(k))
	if (k.Has(event.KindExec) || k.Has(event.KindMmap) || k.Has(event.KindModule)) && !a.opts.NoWriters {
		k = k.With(event.KindOpen)
	}
	return a.opts.Source.SetKinds(k)
}
