package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"vedette.dev/vedette/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "111122223333"
	region  = "eu-central-1"
	topic   = "arn:aws:sns:eu-central-1:111122223333:alerts"
)

// receiver is a Receiver that keeps what it gets and fails as told.
type receiver struct {
	got  []string
	at   []time.Time
	fail func(n int) error
}

func (r *receiver) Deliver(tx *store.Tx, target string, input []byte) error {
	r.at = append(r.at, time.Now())
	if r.fail != nil {
		if err := r.fail(len(r.at)); err != nil {
			return err
		}
	}
	r.got = append(r.got, target+" "+string(input))
	return nil
}

func open(t testing.TB, path string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func newBus(db *store.DB, r *receiver) *Bus {
	return New(Options{Store: db, AccountID: account, Region: region, Targets: map[string]Receiver{"sns": r}, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
}

// bubble runs f with a bus whose clock is the bubble's.
func bubble(t *testing.T, f func(t *testing.T, db *store.DB, b *Bus, r *receiver)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vedette.db")
	synctest.Test(t, func(t *testing.T) {
		db := open(t, path)
		r := &receiver{}
		b := newBus(db, r)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		f(t, db, b, r)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		db.Close()
	})
}

func update(t testing.TB, db *store.DB, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// putRule makes a rule with targets.
func putRule(t testing.TB, db *store.DB, b *Bus, busName, name, patternText string, targets ...Target) {
	t.Helper()
	update(t, db, func(tx *store.Tx) error {
		if _, err := b.PutRule(tx, Rule{Name: name, Bus: busName, EventPattern: patternText}); err != nil {
			return err
		}
		if failures, err := b.PutTargets(tx, busName, name, targets); err != nil || len(failures) > 0 {
			return fmt.Errorf("%v %w", failures, err)
		}
		return nil
	})
}

func sample() Event {
	return Event{ID: "7bf73129-1428-4cd3-a780-95db273d1602", DetailType: "Thing Happened", Source: "my.app", Time: time.Date(2026, 11, 23, 9, 20, 5, 123456, time.UTC),
		Detail: json.RawMessage(`{ "n": 1.50, "s": "a<b>&\u00e9" }`)}
}

const sampleJSON = `{"version":"0","id":"7bf73129-1428-4cd3-a780-95db273d1602","detail-type":"Thing Happened","source":"my.app","account":"111122223333","time":"2026-11-23T09:20:05Z","region":"eu-central-1","resources":[],"detail":{"n":1.50,"s":"a<b>&\u00e9"}}`

func TestEventsReachTheTargetsOfMatchingRules(t *testing.T) {
	bubble(t, func(t *testing.T, db *store.DB, b *Bus, r *receiver) {
		putRule(t, db, b, "default", "match", `{"source":["my.app"]}`, Target{ID: "1", ARN: topic}, Target{ID: "2", ARN: topic + "2"})
		putRule(t, db, b, "default", "other", `{"source":["your.app"]}`, Target{ID: "1", ARN: topic})
		putRule(t, db, b, "default", "off", `{"source":["my.app"]}`, Target{ID: "1", ARN: topic})
		update(t, db, func(tx *store.Tx) error { return b.SetState(tx, "default", "off", Disabled) })
		update(t, db, func(tx *store.Tx) error { return b.Put(tx, "default", sample()) })
		synctest.Wait()
		want := []string{topic + " " + sampleJSON, topic + "2 " + sampleJSON}
		if diff := cmp.Diff(want, r.got); diff != "" {
			t.Errorf("delivered (-want +got):\n%s", diff)
		}

		// A transaction that fails sends nothing, and its change of the rules is not seen by later ones.
		db.Update(t.Context(), func(tx *store.Tx) error {
			if err := b.SetState(tx, "default", "off", Enabled); err != nil {
				t.Error(err)
			}
			if err := b.Put(tx, "default", sample()); err != nil {
				t.Error(err)
			}
			return errors.New("no")
		})
		synctest.Wait()
		update(t, db, func(tx *store.Tx) error { return b.Put(tx, "default", sample()) })
		synctest.Wait()
		if len(r.got) != 4 {
			t.Errorf("%d deliveries, want 4:\n%s", len(r.got), strings.Join(r.got, "\n"))
		}
		// An event for a bus that is not there goes nowhere.
		update(t, db, func(tx *store.Tx) error { return b.Put(tx, "none", sample()) })
		// A rule's change is seen by the very next event.
		update(t, db, func(tx *store.Tx) error {
			if err := b.SetState(tx, "default", "match", Disabled); err != nil {
				return err
			}
			return b.Put(tx, "default", sample())
		})
		synctest.Wait()
		if len(r.got) != 4 {
			t.Errorf("%d deliveries after the rule was disabled, want 4", len(r.got))
		}
	})
}

// TestAHardEventHoldsUpNothing sends an event that the pattern engine refuses: the transaction must commit all the same, and
// a rule that cannot be decided must not take the others down.
func TestAHardEventHoldsUpNothing(t *testing.T) {
	bubble(t, func(t *testing.T, db *store.DB, b *Bus, r *receiver) {
		putRule(t, db, b, "default", "r", `{"source":["my.app"]}`, Target{ID: "1", ARN: topic})
		deep := Event{Source: "my.app", DetailType: "d", Detail: json.RawMessage(`{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`)}
		update(t, db, func(tx *store.Tx) error {
			if err := b.Put(tx, "default", deep); err != nil {
				return err
			}
			return b.Put(tx, "default", sample())
		})
		synctest.Wait()
		if len(r.got) != 1 {
			t.Errorf("%d deliveries, want that of the second event", len(r.got))
		}
	})
	set := &ruleSet{rules: []Rule{{Name: "fine", EventPattern: `{"source":["my.app"]}`}, {Name: "broken", EventPattern: `{`}, {Name: "other", EventPattern: `{"source":["x"]}`}}}
	matched, undecided, err := set.matchEach([]byte(sampleJSON))
	if len(matched) != 1 || matched[0].Name != "fine" || undecided != 1 || err == nil {
		t.Errorf("matched %v, undecided %d, %v", matched, undecided, err)
	}
}

func TestFailuresAreRetriedThenDead(t *testing.T) {
	two, age := 2, 60
	bubble(t, func(t *testing.T, db *store.DB, b *Bus, r *receiver) {
		r.fail = func(int) error { return errors.New("busy") }
		putRule(t, db, b, "default", "r", `{"source":["my.app"]}`, Target{ID: "1", ARN: topic, RetryPolicy: &RetryPolicy{MaximumRetryAttempts: &two}})
		update(t, db, func(tx *store.Tx) error { return b.Put(tx, "default", sample()) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.at) != 3 {
			t.Fatalf("%d attempts, want 3", len(r.at))
		}
		if first, second := r.at[1].Sub(r.at[0]), r.at[2].Sub(r.at[1]); first < time.Second/2 || first > time.Second || second < time.Second || second > 2*time.Second {
			t.Errorf("waited %v and %v", first, second)
		}
		putRule(t, db, b, "default", "r", `{"source":["my.app"]}`, Target{ID: "1", ARN: topic, RetryPolicy: &RetryPolicy{MaximumEventAgeInSeconds: &age}})
		start := time.Now()
		update(t, db, func(tx *store.Tx) error { return b.Put(tx, "default", sample()) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if last := r.at[len(r.at)-1].Sub(start); last > time.Minute || last < 10*time.Second {
			t.Errorf("the last attempt was after %v", last)
		}
		r.fail = func(int) error {
			return &DeliveryError{Code: "NO_RESOURCE", Permanent: true, Err: errors.New("Topic does not exist")}
		}
		before := len(r.at)
		update(t, db, func(tx *store.Tx) error { return b.Put(tx, "default", sample()) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.at) != before+1 {
			t.Errorf("a permanent failure was tried %d times", len(r.at)-before)
		}
		db.View(t.Context(), func(tx *store.Tx) error {
			list, err := tx.DeadLetters(Queue, 0, 0)
			var got []string
			for _, d := range list {
				got = append(got, d.ErrorCode+": "+d.Error)
			}
			want := []string{"INTERNAL: MaximumRetryAttempts exhausted: busy", "INTERNAL: MaximumEventAgeInSeconds exhausted: busy", "NO_RESOURCE: NO_RESOURCE: Topic does not exist"}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("dead letters %v (-want +got):\n%s", err, diff)
			}
			return nil
		})
	})
}

func TestBusesForwardAndEnd(t *testing.T) {
	bubble(t, func(t *testing.T, db *store.DB, b *Bus, r *receiver) {
		update(t, db, func(tx *store.Tx) error { _, err := b.CreateEventBus(tx, "mine", "", nil); return err })
		mine := "arn:aws:events:eu-central-1:111122223333:event-bus/mine"
		putRule(t, db, b, "default", "forward", `{"source":["my.app"]}`, Target{ID: "1", ARN: mine})
		putRule(t, db, b, "mine", "loop", `{"source":["my.app"]}`, Target{ID: "1", ARN: mine}, Target{ID: "2", ARN: topic})
		text := `"not an event"`
		putRule(t, db, b, "default", "bad", `{"source":["my.app"]}`, Target{ID: "1", ARN: mine, Input: &text})
		putRule(t, db, b, "default", "gone", `{"source":["my.app"]}`, Target{ID: "1", ARN: strings.Replace(mine, "mine", "gone", 1)})
		update(t, db, func(tx *store.Tx) error { return b.Put(tx, "default", sample()) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.got) != maxHops {
			t.Errorf("%d deliveries, want %d", len(r.got), maxHops)
		}
		if r.got[0] != topic+" "+sampleJSON {
			t.Errorf("the event changed on its way: %s", r.got[0])
		}
		db.View(t.Context(), func(tx *store.Tx) error {
			list, err := tx.DeadLetters(Queue, 0, 0)
			got := map[string]int{}
			for _, d := range list {
				got[d.ErrorCode]++
			}
			if diff := cmp.Diff(map[string]int{"TOO_MANY_HOPS": 1, "INVALID_JSON": 1, "NO_RESOURCE": 1}, got); diff != "" || err != nil {
				t.Errorf("dead letters %v (-want +got):\n%s", err, diff)
			}
			return nil
		})
	})
}

// TestDeliveriesSurviveTheProcess stops between the commit of an event and its delivery.
func TestDeliveriesSurviveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vedette.db")
	db := open(t, path)
	b := newBus(db, &receiver{})
	putRule(t, db, b, "default", "r", `{"source":["my.app"]}`, Target{ID: "1", ARN: topic})
	update(t, db, func(tx *store.Tx) error { return b.Put(tx, "default", sample()) })
	update(t, db, func(tx *store.Tx) error { // claimed by the process that dies
		list, err := tx.Claim(Queue, topic, time.Now(), time.Hour, 10)
		if len(list) != 1 {
			t.Errorf("claimed %d", len(list))
		}
		return err
	})
	db.Close()

	db = open(t, path)
	defer db.Close()
	arrived := make(chan struct{}, 1)
	r := &receiver{fail: func(int) error { arrived <- struct{}{}; return nil }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- newBus(db, r).Run(ctx) }()
	<-arrived
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(r.got) != 1 || r.got[0] != topic+" "+sampleJSON {
		t.Errorf("delivered %v", r.got)
	}
}

func TestRequestsAreRefusedInAWSWords(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "vedette.db"))
	defer db.Close()
	b := newBus(db, &receiver{})
	putRule(t, db, b, "default", "full", `{"source":["my.app"]}`, Target{ID: "1", ARN: topic})
	both, jsonText, words := "$.detail", `{"a":1}`, `{"a":`
	transformer := func(template string, paths map[string]string) Target {
		return Target{ID: "t", ARN: topic, InputTransformer: &InputTransformer{InputPathsMap: paths, InputTemplate: template}}
	}
	targets := func(list ...Target) func(tx *store.Tx) error {
		return func(tx *store.Tx) error { _, err := b.PutTargets(tx, "default", "full", list); return err }
	}
	many := make([]Target, 6)
	for i := range many {
		many[i] = Target{ID: fmt.Sprint(i), ARN: topic}
	}
	for name, c := range map[string]struct {
		do         func(tx *store.Tx) error
		code, want string
	}{
		"rule of no bus":    {func(tx *store.Tx) error { _, err := b.Rule(tx, "x", "r"); return err }, CodeNotFound, "Event bus x does not exist."},
		"no rule":           {func(tx *store.Tx) error { _, err := b.Rule(tx, "default", "r"); return err }, CodeNotFound, "Rule r does not exist on EventBus default."},
		"delete default":    {func(tx *store.Tx) error { return b.DeleteEventBus(tx, "default") }, CodeValidation, "Cannot delete event bus default."},
		"bus twice":         {func(tx *store.Tx) error { _, err := b.CreateEventBus(tx, "default", "", nil); return err }, CodeAlreadyExists, "Event bus default already exists."},
		"rule with targets": {func(tx *store.Tx) error { return b.DeleteRule(tx, "default", "full") }, CodeValidation, "Rule can't be deleted since it has targets."},
		"bad pattern": {func(tx *store.Tx) error {
			_, err := b.PutRule(tx, Rule{Name: "r", Bus: "default", EventPattern: `{"a":[]}`})
			return err
		}, CodeInvalidPattern, "Event pattern is not valid. Reason: Empty arrays are not allowed"},
		"too many targets": {targets(many...), CodeLimitExceeded, "The requested resource exceeds the maximum number allowed."},
		"two inputs":       {targets(Target{ID: "t", ARN: topic, InputPath: &both, Input: &jsonText}), CodeValidation, "Only one of Input, InputPath, or InputTransformer must be provided for target t."},
		"input no JSON":    {targets(Target{ID: "t", ARN: topic, Input: &words}), CodeValidation, "JSON syntax error in input for target t."},
		"placeholder":      {targets(transformer(`"<x> <notdefinedkey>"`, map[string]string{"x": "$.id"})), CodeValidation, "InputTemplate for target t contains invalid placeholder notdefinedkey."},
		"bare sentence":    {targets(transformer(`<x> happened`, map[string]string{"x": "$.id"})), CodeValidation, "Invalid InputTemplate for target t"},
		"key":              {targets(transformer(`{<x>: 1}`, map[string]string{"x": "$.id"})), CodeValidation, "Invalid InputTemplate for target t"},
		"AWS variable":     {targets(transformer(`"<AWS.x>"`, map[string]string{"AWS.x": "$.id"})), CodeValidation, "InputPathsMap for target t contains invalid key AWS.x."},
		"tags of nothing":  {func(tx *store.Tx) error { _, err := b.Tags(tx, b.ruleARN("default", "r")); return err }, CodeNotFound, "Rule r does not exist on EventBus default."},
		"tags of words":    {func(tx *store.Tx) error { _, err := b.Tags(tx, "words"); return err }, CodeValidation, "Parameter ResourceArn is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			err := db.Update(t.Context(), c.do)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || !strings.HasPrefix(e.Message, c.want) {
				t.Errorf("got %v, want %s: %s", err, c.code, c.want)
			}
		})
	}
}

func TestUnsupportedTargetsFailAlone(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "vedette.db"))
	defer db.Close()
	b := newBus(db, &receiver{})
	putRule(t, db, b, "default", "r", `{"source":["my.app"]}`)
	update(t, db, func(tx *store.Tx) error {
		failures, err := b.PutTargets(tx, "default", "r", []Target{{ID: "good", ARN: topic}, {ID: "queue", ARN: "arn:aws:sqs:eu-central-1:111122223333:q"}, {ID: "words", ARN: "words"},
			{ID: "foreign", ARN: "arn:aws:sns:us-east-1:111122223333:alerts"}, {ID: "rule", ARN: "arn:aws:events:eu-central-1:111122223333:rule/x"}})
		var ids []string
		for _, f := range failures {
			ids = append(ids, f.ID)
			if f.Message == "" || f.Code == "" {
				t.Errorf("no reason: %+v", f)
			}
		}
		if diff := cmp.Diff([]string{"queue", "words", "foreign", "rule"}, ids); diff != "" {
			t.Errorf("failures:\n%s", diff)
		}
		if err != nil {
			return err
		}
		r, err := b.Rule(tx, "default", "r")
		if len(r.Targets) != 1 || r.Targets[0].ID != "good" {
			t.Errorf("targets %+v", r.Targets)
		}
		// Replacing the rule keeps its targets.
		if r, err = b.PutRule(tx, Rule{Name: "r", Bus: "default", EventPattern: `{"source":["x"]}`}); err != nil || len(r.Targets) != 1 {
			t.Errorf("after PutRule: %+v, %v", r.Targets, err)
		}
		failures, err = b.RemoveTargets(tx, "default", "r", []string{"good", "none"})
		if len(failures) != 1 || failures[0].ID != "none" {
			t.Errorf("RemoveTargets: %+v", failures)
		}
		if err != nil {
			return err
		}
		return b.DeleteRule(tx, "default", "r")
	})
}

func TestPutEvents(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "vedette.db"))
	defer db.Close()
	b := newBus(db, &receiver{})
	ok := Entry{Source: "my.app", DetailType: "d", Detail: `{"a":1}`}
	with := func(f func(*Entry)) Entry { e := ok; f(&e); return e }
	update(t, db, func(tx *store.Tx) error {
		results, err := b.PutEvents(tx, []Entry{ok, with(func(e *Entry) { e.Source = "" }), with(func(e *Entry) { e.Detail = "[1]" }), with(func(e *Entry) { e.Detail = `{"a":` }),
			with(func(e *Entry) { e.Source = "aws.guardduty" }), with(func(e *Entry) { e.EventBusName = "none" }), with(func(e *Entry) { e.DetailType = strings.Repeat("x", 129) }),
			with(func(e *Entry) { e.Detail = strings.Repeat(`{"a":`, 1001) + "1" + strings.Repeat("}", 1001) })})
		if err != nil {
			return err
		}
		var codes []string
		for _, r := range results {
			if (r.EventID == "") != (r.ErrorCode != "") {
				t.Errorf("result %+v", r)
			}
			codes = append(codes, r.ErrorCode)
		}
		want := []string{"", "InvalidArgument", "MalformedDetail", "MalformedDetail", "NotAuthorizedForSourceException", "", "InvalidArgument", "MalformedDetail"}
		if diff := cmp.Diff(want, codes); diff != "" {
			t.Errorf("codes (-want +got):\n%s", diff)
		}
		big := with(func(e *Entry) { e.Detail = `{"a":"` + strings.Repeat("x", 1<<20) + `"}` })
		if _, err := b.PutEvents(tx, []Entry{big}); err == nil || !strings.Contains(err.Error(), "Total size of the entries in the request is over the limit.") {
			t.Errorf("a large entry: %v", err)
		}
		return nil
	})
}

