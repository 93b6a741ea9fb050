package bus

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"vedette.dev/vedette/internal/pattern"
	"vedette.dev/vedette/internal/store"
)

// DefaultBus is the name of the bus that always exists and that AWS services send to.
const DefaultBus = "default"

// EventBus is a custom event bus, or the default one.
type EventBus struct {
	Name        string            `json:"name"`
	ARN         string            `json:"arn"`
	Description string            `json:"description,omitempty"`
	CreatedAt   time.Time         `json:"createdAt"`
	UpdatedAt   time.Time         `json:"updatedAt"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// The states of a rule.
const (
	Enabled           = "ENABLED"
	EnabledAllManaged = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
	Disabled          = "DISABLED"
)

// Rule is a rule with its targets.
type Rule struct {
	Name         string            `json:"name"`
	Bus          string            `json:"bus"`
	ARN          string            `json:"arn"`
	EventPattern string            `json:"eventPattern"` // as it was given
	State        string            `json:"state"`
	Description  string            `json:"description,omitempty"`
	RoleARN      string            `json:"roleArn,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Targets      []Target          `json:"targets,omitempty"` // in the order of their ids
}

// Target is a receiver of a rule's events. At most one of Input, InputPath and InputTransformer is set.
type Target struct {
	ID               string            `json:"id"`
	ARN              string            `json:"arn"`
	RoleARN          string            `json:"roleArn,omitempty"`
	Input            *string           `json:"input,omitempty"`
	InputPath        *string           `json:"inputPath,omitempty"`
	InputTransformer *InputTransformer `json:"inputTransformer,omitempty"`
	RetryPolicy      *RetryPolicy      `json:"retryPolicy,omitempty"`
}

// InputTransformer makes a target's input out of a template and values from the event.
type InputTransformer struct {
	InputPathsMap map[string]string `json:"inputPathsMap,omitempty"`
	InputTemplate string            `json:"inputTemplate"`
}

// RetryPolicy says how long a delivery is tried. A nil member means the default.
type RetryPolicy struct {
	MaximumRetryAttempts     *int `json:"maximumRetryAttempts,omitempty"`     // 0 to 185; default 185
	MaximumEventAgeInSeconds *int `json:"maximumEventAgeInSeconds,omitempty"` // 60 to 86,400; default 86,400
}

// The limits of EventBridge.
const (
	maxBuses         = 100
	maxRulesPerBus   = 300
	maxTargets       = 5
	maxInput         = 8192
	maxInputPath     = 256
	maxInputPaths    = 100
	defaultRetries   = 185
	defaultEventAge  = 86_400
	maxEventsEntries = 1 << 20 // bytes of all entries of one PutEvents
)

// The collections. A rule's key is BUS/NAME; neither name may hold a slash.
const (
	buses store.Documents[EventBus] = "event-bus"
	rules store.Documents[Rule]     = "rule"
)

var nameForm = regexp.MustCompile(`^[.\-_A-Za-z0-9]+$`)

// CreateEventBus adds a custom bus.
func (b *Bus) CreateEventBus(tx *store.Tx, name, description string, tags map[string]string) (EventBus, error) {
	switch {
	case len(name) > 256 || !nameForm.MatchString(name):
		return EventBus{}, refuse(CodeValidation, "1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+", name)
	case name == DefaultBus:
		return EventBus{}, refuse(CodeAlreadyExists, "Event bus %s already exists.", name)
	}
	if _, ok, err := buses.Get(tx, name); err != nil {
		return EventBus{}, err
	} else if ok {
		return EventBus{}, refuse(CodeAlreadyExists, "Event bus %s already exists.", name)
	}
	if list, err := buses.List(tx, "", "", 0); err != nil {
		return EventBus{}, err
	} else if len(list) >= maxBuses-1 {
		return EventBus{}, refuse(CodeLimitExceeded, "The requested resource exceeds the maximum number allowed.")
	}
	now := time.Now().UTC()
	e := EventBus{Name: name, ARN: b.eventBusARN(name), Description: description, CreatedAt: now, UpdatedAt: now, Tags: tags}
	return e, buses.Put(tx, name, e)
}

