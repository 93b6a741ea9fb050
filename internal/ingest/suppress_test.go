package ingest

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/finding/criteria"
	"vedette.dev/vedette/internal/store"
)

// filter stores a filter of the detector d; without conditions it removes it.
func (r *rig) filter(name, action string, rank int64, conditions map[string]criteria.Condition) {
	r.t.Helper()
	err := r.db.Update(context.Background(), func(tx *store.Tx) error {
		if conditions == nil {
			_, err := filters.Delete(tx, "d/"+name)
			return err
		}
		return filters.Put(tx, "d/"+name, criteria.Filter{Name: name, Action: action, Rank: rank, Criteria: &criteria.Criteria{Criterion: conditions}})
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

var byName = map[string]criteria.Condition{
	"service.runtimeDetails.process.name": {Equals: []string{"x"}}, "service.archived": {Equals: []string{"false"}},
}

func TestFilterArchives(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.filter("note", criteria.ActionNone, 1, byName)
	r.handle(r.message(r.batch("e", 1, a), 0))
	r.want(1, 1, 1)
	r.filter("other", criteria.ActionArchive, 2, map[string]criteria.Condition{"type": {Matches: []string{"Trojan:*"}}})
	r.handle(r.message(r.batch("e", 2, b), 0))
	r.want(2, 2, 2)

	// A new finding that a filter archives is stored and never published, nor are its repeats.
	r.filter("archive", criteria.ActionArchive, 3, byName)
	const c = "198.51.100.3:1"
	r.handle(r.message(r.batch("e", 3, c), 0))
	r.handle(r.message(r.batch("e", 4, c), 0))
	r.now = r.now.Add(24 * time.Hour)
	if _, err := r.i.publishDue(ctx); err != nil {
		t.Fatal(err)
	}
	r.want(3, 4, 2)
	archived := func() (ids []string) {
		for _, row := range r.rows() {
			f, err := finding.Parse(row.JSON)
			if err != nil || f.Service.Archived != row.Archived {
				t.Errorf("%v, archived %v, %v in JSON", err, row.Archived, f.Service.Archived)
			}
			if row.Archived {
				ids = append(ids, row.ID)
			}
		}
		return ids
	}
	if got := archived(); len(got) != 1 {
		t.Fatalf("archived: %v", got)
	}
	if got := value(t, r.i.metrics.suppressed.WithLabelValues("filter")); got != 2 {
		t.Errorf("%v suppressed", got)
	}

	// A finding from before the filter is archived when it occurs again.
	r.handle(r.message(r.batch("e", 5, a), 0))
	r.want(3, 5, 2)
	if got := archived(); len(got) != 2 {
		t.Errorf("archived: %v", got)
	}

	// Without the filter the next occurrence makes it a current finding, and it is published at once.
	r.filter("archive", "", 0, nil)
	r.handle(r.message(r.batch("e", 6, c), 0))
	r.want(3, 6, 3)
	if detail := string(r.events[2].Detail); !strings.Contains(detail, `"count":3`) || !strings.Contains(detail, `"archived":false`) {
		t.Errorf("published %s", detail)
	}
	if got := archived(); len(got) != 1 {
		t.Errorf("archived: %v", got)
	}
}

// TestFilterArchivesWhatWaits makes a filter while repeats wait for the publishing interval.
func TestFilterArchivesWhatWaits(t *testing.T) {
	r := newRig(t)
	r.handle(r.message(r.batch("e", 1, a), 0))
	r.handle(r.message(r.batch("e", 2, a), 0))
	r.filter("archive", criteria.ActionArchive, 1, byName)
	r.now = r.now.Add(24 * time.Hour)
	if next, err := r.i.publishDue(context.Background()); err != nil || !next.IsZero() {
		t.Errorf("next %v, %v", next, err)
	}
	r.want(1, 2, 1)
	if row := r.rows()[0]; !row.Archived {
		t.Error("it is not archived")
	}
}

// TestUnreadableFilter checks that a filter of a later version, or a damaged one, neither stops the stream nor hides anything.
func TestUnreadableFilter(t *testing.T) {
	r := newRig(t)
	r.filter("odd", criteria.ActionArchive, 1, map[string]criteria.Condition{"no.such": {Equals: []string{"x"}}})
	r.filter("empty", criteria.ActionArchive, 2, map[string]criteria.Condition{})
	r.handle(r.message(r.batch("e", 1, a), 0))
	r.want(1, 1, 1)
}

type trust struct{}

func (trust) TrustedAddress(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") }
func (trust) TrustedDomain(name string) bool   { return name == "trusted.example" }

func TestTrusted(t *testing.T) {
	r := newRig(t)
	r.i.o.Trust = trust{}
	action := func(ip *finding.IPDetails, domain string) *finding.Action {
		a := &finding.Action{}
		if ip != nil {
			a.NetworkConnectionAction = &finding.NetworkConnectionAction{RemoteIPDetails: ip}
		}
		if domain != "" {
			a.DNSRequestAction = &finding.DNSRequestAction{Domain: domain}
		}
		return a
	}
	for _, c := range []struct {
		action *finding.Action
		want   bool
	}{
		{action(&finding.IPDetails{IPAddressV4: "192.0.2.1"}, ""), true},
		{action(&finding.IPDetails{IPAddressV4: "192.0.2.2"}, ""), false},
		{action(&finding.IPDetails{IPAddressV6: "2001:db8::1"}, ""), false},
		{action(&finding.IPDetails{}, ""), false},
		{action(nil, "trusted.example"), true},
		{action(nil, "other.example"), false},
		{action(nil, ""), false},
	} {
		if got := r.i.trusted(c.action); got != c.want {
			t.Errorf("%+v: %v", c.action, got)
		}
	}
	r.i.o.Engine = actionEngine{action(&finding.IPDetails{IPAddressV4: "192.0.2.1"}, "")}
	r.handle(r.message(r.batch("e", 1, a), 0))
	r.want(0, 0, 0)
	if got := value(t, r.i.metrics.suppressed.WithLabelValues("trusted")); got != 1 {
		t.Errorf("%v suppressed", got)
	}
}

// actionEngine finds the action in each batch.
type actionEngine struct{ action *finding.Action }

func (e actionEngine) Process(b *event.Batch, emit func(*finding.Occurrence)) {
	emit(&finding.Occurrence{Type: "Backdoor:Runtime/C&CActivity.B", Key: "k", Time: b.Events[0].At(), Process: b.Events[0].Process, Action: *e.action})
}
