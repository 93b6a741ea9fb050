package detect

import (
	"testing"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

func TestExtraRules(t *testing.T) {
	e := newEngine(t, talker())
	run := func() (types []string) {
		b := &event.Batch{Host: event.Host{ID: "h"}, Events: []event.Event{connectTo(1, "10.0.0.1", nil)}}
		e.Process(b, func(occ *finding.Occurrence) { types = append(types, occ.Type) })
		return types
	}
	mine := Rule{Type: "Custom:Runtime/Mine", Pattern: `{"kind":["connect","dns"]}`, Detect: func(m *Match) bool { m.Severity = 3; return true }}
	if err := e.SetExtra(Extra{Rules: []Rule{mine}}); err != nil {
		t.Fatal(err)
	}
	if got := run(); len(got) != 2 || got[1] != mine.Type {
		t.Errorf("findings %q", got)
	}
	if want := event.Kinds(0).With(event.KindConnect).With(event.KindDNS); e.Kinds() != want {
		t.Errorf("kinds %b, want %b", e.Kinds(), want)
	}

	bad := mine
	bad.Pattern = `{"kind":["exec"],"nosuch":["x"]}`
	if err := e.SetExtra(Extra{Rules: []Rule{bad}}); err == nil {
		t.Error("an unknown field was taken")
	}
	if got := run(); len(got) != 2 {
		t.Errorf("after an error: findings %q", got)
	}

	if err := e.SetExtra(Extra{Rules: []Rule{mine}, Except: func(typ string, m *Match) bool { return typ == talker().Type }}); err != nil {
		t.Fatal(err)
	}
	if got := run(); len(got) != 1 || got[0] != mine.Type {
		t.Errorf("with an exception: findings %q", got)
	}
	if err := e.SetExtra(Extra{}); err != nil {
		t.Fatal(err)
	}
	if got := run(); len(got) != 1 || got[0] != talker().Type {
		t.Errorf("without extra rules: findings %q", got)
	}
}