// EventBus returns the bus with the given name.
func (b *Bus) EventBus(tx *store.Tx, name string) (EventBus, error) {
	e, ok, err := buses.Get(tx, name)
	if err != nil {
		return e, err
	}
	if !ok && name == DefaultBus {
		return EventBus{Name: DefaultBus, ARN: b.eventBusARN(DefaultBus)}, nil
	}
	if !ok {
		return e, refuse(CodeNotFound, "Event bus %s does not exist.", name)
	}
	return e, nil
}

// EventBuses returns the buses whose name begins with prefix, in the order of their names.
func (b *Bus) EventBuses(tx *store.Tx, prefix string) ([]EventBus, error) {
	entries, err := buses.List(tx, prefix, "", 0)
	if err != nil {
		return nil, err
	}
	var list []EventBus
	for _, e := range entries {
		list = append(list, e.Value)
	}
	if strings.HasPrefix(DefaultBus, prefix) && !slices.ContainsFunc(list, func(e EventBus) bool { return e.Name == DefaultBus }) {
		e, err := b.EventBus(tx, DefaultBus)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(x, y EventBus) int { return strings.Compare(x.Name, y.Name) })
	return list, nil
}

// DeleteEventBus removes a custom bus. One that is not there is no error, as on AWS.
func (b *Bus) DeleteEventBus(tx *store.Tx, name string) error {
	if name == DefaultBus {
		return refuse(CodeValidation, "Cannot delete event bus default.")
	}
	if list, err := rules.List(tx, name+"/", "", 1); err != nil {
		return err
	} else if len(list) > 0 {
		return refuse(CodeValidation, "Event bus %s can't be deleted since it has rules.", name)
	}
	_, err := buses.Delete(tx, name)
	return err
}

// PutRule adds or replaces a rule; the targets and tags of a rule that is replaced stay. r.ARN and r.Targets are not looked
// at.
func (b *Bus) PutRule(tx *store.Tx, r Rule) (Rule, error) {
	if _, err := b.EventBus(tx, r.Bus); err != nil {
		return r, err
	}
	if len(r.Name) > 64 || !nameForm.MatchString(r.Name) {
		return r, refuse(CodeValidation, "1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+", r.Name)
	}
	if r.EventPattern == "" {
		return r, refuse(CodeValidation, "Parameter(s) EventPattern or ScheduleExpression must be specified.")
	}
	if _, err := parsePattern(r.EventPattern); err != nil {
		return r, err
	}
	if r.State == "" {
		r.State = Enabled
	}
	r.ARN = b.ruleARN(r.Bus, r.Name)
	old, exists, err := rules.Get(tx, r.Bus+"/"+r.Name)
	if err != nil {
		return r, err
	}
	r.Targets = old.Targets
	if exists {
		r.Tags = old.Tags
	} else if list, err := rules.List(tx, r.Bus+"/", "", 0); err != nil {
		return r, err
	} else if len(list) >= maxRulesPerBus {
		return r, refuse(CodeLimitExceeded, "The requested resource exceeds the maximum number allowed.")
	}
	return r, b.putRule(tx, r)
}

// parsePattern parses an event pattern, with AWS's error for one that is not valid.
func parsePattern(text string) (*pattern.Pattern, error) {
	p, err := pattern.Parse([]byte(text))
	if err != nil {
		return nil, refuse(CodeInvalidPattern, "Event pattern is not valid. Reason: %s", err)
	}
	return p, nil
}

// putRule stores a rule and makes the next event see it.
func (b *Bus) putRule(tx *store.Tx, r Rule) error {
	if err := rules.Put(tx, r.Bus+"/"+r.Name, r); err != nil {
		return err
	}
	return b.changed(tx, r.Bus)
}

// changed gives the rules of a bus a new generation. It is a random number and not a counter, so that a set compiled within
// a transaction that is rolled back is never taken for a later one.
func (b *Bus) changed(tx *store.Tx, bus string) error {
	var n [8]byte
	rand.Read(n[:])
	return tx.SetCursor(generation(bus), binary.NativeEndian.Uint64(n[:]))
}

