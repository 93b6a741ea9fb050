package custom

import (
	"strconv"
	"strings"
	"sync/atomic"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/pattern"
)

// Set is the rules and exceptions of a folder. It belongs to one engine.
type Set struct {
	Rules []*Rule // by name
	Files int     // that were read

	except  *exceptions
	scratch []pattern.Value
	muted   atomic.Int64
}

// Exceptions returns how many exceptions there are that are not of one rule.
func (s *Set) Exceptions() int {
	if s.except == nil {
		return 0
	}
	return len(s.except.rows)
}

// Muted returns how many occurrences were not made since the last call, because a rule made too many.
func (s *Set) Muted() int64 { return s.muted.Swap(0) }

// Extra returns the set in the form that engines take. Rules that previous has in the same words go on with its state;
// previous may be nil.
func (s *Set) Extra(previous *Set) detect.Extra {
	var x detect.Extra
	old := map[string]*Rule{}
	if previous != nil {
		for _, r := range previous.Rules {
			old[r.Name] = r
		}
	}
	stateful := 0
	for _, r := range s.Rules {
		if r.threshold != nil || len(r.steps) > 1 {
			stateful++
		}
	}
	share := min(max(maxGroups/max(stateful, 1), minShare), maxShare)
	for _, r := range s.Rules {
		r.state = nil
		if o := old[r.Name]; o != nil && o.definition == r.definition {
			r.state = o.state
		}
		if r.state == nil {
			r.state = newState()
			r.state.limit = share
			if t := r.threshold; t != nil && t.distinct >= 0 && t.count > exact {
				r.state.limit = max(minShare, share*exact/int(t.count)) // its groups are larger
			}
		}
		// The last step comes first, so that one event cannot be two steps that follow each other.
		for i := len(r.steps) - 1; i >= 0; i-- {
			x.Rules = append(x.Rules, detect.Rule{Type: r.Type(), Pattern: r.steps[i].condition.text, Detect: s.detect(r, i)})
		}
	}
	if s.except != nil {
		x.Except = func(typ string, m *detect.Match) bool { return s.except.match(typ, m.Facts) }
	}
	return x
}

// detect returns what looks at the events that match step i of a rule.
func (s *Set) detect(r *Rule, i int) func(m *detect.Match) bool {
	captures := r.message.captures(i)
	return func(m *detect.Match) bool {
		if r.except.match(r.Type(), m.Facts) {
			return false
		}
		var total int64 = max(1, int64(m.Event.Count))
		var values [][]string
		var chain []string
		switch {
		case len(r.steps) > 1:
			key := r.state.key(m.Facts, r.steps[i].by, &s.scratch)
			g := r.state.group(key, i == 0)
			if g == nil {
				return false
			}
			var own []string
			for _, p := range captures {
				own = append(own, strings.Clone(show(m.Facts, p)))
			}
			if !g.step(i, len(r.steps), m.Event.Time, r.within, own) {
				return false
			}
			chain = g.values[len(g.values)-1]
			r.state.forget(key)
		case r.threshold != nil:
			key := r.state.key(m.Facts, r.steps[0].by, &s.scratch)
			g := r.state.group(key, true)
			if r.threshold.distinct < 0 {
				total = g.add(r.threshold, m.Event.Time, total)
			} else if total = s.distinct(r, g, m); total == 0 {
				return false // the event does not have the field
			}
			if total < r.threshold.count {
				return false
			}
			r.state.forget(key)
		}
		if !r.state.allow(m.Event.Time) {
			s.muted.Add(1)
			return false
		}
		values = r.split(chain)
		m.Severity, m.Title = r.Severity, r.Title
		m.Description = r.message.render(m, total, func(step, n int) string {
			if step < len(values) && n < len(values[step]) {
				return values[step][n]
			}
			return "?"
		})
		m.Object = s.object(r, i, m)
		describeAction(m)
		return true
	}
}