func TestTestEventPattern(t *testing.T) {
	b := New(Options{})
	event := `{"id":"1","account":"1","source":"s","time":"2026-11-23T00:00:00Z","region":"r","resources":[],"detail-type":"d","detail":{"n":7}}`
	for _, c := range []struct {
		pattern, event string
		want           bool
		err            string
	}{
		{`{"detail":{"n":[{"numeric":[">",5]}]}}`, event, true, ""},
		{`{"detail":{"n":[8]}}`, event, false, ""},
		{`{"source":["s"]}`, `{"source":"s"}`, false, "ValidationException: Parameter Event is not valid."},
		{`{"source":["s"]}`, `nonsense`, false, "ValidationException: Parameter Event is not valid."},
		{`{"source":"s"}`, event, false, `InvalidEventPatternException: Event pattern is not valid. Reason: "source" must be an object or an array`},
	} {
		got, err := b.TestEventPattern(c.pattern, c.event)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%s on %s: %v, %v", c.pattern, c.event, got, err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "vedette.db"))
	defer db.Close()
	bus := newBus(db, &receiver{})
	for i := range 100 {
		putRule(b, db, bus, "default", fmt.Sprintf("r%d", i), fmt.Sprintf(`{"source":["app.%d"]}`, i), Target{ID: "1", ARN: topic})
	}
	ev := sample()
	ev.Source = "app.7"
	for b.Loop() { // a hundred events to a transaction, as ingest does
		update(b, db, func(tx *store.Tx) error {
			for range 100 {
				if err := bus.Put(tx, "default", ev); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