func generation(bus string) string { return "bus/" + bus }

// Rule returns a rule with its targets.
func (b *Bus) Rule(tx *store.Tx, bus, name string) (Rule, error) {
	if _, err := b.EventBus(tx, bus); err != nil {
		return Rule{}, err
	}
	r, ok, err := rules.Get(tx, bus+"/"+name)
	if err == nil && !ok {
		err = refuse(CodeNotFound, "Rule %s does not exist on EventBus %s.", name, bus)
	}
	return r, err
}

// Rules returns the rules of a bus whose name begins with prefix and is greater than after, in the order of their names, at
// most limit of them; limit 0 means all.
func (b *Bus) Rules(tx *store.Tx, bus, prefix, after string, limit int) ([]Rule, error) {
	if _, err := b.EventBus(tx, bus); err != nil {
		return nil, err
	}
	if after != "" {
		after = bus + "/" + after
	}
	entries, err := rules.List(tx, bus+"/"+prefix, after, limit)
	list := make([]Rule, len(entries))
	for i, e := range entries {
		list[i] = e.Value
	}
	return list, err
}

// SetState enables or disables a rule.
func (b *Bus) SetState(tx *store.Tx, bus, name, state string) error {
	r, err := b.Rule(tx, bus, name)
	if err != nil {
		return err
	}
	r.State = state
	return b.putRule(tx, r)
}

// DeleteRule removes a rule that has no targets. One that is not there is no error, as on AWS.
func (b *Bus) DeleteRule(tx *store.Tx, bus, name string) error {
	if _, err := b.EventBus(tx, bus); err != nil {
		return err
	}
	r, ok, err := rules.Get(tx, bus+"/"+name)
	if err != nil || !ok {
		return err
	}
	if len(r.Targets) > 0 {
		return refuse(CodeValidation, "Rule can't be deleted since it has targets.")
	}
	if _, err := rules.Delete(tx, bus+"/"+name); err != nil {
		return err
	}
	return b.changed(tx, bus)
}

// TargetFailure says why one target of a request was not accepted or removed.
type TargetFailure struct {
	ID, Code, Message string
}

// PutTargets adds targets to a rule, or replaces those with the same ids. A target whose ARN nothing here can serve is not
// accepted and returned with the reason; the others are. A mistake in a target's input is an error of the whole request.
func (b *Bus) PutTargets(tx *store.Tx, bus, rule string, targets []Target) ([]TargetFailure, error) {
	r, err := b.Rule(tx, bus, rule)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		if err := checkInput(t); err != nil {
			return nil, err
		}
	}
	merged := map[string]Target{}
	for _, t := range r.Targets {
		merged[t.ID] = t
	}
	var failures []TargetFailure
	for _, t := range targets {
		if err := b.checkARN(t.ARN); err != nil {
			failures = append(failures, TargetFailure{t.ID, CodeValidation, err.Error()})
			continue
		}
		merged[t.ID] = t
	}
	if len(merged) > maxTargets {
		return nil, refuse(CodeLimitExceeded, "The requested resource exceeds the maximum number allowed.")
	}
	r.Targets = slices.SortedFunc(maps.Values(merged), func(x, y Target) int { return strings.Compare(x.ID, y.ID) })
	return failures, b.putRule(tx, r)
}

// checkARN reports why a target's ARN cannot be served.
func (b *Bus) checkARN(s string) error {
	a, ok := parseARN(s)
	if !ok {
		return errors.New("Provided Arn is not in correct format.")
	}
	if a.region != b.o.Region || a.account != b.o.AccountID {
		return errors.New("Target " + s + " is not in Region " + b.o.Region + " of account " + b.o.AccountID + "; this server delivers to no other.")
	}
	if a.service == "events" {
		name, ok := strings.CutPrefix(a.resource, "event-bus/")
		if !ok || !nameForm.MatchString(name) {
			return errors.New("Target " + s + " is not an event bus; of the events service only event buses are targets.")
		}
		return nil
	}
	if b.o.Targets[a.service] == nil {
		return errors.New("Target " + s + " is not supported: this server delivers to SNS topics and event buses.")
	}
	return nil
}