// distinct notes the values that an event has in the field whose different values count, and returns how many there are.
func (s *Set) distinct(r *Rule, g *group, m *detect.Match) (n int64) {
	s.scratch = m.Facts.AppendValues(s.scratch[:0], r.threshold.distinct)
	for _, v := range s.scratch {
		n = g.see(r.threshold, m.Event.Time, r.state.hash(v))
	}
	return n
}

// split gives each step its values out of a chain's.
func (r *Rule) split(chain []string) (values [][]string) {
	for i := 0; i < len(r.steps)-1; i++ {
		n := min(len(r.message.captures(i)), len(chain))
		values = append(values, chain[:n])
		chain = chain[n:]
	}
	return values
}

// object returns what decides, with the place and the executable, which occurrences are one finding.
func (s *Set) object(r *Rule, i int, m *detect.Match) string {
	switch {
	case r.object >= 0:
		return s.texts(m.Facts, r.object)
	case r.threshold != nil || len(r.steps) > 1:
		var parts []string
		for _, f := range r.steps[i].by {
			parts = append(parts, s.texts(m.Facts, f))
		}
		return strings.Join(parts, "\x00")
	}
	switch e := m.Event; {
	case e.Open != nil:
		return e.Open.Path
	case e.Connect != nil:
		return peer(e.Connect)
	case e.Bind != nil:
		return e.Bind.Path + " " + strconv.Itoa(int(e.Bind.Local.Port()))
	case e.DNS != nil:
		return e.DNS.Name
	case e.File != nil:
		return e.File.Path + "\x00" + e.File.Target
	case e.Mount != nil:
		return e.Mount.Source + "\x00" + e.Mount.Target
	case e.Memory != nil:
		return e.Memory.Path
	case e.Socket != nil:
		return peer(e.Socket)
	}
	return ""
}

func peer(s *event.Socket) string {
	if s.Path != "" {
		return s.Path
	}
	return s.Remote.Addr().Unmap().String()
}

// texts returns the values of a field as one text.
func (s *Set) texts(facts *detect.Facts, field int) string {
	s.scratch = facts.AppendValues(s.scratch[:0], field)
	parts := make([]string, len(s.scratch))
	for i, v := range s.scratch {
		parts[i] = plain(v)
	}
	return strings.Join(parts, "\x01")
}

// describeAction fills in the action and the context that the event alone decides.
func describeAction(m *detect.Match) {
	switch e := m.Event; {
	case e.Connect != nil && e.Connect.Remote.IsValid():
		m.Action = detect.Connection(e.Connect.Local, e.Connect.Remote, detect.Protocol(e.Connect), "OUTBOUND")
		m.Context.IANAProtocolNumber = int(detect.Protocol(e.Connect))
		m.Context.AddressFamily = detect.FamilyName(e.Connect.Remote.Addr())
	case e.Connect != nil:
		m.Context.SocketPath = e.Connect.Path
	case e.Kind == event.KindAccept && e.Socket != nil && e.Socket.Remote.IsValid():
		m.Action = detect.Connection(e.Socket.Local, e.Socket.Remote, detect.Protocol(e.Socket), "INBOUND")
	case e.DNS != nil:
		protocol := "UDP"
		if e.DNS.Protocol == 6 {
			protocol = "TCP"
		}
		m.Action = finding.Action{ActionType: finding.ActionDNSRequest, DNSRequestAction: &finding.DNSRequestAction{
			Domain: e.DNS.Name, DomainWithSuffix: e.DNS.Name, Protocol: protocol,
		}}
	case e.Open != nil:
		m.Context.FilePath = e.Open.Path
	case e.Kind == event.KindMmap && e.File != nil:
		m.Context.LibraryPath = e.File.Path
	case e.Kind == event.KindModule && e.File != nil:
		m.Context.ModuleFilePath, m.Context.ModuleName = e.File.Path, e.File.Target
	case e.File != nil:
		m.Context.FilePath = e.File.Path
	case e.Mount != nil:
		m.Context.MountSource, m.Context.MountTarget, m.Context.FileSystemType = e.Mount.Source, e.Mount.Target, e.Mount.FSType
	}
	if e := m.Event.Exec; e != nil {
		m.Context.ScriptPath = m.Process.ScriptPath
	}
}
