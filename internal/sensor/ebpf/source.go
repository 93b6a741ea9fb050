package ebpf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// Options says what a Source watches. The zero value watches the whole host for lifecycle events only.
type Options struct {
	// Scope limits the source to the processes in one cgroup and everything below it. It is a path in the v2 hierarchy
	// ("/docker/0123…"), or the absolute path of the cgroup's directory. Empty means the whole host.
	Scope string

	// Kinds are the kinds wanted at first; SetKinds changes them. Fork, exec and exit are always delivered.
	Kinds event.Kinds

	// LifecycleBytes and ActivityBytes are the sizes of the rings, rounded up to a power of two of at least one page.
	// Zero means 2 MiB and 4 MiB.
	LifecycleBytes, ActivityBytes int

	// Compat makes the source see the system calls of 32-bit x86 code too, and of 64-bit code that enters the kernel through int
	// $0x80. The kernel keeps them from the calls' own tracepoints, so this takes a program at the exit of every system call of
	// the host, which makes a call that does nothing take half as long again. Exec, exit, IPv4 and IPv6 connections, DNS,
	// signals and io_uring are seen without it. On other architectures it does nothing.
	Compat bool

	Log        *slog.Logger          // nil means no log
	Registerer prometheus.Registerer // nil means no metrics
}

// Source is the kernel sensor. It implements [sensor.Source]. New attaches it, so that the rings fill from then on; Run
// delivers. Events of this process itself are never reported.
type Source struct {
	log       *slog.Logger
	kernel    *kernel
	delivered [event.KindCount]atomic.Uint64
	malformed [event.KindCount]atomic.Uint64

	reads atomic.Pointer[readPaths]

	running     atomic.Bool
	unregister  func()
	snapshotsMu sync.Mutex

	mu     sync.Mutex // guards what follows, and the kernel's hooks
	kinds  event.Kinds
	closed bool
	final  sensor.Stats // what Stats returns once closed
}

var _ sensor.Source = (*Source)(nil)

var errClosed = errors.New("the sensor is closed")

// always are the kinds that are delivered whether wanted or not: without them no other event has a process.
const always event.Kinds = 1<<event.KindFork | 1<<event.KindExec | 1<<event.KindExit

// New loads the BPF programs and attaches those that the wanted kinds need. It fails with one line that says what is missing
// if fork, exec and exit cannot be watched; another hook that this kernel lacks is logged and listed by [Source.Hooks].
func New(opts Options) (*Source, error) {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := Check(); err != nil {
		return nil, err
	}
	k, err := load(opts)
	if err != nil {
		return nil, err
	}
	s := &Source{log: log, kernel: k}
	if err := s.SetKinds(opts.Kinds); err != nil {
		s.Close()
		return nil, err
	}
	for i := range k.hooks {
		if h := &k.hooks[i]; h.err != nil && !errors.Is(h.err, errNoCall) && !errors.Is(h.err, errRenamed) {
			log.Warn("hook not available", "hook", h.section, "error", h.err)
		}
	}
	if s.unregister, err = register(opts.Registerer, s); err != nil {
		s.Close()
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return s, nil
}

// Run implements [sensor.Source].
func (s *Source) Run(ctx context.Context, sink func(*sensor.Record)) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("the sensor runs already, or has run")
	}
	r, err := newReader(s)
	if err != nil {
		return fmt.Errorf("opening the rings: %w", err)
	}
	defer r.close()
	return r.run(ctx, sink)
}

// SetKinds implements [sensor.Source]. Hooks that no wanted kind needs are detached, because even an idle one on a
// system call costs every call of the host. A kind whose hooks this kernel lacks is no error; see [Source.Hooks].
func (s *Source) SetKinds(k event.Kinds) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	k |= always
	// Switch off before detaching and on after attaching, so that what is made is always what was asked for.
	s.kernel.control.setWanted(s.kinds & k)
	err := s.kernel.attach(k)
	s.kernel.control.setWanted(k)
	s.kinds = k
	return err
}

// Stats implements [sensor.Source]. Dropped counts what the kernel lost and records that could not be decoded.
func (s *Source) Stats() sensor.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.final
	}
	return s.stats()
}

func (s *Source) stats() sensor.Stats {
	var st sensor.Stats
	losses := s.kernel.losses()
	for k := range st.Delivered {
		st.Delivered[k] = s.delivered[k].Load()
		st.Dropped[k] = s.malformed[k].Load()
		for _, n := range losses[k] {
			st.Dropped[k] += n
		}
	}
	return st
}

// Close implements [sensor.Source]. It must not be called while Run runs: end Run's context and let it return first.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.unregister != nil {
		s.unregister()
	}
	s.final = s.stats()
	s.closed = true
	return s.kernel.close()
}

// Hook is one place in the kernel where the sensor can listen.
type Hook struct {
	Name     string      // the program's section, for example "tracepoint/syscalls/sys_exit_openat"
	Kinds    event.Kinds // the kinds it serves
	Attached bool
	Reason   string // why it is there, or why it is not attached
}

// Hooks lists every hook the sensor knows and whether it is attached now. Safe at any time.
func (s *Source) Hooks() []Hook {
	s.mu.Lock()
	defer s.mu.Unlock()
	hooks := make([]Hook, 0, len(s.kernel.hooks))
	for i := range s.kernel.hooks {
		h := &s.kernel.hooks[i]
		v := Hook{Name: h.section, Kinds: h.kinds, Attached: h.link != nil, Reason: h.why}
		switch {
		case h.err != nil:
			v.Reason = h.err.Error()
		case !v.Attached && h.kinds&s.kinds == 0:
			v.Reason = "no wanted kind needs it"
		}
		hooks = append(hooks, v)
	}
	return hooks
}
