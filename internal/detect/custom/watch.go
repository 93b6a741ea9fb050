package custom

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/detect"
)

// Options are what Open needs. Dir, Engine and Log are required.
type Options struct {
	Dir    string
	Engine *detect.Engine
	// Changed is called after the engine's rules, and with them perhaps the kinds of event it needs, were replaced. An error
	// is logged, and the call repeated at the next look. nil: nobody wants to know.
	Changed  func() error
	Log      *slog.Logger
	Registry prometheus.Registerer // nil: metrics are not registered
	Interval time.Duration         // between looks at the folder; 0: two seconds
}

// Rules keeps an engine's extra rules equal to a folder.
type Rules struct {
	o       Options
	metrics *metrics

	set    *Set
	seen   string // fingerprint of the files that were last looked at
	tell   bool   // Changed has still to be called
	broken string // the last error about the folder itself
}

// Open reads the folder and gives its rules to the engine. A folder that cannot be read is an error. Mistakes in files are
// not: they are logged, and the rules that are right are used, because detection with fewer rules is better than none.
func Open(o Options) (*Rules, error) {
	if o.Interval <= 0 {
		o.Interval = 2 * time.Second
	}
	r := &Rules{o: o, metrics: newMetrics(o.Registry)}
	prints, sources, problems, err := r.read()
	if err != nil {
		return nil, err
	}
	r.seen = prints
	set, err := parseAll(sources, problems)
	r.complain(err, "a mistake in the rules: what is wrong is left out")
	if err := o.Engine.SetExtra(set.Extra(nil)); err != nil {
		return nil, fmt.Errorf("compiling the rules of %s: %w", o.Dir, err)
	}
	r.use(set, err == nil)
	return r, nil
}

// Run looks at the folder again and again until ctx ends.
func (r *Rules) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.o.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.look()
		}
	}
}

// look reads the folder if it changed.
func (r *Rules) look() {
	if n := r.set.Muted(); n > 0 {
		r.metrics.muted.Add(float64(n))
		r.o.Log.Warn("rules of your own matched too often: what is beyond the bound is not described", "occurrences", n, "boundPerRuleAndMinute", maxPerMinute)
	}
	r.reload()
	if r.tell && r.o.Changed != nil {
		if err := r.o.Changed(); err != nil {
			r.o.Log.Error("telling agents which events the rules need", "err", err)
			return
		}
	}
	r.tell = false
}

func (r *Rules) reload() {
	prints, sources, problems, err := r.read()
	if err != nil {
		if r.broken != err.Error() {
			r.o.Log.Error("the rules cannot be read; those read last stay", "err", err)
			r.metrics.success.Set(0)
		}
		r.broken = err.Error()
		return
	}
	if prints == r.seen && r.broken == "" {
		return
	}
	r.seen, r.broken = prints, ""
	set, err := parseAll(sources, problems)
	if err != nil {
		r.complain(err, "a mistake in the rules: those read last stay")
		r.metrics.success.Set(0)
		return
	}
	if err := r.o.Engine.SetExtra(set.Extra(r.set)); err != nil {
		r.o.Log.Error("compiling the rules: those read last stay", "err", err)
		r.metrics.success.Set(0)
		return
	}
	r.use(set, true)
}

func (r *Rules) use(set *Set, whole bool) {
	r.set, r.tell = set, true
	r.metrics.rules.Set(float64(len(set.Rules)))
	r.metrics.success.Set(0)
	if whole {
		r.metrics.success.Set(1)
	}
	r.o.Log.Info("rules of your own", "folder", r.o.Dir, "files", set.Files, "rules", len(set.Rules))
}

// complain logs each mistake.
func (r *Rules) complain(err error, message string) {
	var problems Problems
	if !errors.As(err, &problems) {
		if err != nil {
			r.o.Log.Error(message, "err", err)
		}
		return
	}
	for _, p := range problems {
		r.o.Log.Error(message, "err", p)
	}
}

// read returns a fingerprint of the files of the folder. Where it is what was seen last, the files are not read.
func (r *Rules) read() (prints string, sources []source, problems Problems, err error) {
	names, err := files(r.o.Dir, isRules)
	if err != nil {
		return "", nil, nil, fmt.Errorf("reading the rules: %w", err)
	}
	h := sha256.New()
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(h, "%q gone\n", name)
			continue
		}
		fmt.Fprintf(h, "%q %d %d %s\n", name, info.Size(), info.ModTime().UnixNano(), info.Mode())
	}
	prints = string(h.Sum(nil))
	if prints == r.seen && r.broken == "" {
		return prints, nil, nil, nil
	}
	sources, problems = read(names)
	return prints, sources, problems, nil
}
