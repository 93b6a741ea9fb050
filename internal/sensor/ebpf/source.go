package ebpf

import (
	"context"
	"errors"
	"log/slog"

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

	Log        *slog.Logger          // nil means no log
	Registerer prometheus.Registerer // nil means no metrics
}

// Source is the kernel sensor. It implements [sensor.Source]. New attaches it, so that the rings fill from then on; Run delivers.
type Source struct{}

var _ sensor.Source = (*Source)(nil)

var errSkeleton = errors.New("the eBPF sensor is being built")

// New loads the BPF programs and attaches those that the wanted kinds need. The error is one line that says what is missing.
func New(opts Options) (*Source, error) { return nil, errSkeleton }

// Check reports whether this process on this kernel can run the sensor: nil, or one line that says what is missing.
func Check() error { return errSkeleton }

// Hook is one place in the kernel where the sensor can listen.
type Hook struct {
	Name     string      // the section, for example "tracepoint/syscalls/sys_exit_openat"
	Kinds    event.Kinds // the kinds it serves
	Attached bool
	Reason   string // why it was chosen, or why it is not attached
}

// Hooks lists every hook the sensor knows and whether it is attached now. Safe at any time.
func (s *Source) Hooks() []Hook { return nil }

// Run implements [sensor.Source].
func (s *Source) Run(ctx context.Context, sink func(*sensor.Record)) error { return errSkeleton }

// Snapshot delivers one record of KindExec for every process that runs now, within the scope: what an exec record would
// say, as far as the kernel still knows. (PID, Start) of a record equals that of the process's later events exactly. It returns when
// all are delivered; call it after New and before Run, so that nothing falls between the two.
func (s *Source) Snapshot(ctx context.Context, sink func(*sensor.Record)) error { return errSkeleton }

// SetKinds implements [sensor.Source].
func (s *Source) SetKinds(k event.Kinds) error { return errSkeleton }

// Stats implements [sensor.Source].
func (s *Source) Stats() sensor.Stats { return sensor.Stats{} }

// Close implements [sensor.Source].
func (s *Source) Close() error { return nil }
