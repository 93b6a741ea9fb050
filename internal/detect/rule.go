package detect

import (
	"encoding/json"
	"fmt"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// Rule is one detection. Rules may keep state, so a Rule value belongs to one Engine.
type Rule struct {
	// Type is the finding type that the rule makes.
	Type string
	// Pattern lets through the events that Detect wants to see, in the language of EventBridge patterns. The kinds of event
	// that agents must send are derived from it: a pattern without "kind" asks for all.
	Pattern string
	// Detect looks at one event and reports whether it is a finding. If so it has filled what m says about it. It must not
	// keep m or anything that m points to.
	Detect func(m *Match) bool
	// After, where a rule has one, is told of each occurrence of the other rules, at the event that it was found in, and reports
	// whether that makes a finding of what the rule has seen before. It fills in m as Detect does, and must not keep occ.
	After func(m *Match, occ *finding.Occurrence) bool
}

// Match is an event that a rule's pattern let through, and what the rule says about it. Engine fills in whatever the rule
// leaves empty from the event.
type Match struct {
	Event *event.Event
	Host  finding.Host
	Facts *Facts

	// Object is what the event is about, such as an address or a path. Together with the type, the container and the
	// executable it decides which occurrences are one finding.
	Object string
	// Process is whom the finding is about; Engine sets it to the event's.
	Process *event.Process
	// Severity is 0 for the type's own.
	Severity    float64
	Title       string // "": the type's own
	Description string
	Action      finding.Action
	Context     finding.Context
	Threat      []finding.ThreatIntelligenceDetail
	Info        finding.Info
}

// Place names where the event happened: a container, or a host outside its containers. It is comparable, and valid as long
// as the batch; see [Place.Clone].
func (m *Match) Place() Place {
	p := Place{Host: m.Host.ID}
	if p.Host == "" {
		p.Host = m.Host.AgentID
	}
	if m.Event.Container != nil {
		p.Container = m.Event.Container.ID
	}
	return p
}

// Place is a container of a host, or with an empty Container the host itself.
type Place struct{ Host, Container string }

// patternKinds returns the kinds of event that a pattern can match, given that it parses as a pattern.
func patternKinds(text []byte) (event.Kinds, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return 0, err
	}
	kinds := event.AllKinds
	if raw, ok := members["kind"]; ok {
		var names []string
		if err := json.Unmarshal(raw, &names); err != nil {
			return 0, fmt.Errorf("kind: want a list of names: %w", err)
		}
		kinds = 0
		for _, name := range names {
			k, ok := event.ParseKind(name)
			if !ok || !event.AllKinds.Has(k) {
				return 0, fmt.Errorf("kind: %q never reaches the server", name)
			}
			kinds = kinds.With(k)
		}
	}
	if raw, ok := members["$or"]; ok {
		var alternatives []json.RawMessage
		if err := json.Unmarshal(raw, &alternatives); err != nil {
			return 0, fmt.Errorf("$or: %w", err)
		}
		var any event.Kinds
		for _, a := range alternatives {
			k, err := patternKinds(a)
			if err != nil {
				return 0, err
			}
			any |= k
		}
		kinds &= any
	}
	return kinds, nil
}
