package detect

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// Options are what an Engine needs.
type Options struct {
	Rules    []Rule
	Lists    *intel.Lists
	Registry prometheus.Registerer // nil: metrics are not registered
}

// Engine runs rules over events. It is for one goroutine; Kinds and SetExtra may be called from any.
type Engine struct {
	own     []Rule
	set     atomic.Pointer[ruleSet]
	facts   Facts
	match   Match
	hits    []int
	keys    *keyBook
	metrics *metrics
}

// New compiles the rules. An error names the rule that is wrong.
func New(opts Options) (*Engine, error) {
	e := &Engine{own: opts.Rules, keys: newKeyBook(), metrics: newMetrics(opts.Registry)}
	if opts.Lists == nil {
		opts.Lists = &intel.Lists{}
	}
	e.facts = Facts{lists: opts.Lists, shells: newShellBook()}
	if err := e.SetExtra(Extra{}); err != nil {
		return nil, err
	}
	return e, nil
}

// Kinds returns the kinds of event that some rule can match; agents need not send others.
func (e *Engine) Kinds() event.Kinds { return e.set.Load().kinds }

// Process looks at every event of a batch and calls emit for each occurrence, in order. The occurrence borrows from the
// batch: who keeps it longer than the batch copies it (finding.New does).
func (e *Engine) Process(b *event.Batch, emit func(*finding.Occurrence)) {
	host := finding.Host{ID: b.Host.ID, Name: b.Host.Name, Kernel: b.Host.Kernel, AgentID: b.AgentID, Version: b.AgentVersion}
	e.facts.host = host
	set := e.set.Load()
	for i := range b.Events {
		ev := &b.Events[i]
		if ev.Process == nil {
			continue // The decoder never gives this; a batch made by hand may.
		}
		if ev.Kind < event.KindCount {
			e.metrics.events[ev.Kind].Inc()
		}
		e.event(set, ev, host, emit)
	}
	e.facts.reset(nil)
	e.match = Match{}
}

func (e *Engine) event(set *ruleSet, ev *event.Event, host finding.Host, emit func(*finding.Occurrence)) {
	e.facts.reset(ev)
	if ev.Kind == event.KindExec && ev.Errno == 0 {
		e.facts.shells.learn(ev.Process)
	}
	e.hits = set.matcher.Match(e.hits[:0], &e.facts)
	for _, hit := range e.hits {
		rule := &set.rules[hit]
		e.match = Match{Event: ev, Host: host, Facts: &e.facts, Process: ev.Process}
		if !rule.Detect(&e.match) {
			continue
		}
		if set.except != nil && set.except(rule.Type, &e.match) {
			e.metrics.excepted.Inc()
			continue
		}
		occ := e.occurrence(rule, &e.match)
		e.metrics.occurrences.WithLabelValues(rule.Type).Inc()
		emit(occ)
		if rule.After == nil {
			e.after(set, ev, host, occ, emit)
		}
	}
}

// after tells the rules that correlate of an occurrence.
func (e *Engine) after(set *ruleSet, ev *event.Event, host finding.Host, occ *finding.Occurrence, emit func(*finding.Occurrence)) {
	for i := range set.rules {
		rule := &set.rules[i]
		if rule.After == nil {
			continue
		}
		e.match = Match{Event: ev, Host: host, Facts: &e.facts, Process: ev.Process}
		if !rule.After(&e.match, occ) {
			continue
		}
		if set.except != nil && set.except(rule.Type, &e.match) {
			e.metrics.excepted.Inc()
			continue
		}
		e.metrics.occurrences.WithLabelValues(rule.Type).Inc()
		emit(e.occurrence(rule, &e.match))
	}
}

func (e *Engine) occurrence(rule *Rule, m *Match) *finding.Occurrence {
	ev := m.Event
	occ := &finding.Occurrence{
		Type:        rule.Type,
		Severity:    m.Severity,
		Title:       m.Title,
		Description: m.Description,
		Time:        time.Unix(0, ev.Time).UTC(),
		Count:       max(1, int64(ev.Count)),
		Host:        m.Host,
		Process:     m.Process,
		Container:   ev.Container,
		Action:      m.Action,
		Context:     m.Context,
		Threat:      m.Threat,
		Info:        m.Info,
	}
	if occ.Info.Error == "" && m.Failed() {
		occ.Info.Error = errnoName(ev.Errno)
	}
	place := m.Place()
	key, folded := e.keys.key(rule.Type, place, m.Process.ExePath, m.Object, occ.Time)
	occ.Key = key
	if folded {
		occ.Info.Folded = fmt.Sprintf("more than %d different objects within an hour; this finding stands for the rest", MaxKeys)
		e.metrics.folded.WithLabelValues(rule.Type).Inc()
	}
	return occ
}
