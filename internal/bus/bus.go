package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/pattern"
	"vedette.dev/vedette/internal/store"
	"vedette.dev/vedette/internal/store/outbox"
)

// Queue is the queue of the store in which deliveries to targets wait and in which dead letters stay.
const Queue = "bus"

// maxHops is how many buses an event may pass after the first, so that buses that send to each other end.
const maxHops = 5

// Receiver takes events for the targets of one service. Deliver stores the effect in tx; it must not do anything else. An
// error that trying again cannot cure is a *DeliveryError that says so.
type Receiver interface {
	Deliver(tx *store.Tx, targetARN string, input []byte) error
}

// Options configure a Bus. Store, Log, AccountID and Region are required.
type Options struct {
	Store      *store.DB
	AccountID  string
	Region     string
	Targets    map[string]Receiver // by the service in the target's ARN, e.g. "sns"; event buses are served by the Bus itself
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Bus is all event buses of one account and Region.
type Bus struct {
	o        Options
	metrics  *metrics
	outbox   *outbox.Dispatcher
	mu       sync.Mutex
	compiled map[string]*ruleSet // by bus
}

// New returns a Bus. Run must be called for deliveries to go out.
func New(o Options) *Bus {
	b := &Bus{o: o, metrics: newMetrics(o.Registerer), compiled: map[string]*ruleSet{}}
	b.outbox = outbox.New(outbox.Options{Store: o.Store, Queue: Queue, Handle: b.handle, Log: o.Log, Registerer: o.Registerer, Workers: 8})
	return b
}

// Run hands deliveries to targets until ctx ends. It may be called once.
func (b *Bus) Run(ctx context.Context) error { return b.outbox.Run(ctx) }

// Outbox returns the queue of deliveries to targets, with its dead letters.
func (b *Bus) Outbox() *outbox.Dispatcher { return b.outbox }

// Put sends an event to a bus: it writes a delivery for each target of each enabled rule that matches, all in tx. What ev
// leaves empty is filled in: version, id, account, Region and time. An event for a bus that does not exist goes nowhere.
func (b *Bus) Put(tx *store.Tx, busName string, ev Event) error {
	if ev.Version == "" {
		ev.Version = "0"
	}
	if ev.ID == "" {
		ev.ID = newID()
	}
	if ev.Account == "" {
		ev.Account = b.o.AccountID
	}
	if ev.Region == "" {
		ev.Region = b.o.Region
	}
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	text, err := encode(ev)
	if err != nil {
		return fmt.Errorf("encoding event %s: %w", ev.ID, err)
	}
	return b.put(tx, busName, text, 0)
}

// put sends an encoded event that has passed hops buses.
func (b *Bus) put(tx *store.Tx, busName string, event []byte, hops int) error {
	set, err := b.rules(tx, busName)
	if err != nil {
		return err
	}
	matched, err := set.match(event)
	if err != nil {
		// An event that is too hard for one rule must neither hide from the others nor keep its transaction, and all that
		// waits behind it, from ever committing.
		var undecided int
		matched, undecided, err = set.matchEach(event)
		b.o.Log.Error("an event could not be matched with all rules", "bus", busName, "undecided", undecided, "err", err)
		tx.AfterCommit(func() { b.metrics.undecidedRules(undecided) })
	}
	deliveries := 0
	for _, r := range matched {
		for i := range r.Targets {
			payload, err := encode(delivery{RuleARN: r.ARN, RuleName: r.Name, Target: r.Targets[i], Event: event, Ingested: time.Now().UTC(), Hops: hops})
			if err != nil {
				return fmt.Errorf("encoding a delivery: %w", err)
			}
			if err := b.outbox.Enqueue(tx, store.Delivery{Lane: r.Targets[i].ARN, Subject: r.ARN + " -> " + r.Targets[i].ARN, Payload: payload}); err != nil {
				return err
			}
			deliveries++
		}
	}
	tx.AfterCommit(func() { b.metrics.put(len(matched), deliveries) })
	return nil
}

// delivery is the payload of a delivery: what happens to it is decided by the rule as it was when the event came.
type delivery struct {
	RuleARN  string          `json:"ruleArn"`
	RuleName string          `json:"ruleName"`
	Target   Target          `json:"target"`
	Event    json.RawMessage `json:"event"`
	Ingested time.Time       `json:"ingested"`
	Hops     int             `json:"hops,omitempty"`
}

// handle does one delivery.
func (b *Bus) handle(_ context.Context, item store.Delivery) outbox.Outcome {
	var d delivery
	if err := json.Unmarshal(item.Payload, &d); err != nil {
		return outbox.Dead("INTERNAL", fmt.Errorf("decoding the delivery: %w", err))
	}
	input, err := render(&d.Target, occasion{d.Event, d.RuleARN, d.RuleName, d.Ingested})
	if err != nil {
		return outbox.Dead("INVALID_JSON", err)
	}
	return outbox.Done(func(tx *store.Tx) error {
		err := b.deliver(tx, &d, input)
		if err == nil {
			return nil
		}
		return &outbox.Failure{Outcome: d.Target.RetryPolicy.failed(err, item)}
	})
}

func (b *Bus) deliver(tx *store.Tx, d *delivery, input []byte) error {
	a, ok := parseARN(d.Target.ARN)
	if !ok {
		return &DeliveryError{"NO_RESOURCE", true, errors.New("the target's ARN is not one")}
	}
	if a.service == "events" {
		if d.Hops >= maxHops {
			return &DeliveryError{"TOO_MANY_HOPS", true, fmt.Errorf("the event has passed %d event buses", d.Hops+1)}
		}
		name := strings.TrimPrefix(a.resource, "event-bus/")
		if _, err := b.EventBus(tx, name); err != nil {
			if e := (*Error)(nil); errors.As(err, &e) {
				return &DeliveryError{"NO_RESOURCE", true, err}
			}
			return err
		}
		if !isObject(string(input)) {
			return &DeliveryError{"INVALID_JSON", true, errors.New("an event bus takes only JSON objects")}
		}
		return b.put(tx, name, input, d.Hops+1)
	}
	receiver := b.o.Targets[a.service]
	if receiver == nil {
		return &DeliveryError{"NO_RESOURCE", true, fmt.Errorf("nothing here serves targets of the service %q", a.service)}
	}
	return receiver.Deliver(tx, d.Target.ARN, input)
}

// failed decides what becomes of a delivery after an attempt failed.
func (p *RetryPolicy) failed(err error, item store.Delivery) outbox.Outcome {
	code := "INTERNAL"
	if e := (*DeliveryError)(nil); errors.As(err, &e) {
		code = e.Code
		if e.Permanent {
			return outbox.Dead(code, err)
		}
	}
	retries, age := defaultRetries, defaultEventAge
	if p != nil && p.MaximumRetryAttempts != nil {
		retries = *p.MaximumRetryAttempts
	}
	if p != nil && p.MaximumEventAgeInSeconds != nil {
		age = *p.MaximumEventAgeInSeconds
	}
	if item.Attempts >= retries {
		return outbox.Dead(code, fmt.Errorf("MaximumRetryAttempts exhausted: %w", err))
	}
	wait := backoff(item.Attempts)
	if time.Since(item.CreatedAt)+wait > time.Duration(age)*time.Second {
		return outbox.Dead(code, fmt.Errorf("MaximumEventAgeInSeconds exhausted: %w", err))
	}
	return outbox.Retry(wait, code, err)
}

// backoff returns how long to wait after the attempt with the given number, counted from 0: from one second doubling to ten
// minutes, less up to a half at random so that retries spread. (AWS does not publish its own spacing.)
func backoff(attempt int) time.Duration {
	wait := 10 * time.Minute
	if attempt < 10 {
		wait = min(wait, time.Second<<attempt)
	}
	return wait - rand.N(wait/2)
}

// ruleSet is the enabled rules of one bus, compiled. It is never changed.
type ruleSet struct {
	generation uint64
	rules      []Rule
	set        *pattern.Set
	matchers   sync.Pool // of *pattern.Matcher
}

// rules returns the enabled rules of a bus as tx sees them.
func (b *Bus) rules(tx *store.Tx, busName string) (*ruleSet, error) {
	now, _, err := tx.Cursor(generation(busName))
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	s := b.compiled[busName]
	b.mu.Unlock()
	if s != nil && s.generation == now {
		return s, nil
	}
	entries, err := rules.List(tx, busName+"/", "", 0)
	if err != nil {
		return nil, err
	}
	s = &ruleSet{generation: now}
	var patterns []*pattern.Pattern
	for _, e := range entries {
		r := e.Value
		if r.State == Disabled {
			continue
		}
		p, err := pattern.Parse([]byte(r.EventPattern))
		if err != nil { // it was accepted once; one rule must not take the others down
			b.o.Log.Error("a stored rule's pattern is not valid, the rule is skipped", "rule", r.ARN, "err", err)
			continue
		}
		s.rules = append(s.rules, r)
		patterns = append(patterns, p)
	}
	s.set = pattern.Compile(patterns)
	s.matchers.New = func() any { return s.set.NewMatcher() }
	b.mu.Lock()
	b.compiled[busName] = s
	if len(b.compiled) > 2*maxBuses { // events for buses that do not exist
		for name := range b.compiled {
			if name != busName && name != DefaultBus {
				delete(b.compiled, name)
			}
		}
	}
	b.mu.Unlock()
	return s, nil
}

// match returns the rules that match an event, each once, in the order of their names.
func (s *ruleSet) match(event []byte) ([]*Rule, error) {
	if len(s.rules) == 0 {
		return nil, nil
	}
	m := s.matchers.Get().(*pattern.Matcher)
	defer s.matchers.Put(m)
	var room [16]int
	ids, err := m.MatchJSON(room[:0], event)
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	matched := make([]*Rule, len(ids))
	for i, id := range ids {
		matched[i] = &s.rules[id]
	}
	return matched, nil
}

// matchEach matches an event with one rule at a time. It returns the rules that match, the number of those that it cannot be
// matched with, and why the last of these cannot.
func (s *ruleSet) matchEach(event []byte) (matched []*Rule, undecided int, last error) {
	for i := range s.rules {
		p, err := pattern.Parse([]byte(s.rules[i].EventPattern))
		var ids []int
		if err == nil {
			ids, err = pattern.Compile([]*pattern.Pattern{p}).NewMatcher().MatchJSON(nil, event)
		}
		switch {
		case err != nil:
			undecided++
			last = err
		case len(ids) > 0:
			matched = append(matched, &s.rules[i])
		}
	}
	return matched, undecided, last
}