// checkInput reports a mistake in how a target makes its input.
func checkInput(t Target) error {
	n := 0
	if t.Input != nil {
		n++
		if len(*t.Input) > maxInput || !json.Valid([]byte(*t.Input)) {
			return refuse(CodeValidation, "JSON syntax error in input for target %s.", t.ID)
		}
	}
	if t.InputPath != nil {
		n++
		if len(*t.InputPath) > maxInputPath {
			return refuse(CodeValidation, "InputPath for target %s is longer than %d characters.", t.ID, maxInputPath)
		}
		if _, err := parsePath(*t.InputPath); err != nil {
			return refuse(CodeValidation, "InputPath for target %s is invalid.", t.ID)
		}
	}
	if t.InputTransformer != nil {
		n++
		if err := checkTransformer(t.ID, t.InputTransformer); err != nil {
			return err
		}
	}
	if n > 1 {
		return refuse(CodeValidation, "Only one of Input, InputPath, or InputTransformer must be provided for target %s.", t.ID)
	}
	return nil
}

// RemoveTargets removes targets of a rule by their ids; an id that is not there is returned as a failure.
func (b *Bus) RemoveTargets(tx *store.Tx, bus, rule string, ids []string) ([]TargetFailure, error) {
	r, err := b.Rule(tx, bus, rule)
	if err != nil {
		return nil, err
	}
	var failures []TargetFailure
	for _, id := range ids {
		i := slices.IndexFunc(r.Targets, func(t Target) bool { return t.ID == id })
		if i < 0 {
			failures = append(failures, TargetFailure{id, CodeNotFound, "Rule " + rule + " does not have a target with id " + id + "."})
			continue
		}
		r.Targets = slices.Delete(r.Targets, i, i+1)
	}
	return failures, b.putRule(tx, r)
}

// Tags returns the tags of the rule or bus with the given ARN.
func (b *Bus) Tags(tx *store.Tx, resource string) (map[string]string, error) {
	var tags map[string]string
	err := b.tagged(tx, resource, func(t map[string]string) map[string]string { tags = t; return nil }, false)
	return tags, err
}

// Tag adds tags to the rule or bus with the given ARN.
func (b *Bus) Tag(tx *store.Tx, resource string, tags map[string]string) error {
	return b.tagged(tx, resource, func(t map[string]string) map[string]string {
		if t == nil {
			t = map[string]string{}
		}
		maps.Copy(t, tags)
		return t
	}, true)
}

// Untag removes tags from the rule or bus with the given ARN.
func (b *Bus) Untag(tx *store.Tx, resource string, keys []string) error {
	return b.tagged(tx, resource, func(t map[string]string) map[string]string {
		for _, k := range keys {
			delete(t, k)
		}
		return t
	}, true)
}

// tagged shows change the tags of a resource, and stores what it returns if write is set.
func (b *Bus) tagged(tx *store.Tx, resource string, change func(map[string]string) map[string]string, write bool) error {
	if bus, name, ok := b.RuleName(resource); ok {
		r, err := b.Rule(tx, bus, name)
		if err != nil {
			return err
		}
		r.Tags = change(r.Tags)
		if len(r.Tags) > maxTags {
			return refuse(CodeLimitExceeded, "The requested resource exceeds the maximum number allowed.")
		}
		if !write {
			return nil
		}
		return rules.Put(tx, bus+"/"+name, r)
	}
	name := b.BusName(resource)
	if name == resource {
		return refuse(CodeValidation, "Parameter ResourceArn is not valid. Reason: Provided Arn is not in correct format.")
	}
	e, err := b.EventBus(tx, name)
	if err != nil {
		return err
	}
	e.Tags = change(e.Tags)
	if len(e.Tags) > maxTags {
		return refuse(CodeLimitExceeded, "The requested resource exceeds the maximum number allowed.")
	}
	if !write {
		return nil
	}
	return buses.Put(tx, name, e)
}

const maxTags = 50
