package awsapi

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"vedette.dev/vedette/internal/awsapi/eventbridge"
	"vedette.dev/vedette/internal/awsapi/wire"
	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/store"
)

// EventBridge implements the EventBridge API on an event bus. Operations that it lacks are answered as not implemented.
type EventBridge struct {
	eventbridge.Unimplemented

	account string
	db      *store.DB
	bus     *bus.Bus
}

var _ eventbridge.API = (*EventBridge)(nil)

// NewEventBridge returns the implementation of the EventBridge API for the buses of an account.
func NewEventBridge(accountID string, db *store.DB, b *bus.Bus) *EventBridge {
	return &EventBridge{account: accountID, db: db, bus: b}
}

// update runs fn in a write transaction and turns the bus's refusals into the wire's.
func (e *EventBridge) update(ctx context.Context, fn func(tx *store.Tx) error) error {
	return eventsError(e.db.Update(ctx, fn))
}

func (e *EventBridge) view(ctx context.Context, fn func(tx *store.Tx) error) error {
	return eventsError(e.db.View(ctx, fn))
}

func eventsError(err error) error {
	var refused *bus.Error
	if errors.As(err, &refused) {
		return &wire.Error{Code: refused.Code, Message: refused.Message}
	}
	return err
}

// listSize is the largest and the default size of a page in EventBridge and SNS.
const listSize = 100

// limitOf returns the size of a page.
func limitOf(limit *int64) int {
	if limit == nil || *limit < 1 || *limit > listSize {
		return listSize
	}
	return int(*limit)
}

// A page token is the key of the last entry of the page before, made opaque.
func pageToken(key string) *string {
	if key == "" {
		return nil
	}
	return new(base64.RawURLEncoding.EncodeToString([]byte(key)))
}

func pageKey(token *string) (key string, ok bool) {
	if token == nil || *token == "" {
		return "", true
	}
	b, err := base64.RawURLEncoding.DecodeString(*token)
	return string(b), err == nil
}

// part returns the part of a list behind a token, and the token of the next part.
func part[T any](list []T, key func(T) string, limit *int64, token *string) ([]T, *string, error) {
	after, ok := pageKey(token)
	if !ok {
		return nil, nil, wire.Errorf("ValidationException", 400, "Parameter NextToken is not valid.")
	}
	for len(list) > 0 && after != "" && key(list[0]) <= after {
		list = list[1:]
	}
	if n := limitOf(limit); len(list) > n {
		return list[:n], pageToken(key(list[n-1])), nil
	}
	return list, nil, nil
}

