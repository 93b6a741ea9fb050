package custom

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/event"
)

// TestEventsSurviveJSON writes an event of each kind and reads it again: no field may be lost, also those that are added to
// event.Fields later.
func TestEventsSurviveJSON(t *testing.T) {
	unseen := map[string]bool{}
	for _, f := range event.Fields() {
		unseen[f.Path] = true
	}
	for k := event.Kind(1); k < event.KindCount; k++ {
		if !event.AllKinds.Has(k) {
			continue
		}
		for _, e := range probes(k) {
			text, err := json.Marshal(&e)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range event.Fields() {
				if n, _ := event.FieldByPath(f.Path); len(e.AppendValues(nil, n)) > 0 {
					delete(unseen, f.Path)
				}
			}
			back, _, err := ParseEvent(text)
			if err != nil {
				t.Errorf("%s: %v\n%s", k, err, text)
				continue
			}
			again, err := json.Marshal(back)
			if err != nil {
				t.Fatal(err)
			}
			var want, got any
			json.Unmarshal(text, &want)
			json.Unmarshal(again, &got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", k, diff)
			}
		}
	}
	for path := range unseen {
		t.Errorf("no probe has the field %s: add it to probe.event and to eventJSON", path)
	}
}

func FuzzParseEvent(f *testing.F) {
	for k := event.Kind(1); k < event.KindCount; k++ {
		for _, e := range probes(k) {
			text, _ := json.Marshal(&e)
			f.Add(text)
		}
	}
	f.Add([]byte(`{"kind":"exec","process":{"parent":{"parent":{"lineage":{"name":["a","b"]}}}}}`))
	f.Add([]byte(`{"kind":"capset","creds":{"capabilities":"CAP_CHOWN"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, _, err := ParseEvent(text)
		if err != nil {
			return
		}
		first, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := ParseEvent(first); err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, first)
		}
	})
}
