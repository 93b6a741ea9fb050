package custom

import (
	"cmp"
	"slices"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// Backtest runs rules over events of the past and gathers what they would have found.
type Backtest struct {
	Events   int64
	Muted    int64 // occurrences beyond what a rule may make
	Cut      int64 // occurrences of findings that there was no room for
	set      *Set
	engine   *detect.Engine
	findings map[string]*finding.Finding
}

// maxBacktest bounds the findings that a backtest tells apart.
const maxBacktest = 10000

// NewBacktest prepares a backtest of the rules of a set, which must be fresh.
func NewBacktest(s *Set) (*Backtest, error) {
	engine, err := detect.New(detect.Options{Lists: intel.NewLists()})
	if err != nil {
		return nil, err
	}
	if err := engine.SetExtra(s.Extra(nil)); err != nil {
		return nil, err
	}
	return &Backtest{set: s, engine: engine, findings: map[string]*finding.Finding{}}, nil
}

// Event runs one event.
func (b *Backtest) Event(e *event.Event, host finding.Host) error {
	b.Events++
	return process(b.engine, e, host, b.found)
}

// Batch runs a batch as it came over the link.
func (b *Backtest) Batch(batch *event.Batch) {
	b.Events += int64(len(batch.Events))
	b.engine.Process(batch, b.found)
}

func (b *Backtest) found(occ *finding.Occurrence) {
	f := finding.New(finding.Identity{}, occ, occ.Time)
	if earlier := b.findings[f.ID]; earlier != nil {
		finding.Merge(earlier, f)
		return
	}
	if len(b.findings) >= maxBacktest {
		b.Cut++
		return
	}
	b.findings[f.ID] = f
}

// Findings returns the findings by the time at which they were first seen.
func (b *Backtest) Findings() []*finding.Finding {
	b.Muted += b.set.Muted()
	all := make([]*finding.Finding, 0, len(b.findings))
	for _, f := range b.findings {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *finding.Finding) int {
		return cmp.Or(a.Service.EventFirstSeen.Compare(b.Service.EventFirstSeen.Time), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Only leaves in the set nothing but the rule of the given name, and reports whether there is one.
func (s *Set) Only(name string) bool {
	i := slices.IndexFunc(s.Rules, func(r *Rule) bool { return r.Name == name || r.Type() == name })
	if i < 0 {
		return false
	}
	s.Rules = s.Rules[i : i+1]
	return true
}