func tagMap(tags []eventbridge.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

// CreateEventBus adds a custom bus.
func (e *EventBridge) CreateEventBus(ctx context.Context, in *eventbridge.CreateEventBusInput) (*eventbridge.CreateEventBusOutput, error) {
	switch {
	case in.EventSourceName != nil:
		return nil, wire.Errorf("ValidationException", 400, "Parameter EventSourceName is not valid. Reason: partner event sources are not supported.")
	case in.DeadLetterConfig != nil, in.KmsKeyIdentifier != nil, in.LogConfig != nil:
		return nil, wire.Errorf("ValidationException", 400, "DeadLetterConfig, KmsKeyIdentifier and LogConfig of event buses are not supported.")
	}
	var made bus.EventBus
	err := e.update(ctx, func(tx *store.Tx) (err error) {
		made, err = e.bus.CreateEventBus(tx, in.Name, deref(in.Description), tagMap(in.Tags))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.CreateEventBusOutput{EventBusArn: &made.ARN, Description: in.Description}, nil
}

// DescribeEventBus describes a bus.
func (e *EventBridge) DescribeEventBus(ctx context.Context, in *eventbridge.DescribeEventBusInput) (*eventbridge.DescribeEventBusOutput, error) {
	var b bus.EventBus
	err := e.view(ctx, func(tx *store.Tx) (err error) {
		b, err = e.bus.EventBus(tx, e.bus.BusName(deref(in.Name)))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.DescribeEventBusOutput{Name: &b.Name, Arn: &b.ARN, Description: optional(b.Description),
		CreationTime: moment(b.CreatedAt), LastModifiedTime: moment(b.UpdatedAt)}, nil
}

// ListEventBuses lists the buses by name.
func (e *EventBridge) ListEventBuses(ctx context.Context, in *eventbridge.ListEventBusesInput) (*eventbridge.ListEventBusesOutput, error) {
	var list []bus.EventBus
	if err := e.view(ctx, func(tx *store.Tx) (err error) { list, err = e.bus.EventBuses(tx, deref(in.NamePrefix)); return err }); err != nil {
		return nil, err
	}
	list, next, err := part(list, func(b bus.EventBus) string { return b.Name }, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &eventbridge.ListEventBusesOutput{NextToken: next, EventBuses: []eventbridge.EventBus{}}
	for _, b := range list {
		out.EventBuses = append(out.EventBuses, eventbridge.EventBus{Name: new(b.Name), Arn: new(b.ARN), Description: optional(b.Description),
			CreationTime: moment(b.CreatedAt), LastModifiedTime: moment(b.UpdatedAt)})
	}
	return out, nil
}

// DeleteEventBus removes a custom bus that has no rules.
func (e *EventBridge) DeleteEventBus(ctx context.Context, in *eventbridge.DeleteEventBusInput) (*eventbridge.DeleteEventBusOutput, error) {
	return nil, e.update(ctx, func(tx *store.Tx) error { return e.bus.DeleteEventBus(tx, e.bus.BusName(in.Name)) })
}

// PutRule adds or replaces a rule.
func (e *EventBridge) PutRule(ctx context.Context, in *eventbridge.PutRuleInput) (*eventbridge.PutRuleOutput, error) {
	if in.ScheduleExpression != nil {
		return nil, wire.Errorf("ValidationException", 400, "Parameter ScheduleExpression is not valid. Reason: scheduled rules are not supported; give an EventPattern.")
	}
	r := bus.Rule{Name: in.Name, Bus: e.bus.BusName(deref(in.EventBusName)), EventPattern: deref(in.EventPattern), State: deref(in.State),
		Description: deref(in.Description), RoleARN: deref(in.RoleArn), Tags: tagMap(in.Tags)}
	err := e.update(ctx, func(tx *store.Tx) (err error) {
		r, err = e.bus.PutRule(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.PutRuleOutput{RuleArn: &r.ARN}, nil
}

// rule returns the rule that a request names.
func (e *EventBridge) rule(ctx context.Context, busName *string, name string) (r bus.Rule, err error) {
	err = e.view(ctx, func(tx *store.Tx) (err error) {
		r, err = e.bus.Rule(tx, e.bus.BusName(deref(busName)), name)
		return err
	})
	return r, err
}

// DescribeRule describes a rule.
func (e *EventBridge) DescribeRule(ctx context.Context, in *eventbridge.DescribeRuleInput) (*eventbridge.DescribeRuleOutput, error) {
	r, err := e.rule(ctx, in.EventBusName, in.Name)
	if err != nil {
		return nil, err
	}
	return &eventbridge.DescribeRuleOutput{Name: &r.Name, Arn: &r.ARN, EventPattern: &r.EventPattern, State: &r.State, EventBusName: &r.Bus,
		Description: optional(r.Description), RoleArn: optional(r.RoleARN), CreatedBy: &e.account}, nil
}

// ListRules lists the rules of a bus by name.
func (e *EventBridge) ListRules(ctx context.Context, in *eventbridge.ListRulesInput) (*eventbridge.ListRulesOutput, error) {
	var list []bus.Rule
	if err := e.view(ctx, func(tx *store.Tx) (err error) {
		list, err = e.bus.Rules(tx, e.bus.BusName(deref(in.EventBusName)), deref(in.NamePrefix), "", 0)
		return err
	}); err != nil {
		return nil, err
	}
	list, next, err := part(list, func(r bus.Rule) string { return r.Name }, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &eventbridge.ListRulesOutput{NextToken: next, Rules: []eventbridge.Rule{}}
	for _, r := range list {
		out.Rules = append(out.Rules, eventbridge.Rule{Name: new(r.Name), Arn: new(r.ARN), EventPattern: new(r.EventPattern), State: new(r.State), EventBusName: new(r.Bus),
			Description: optional(r.Description), RoleArn: optional(r.RoleARN)})
	}
	return out, nil
}

// DeleteRule removes a rule that has no targets.
func (e *EventBridge) DeleteRule(ctx context.Context, in *eventbridge.DeleteRuleInput) (*eventbridge.DeleteRuleOutput, error) {
	return nil, e.update(ctx, func(tx *store.Tx) error { return e.bus.DeleteRule(tx, e.bus.BusName(deref(in.EventBusName)), in.Name) })
}

// EnableRule makes a rule match.
func (e *EventBridge) EnableRule(ctx context.Context, in *eventbridge.EnableRuleInput) (*eventbridge.EnableRuleOutput, error) {
	return nil, e.update(ctx, func(tx *store.Tx) error {
		return e.bus.SetState(tx, e.bus.BusName(deref(in.EventBusName)), in.Name, bus.Enabled)
	})
}

// DisableRule stops a rule from matching.
func (e *EventBridge) DisableRule(ctx context.Context, in *eventbridge.DisableRuleInput) (*eventbridge.DisableRuleOutput, error) {
	return nil, e.update(ctx, func(tx *store.Tx) error {
		return e.bus.SetState(tx, e.bus.BusName(deref(in.EventBusName)), in.Name, bus.Disabled)
	})
}

// unsupported returns what a target asks for that nothing here can do.
func unsupported(t *eventbridge.Target) string {
	switch {
	case t.DeadLetterConfig != nil:
		return "DeadLetterConfig is not supported: there are no SQS queues here; deliveries that are given up are kept as dead letters by the server."
	case t.AppSyncParameters != nil, t.BatchParameters != nil, t.EcsParameters != nil, t.HttpParameters != nil, t.KinesisParameters != nil,
		t.RedshiftDataParameters != nil, t.RunCommandParameters != nil, t.SageMakerPipelineParameters != nil, t.SqsParameters != nil:
		return "Parameters of other services than SNS and event buses are not supported."
	}
	return ""
}

// PutTargets adds or replaces targets of a rule.
func (e *EventBridge) PutTargets(ctx context.Context, in *eventbridge.PutTargetsInput) (*eventbridge.PutTargetsOutput, error) {
	var failures []bus.TargetFailure
	var targets []bus.Target
	for i := range in.Targets {
		t := &in.Targets[i]
		if reason := unsupported(t); reason != "" {
			failures = append(failures, bus.TargetFailure{ID: t.Id, Code: "ValidationException", Message: reason})
			continue
		}
		target := bus.Target{ID: t.Id, ARN: t.Arn, RoleARN: deref(t.RoleArn), Input: t.Input, InputPath: t.InputPath}
		if t.InputTransformer != nil {
			target.InputTransformer = &bus.InputTransformer{InputPathsMap: t.InputTransformer.InputPathsMap, InputTemplate: t.InputTransformer.InputTemplate}
		}
		if p := t.RetryPolicy; p != nil {
			target.RetryPolicy = &bus.RetryPolicy{MaximumRetryAttempts: narrow(p.MaximumRetryAttempts), MaximumEventAgeInSeconds: narrow(p.MaximumEventAgeInSeconds)}
		}
		targets = append(targets, target)
	}
	err := e.update(ctx, func(tx *store.Tx) error {
		more, err := e.bus.PutTargets(tx, e.bus.BusName(deref(in.EventBusName)), in.Rule, targets)
		if err == nil {
			failures = append(failures, more...)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &eventbridge.PutTargetsOutput{FailedEntryCount: new(int64(len(failures))), FailedEntries: []eventbridge.PutTargetsResultEntry{}}
	for _, f := range failures {
		out.FailedEntries = append(out.FailedEntries, eventbridge.PutTargetsResultEntry{TargetId: new(f.ID), ErrorCode: new(f.Code), ErrorMessage: new(f.Message)})
	}
	return out, nil
}

// ListTargetsByRule lists the targets of a rule by id.
func (e *EventBridge) ListTargetsByRule(ctx context.Context, in *eventbridge.ListTargetsByRuleInput) (*eventbridge.ListTargetsByRuleOutput, error) {
	r, err := e.rule(ctx, in.EventBusName, in.Rule)
	if err != nil {
		return nil, err
	}
	list, next, err := part(r.Targets, func(t bus.Target) string { return t.ID }, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &eventbridge.ListTargetsByRuleOutput{NextToken: next, Targets: []eventbridge.Target{}}
	for _, t := range list {
		target := eventbridge.Target{Id: t.ID, Arn: t.ARN, RoleArn: optional(t.RoleARN), Input: t.Input, InputPath: t.InputPath}
		if x := t.InputTransformer; x != nil {
			target.InputTransformer = &eventbridge.InputTransformer{InputPathsMap: x.InputPathsMap, InputTemplate: x.InputTemplate}
		}
		if p := t.RetryPolicy; p != nil {
			target.RetryPolicy = &eventbridge.RetryPolicy{MaximumRetryAttempts: widen(p.MaximumRetryAttempts), MaximumEventAgeInSeconds: widen(p.MaximumEventAgeInSeconds)}
		}
		out.Targets = append(out.Targets, target)
	}
	return out, nil
}

// RemoveTargets removes targets of a rule.
func (e *EventBridge) RemoveTargets(ctx context.Context, in *eventbridge.RemoveTargetsInput) (*eventbridge.RemoveTargetsOutput, error) {
	var failures []bus.TargetFailure
	if err := e.update(ctx, func(tx *store.Tx) (err error) {
		failures, err = e.bus.RemoveTargets(tx, e.bus.BusName(deref(in.EventBusName)), in.Rule, in.Ids)
		return err
	}); err != nil {
		return nil, err
	}
	out := &eventbridge.RemoveTargetsOutput{FailedEntryCount: new(int64(len(failures))), FailedEntries: []eventbridge.RemoveTargetsResultEntry{}}
	for _, f := range failures {
		out.FailedEntries = append(out.FailedEntries, eventbridge.RemoveTargetsResultEntry{TargetId: new(f.ID), ErrorCode: new(f.Code), ErrorMessage: new(f.Message)})
	}
	return out, nil
}

// ListRuleNamesByTarget lists the rules of a bus that have a target with the given ARN.
func (e *EventBridge) ListRuleNamesByTarget(ctx context.Context, in *eventbridge.ListRuleNamesByTargetInput) (*eventbridge.ListRuleNamesByTargetOutput, error) {
	var names []string
	if err := e.view(ctx, func(tx *store.Tx) error {
		rules, err := e.bus.Rules(tx, e.bus.BusName(deref(in.EventBusName)), "", "", 0)
		for _, r := range rules {
			for _, t := range r.Targets {
				if t.ARN == in.TargetArn {
					names = append(names, r.Name)
					break
				}
			}
		}
		return err
	}); err != nil {
		return nil, err
	}
	names, next, err := part(names, func(s string) string { return s }, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	if names == nil {
		names = []string{}
	}
	return &eventbridge.ListRuleNamesByTargetOutput{RuleNames: names, NextToken: next}, nil
}

// PutEvents sends events to buses.
func (e *EventBridge) PutEvents(ctx context.Context, in *eventbridge.PutEventsInput) (*eventbridge.PutEventsOutput, error) {
	if in.EndpointId != nil {
		return nil, wire.Errorf("ValidationException", 400, "Parameter EndpointId is not valid. Reason: global endpoints are not supported.")
	}
	entries := make([]bus.Entry, len(in.Entries))
	for i, x := range in.Entries {
		entries[i] = bus.Entry{Source: deref(x.Source), DetailType: deref(x.DetailType), Detail: deref(x.Detail), Resources: x.Resources, EventBusName: deref(x.EventBusName)}
		if x.Time != nil {
			entries[i].Time = *x.Time
		}
	}
	var results []bus.EntryResult
	if err := e.update(ctx, func(tx *store.Tx) (err error) { results, err = e.bus.PutEvents(tx, entries); return err }); err != nil {
		return nil, err
	}
	out := &eventbridge.PutEventsOutput{Entries: make([]eventbridge.PutEventsResultEntry, len(results))}
	failed := int64(0)
	for i, r := range results {
		out.Entries[i] = eventbridge.PutEventsResultEntry{EventId: optional(r.EventID), ErrorCode: optional(r.ErrorCode), ErrorMessage: optional(r.Message)}
		if r.ErrorCode != "" {
			failed++
		}
	}
	out.FailedEntryCount = &failed
	return out, nil
}

// TestEventPattern tells whether an event matches a pattern.
func (e *EventBridge) TestEventPattern(_ context.Context, in *eventbridge.TestEventPatternInput) (*eventbridge.TestEventPatternOutput, error) {
	matches, err := e.bus.TestEventPattern(in.EventPattern, in.Event)
	if err != nil {
		return nil, eventsError(err)
	}
	return &eventbridge.TestEventPatternOutput{Result: &matches}, nil
}

// TagResource adds tags to a rule or bus.
func (e *EventBridge) TagResource(ctx context.Context, in *eventbridge.TagResourceInput) (*eventbridge.TagResourceOutput, error) {
	return nil, e.update(ctx, func(tx *store.Tx) error { return e.bus.Tag(tx, in.ResourceARN, tagMap(in.Tags)) })
}

// UntagResource removes tags of a rule or bus.
func (e *EventBridge) UntagResource(ctx context.Context, in *eventbridge.UntagResourceInput) (*eventbridge.UntagResourceOutput, error) {
	return nil, e.update(ctx, func(tx *store.Tx) error { return e.bus.Untag(tx, in.ResourceARN, in.TagKeys) })
}

// ListTagsForResource lists the tags of a rule or bus by key.
func (e *EventBridge) ListTagsForResource(ctx context.Context, in *eventbridge.ListTagsForResourceInput) (*eventbridge.ListTagsForResourceOutput, error) {
	var tags map[string]string
	if err := e.view(ctx, func(tx *store.Tx) (err error) { tags, err = e.bus.Tags(tx, in.ResourceARN); return err }); err != nil {
		return nil, err
	}
	out := &eventbridge.ListTagsForResourceOutput{Tags: []eventbridge.Tag{}}
	for _, k := range sortedKeys(tags) {
		out.Tags = append(out.Tags, eventbridge.Tag{Key: k, Value: tags[k]})
	}
	return out, nil
}

// optional returns nil for the empty string.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// moment returns nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func narrow(n *int64) *int {
	if n == nil {
		return nil
	}
	return new(int(*n))
}

func widen(n *int) *int64 {
	if n == nil {
		return nil
	}
	return new(int64(*n))
}
