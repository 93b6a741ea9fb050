package detect

import (
	"fmt"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/pattern"
)

// Extra is what comes to an engine's own rules while it runs: the user's rules and exceptions.
type Extra struct {
	// Rules run beside the engine's own, in the same pattern set. They belong to the engine's goroutine from its next batch on.
	Rules []Rule
	// Except reports whether an occurrence that a rule of the given type has just found is one that the user does not want.
	// The engine's goroutine calls it, for its own rules as well as for Rules; nil excepts nothing.
	Except func(typ string, m *Match) bool
}

// ruleSet is rules compiled together.
type ruleSet struct {
	rules   []Rule
	except  func(typ string, m *Match) bool
	kinds   event.Kinds
	matcher *pattern.BoundMatcher
}

// SetExtra replaces the extra rules. It may be called from any goroutine; batches that are processed after it returned see
// the new ones. After an error, which names the rule that is wrong, the old ones stay.
func (e *Engine) SetExtra(x Extra) error {
	set, err := compileRules(append(e.own[:len(e.own):len(e.own)], x.Rules...))
	if err != nil {
		return err
	}
	set.except = x.Except
	e.set.Store(set)
	return nil
}

func compileRules(rules []Rule) (*ruleSet, error) {
	s := &ruleSet{rules: rules}
	patterns := make([]*pattern.Pattern, len(rules))
	for i, r := range rules {
		if _, ok := finding.Lookup(r.Type); !ok && !finding.IsCustom(r.Type) {
			return nil, fmt.Errorf("rule %s: no such finding type", r.Type)
		}
		p, err := pattern.Parse([]byte(r.Pattern))
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Type, err)
		}
		kinds, err := patternKinds([]byte(r.Pattern))
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Type, err)
		}
		patterns[i] = p
		s.kinds |= kinds
	}
	bound, err := pattern.Compile(patterns).Bind(fieldByPath)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	s.matcher = bound.NewMatcher()
	return s, nil
}

// FieldByPath returns the number of the field of an event, or of the fact, with the given path. Facts.AppendValues gives its
// values.
func FieldByPath(path string) (int, bool) { return fieldByPath(path) }

// Inspect returns the facts of one event by itself, for tools that explain a rule: of shells, only those with a shell's name
// are known.
func Inspect(e *event.Event, host finding.Host, lists *intel.Lists) *Facts {
	if lists == nil {
		lists = &intel.Lists{}
	}
	return &Facts{event: e, host: host, lists: lists, shells: newShellBook()}
}

// Kinds returns the kinds of event that the rule can match.
func (r Rule) Kinds() (event.Kinds, error) { return patternKinds([]byte(r.Pattern)) }
