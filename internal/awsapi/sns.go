package awsapi

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"regexp"
	"slices"

	"vedette.dev/vedette/internal/awsapi/sns"
	"vedette.dev/vedette/internal/awsapi/wire"
	topics "vedette.dev/vedette/internal/notify/sns"
	"vedette.dev/vedette/internal/store"
)

// SNS implements the SNS API on the topics of an account. Operations that it lacks are answered as not implemented.
type SNS struct {
	sns.Unimplemented

	account string
	db      *store.DB
	topics  *topics.Service
}

var _ sns.API = (*SNS)(nil)

// NewSNS returns the implementation of the SNS API for the topics of an account.
func NewSNS(accountID string, db *store.DB, service *topics.Service) *SNS {
	return &SNS{account: accountID, db: db, topics: service}
}

// update runs fn in a write transaction and turns the topics' refusals into the wire's.
func (s *SNS) update(ctx context.Context, fn func(tx *store.Tx) error) error {
	return snsError(s.db.Update(ctx, fn))
}

func (s *SNS) view(ctx context.Context, fn func(tx *store.Tx) error) error {
	return snsError(s.db.View(ctx, fn))
}

func snsError(err error) error {
	var refused *topics.Error
	if errors.As(err, &refused) {
		return &wire.Error{Code: refused.Code, Message: refused.Message, Status: refused.Status}
	}
	return err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// afterToken returns the position that a NextToken stands for.
func afterToken(token *string) (string, error) {
	after, ok := pageKey(token)
	if !ok {
		return "", wire.Errorf("InvalidParameter", 400, "Invalid parameter: NextToken")
	}
	return after, nil
}

func snsTags(tags []sns.Tag) (map[string]string, error) {
	m := map[string]string{}
	for _, t := range tags {
		if _, twice := m[t.Key]; twice {
			return nil, wire.Errorf("InvalidParameter", 400, "Invalid parameter: Duplicated keys are not allowed.")
		}
		m[t.Key] = t.Value
	}
	return m, nil
}

// CreateTopic adds a topic, or returns the one that is there.
func (s *SNS) CreateTopic(ctx context.Context, in *sns.CreateTopicInput) (*sns.CreateTopicOutput, error) {
	if in.DataProtectionPolicy != nil {
		return nil, wire.Errorf("InvalidParameter", 400, "Invalid parameter: DataProtectionPolicy: data protection policies are not supported")
	}
	tags, err := snsTags(in.Tags)
	if err != nil {
		return nil, err
	}
	var t topics.Topic
	if err := s.update(ctx, func(tx *store.Tx) (err error) {
		t, err = s.topics.CreateTopic(tx, in.Name, in.Attributes, tags)
		return err
	}); err != nil {
		return nil, err
	}
	return &sns.CreateTopicOutput{TopicArn: &t.ARN}, nil
}

// DeleteTopic removes a topic with its subscriptions.
func (s *SNS) DeleteTopic(ctx context.Context, in *sns.DeleteTopicInput) (*sns.DeleteTopicOutput, error) {
	return nil, s.update(ctx, func(tx *store.Tx) error { return s.topics.DeleteTopic(tx, in.TopicArn) })
}

// ListTopics lists the topics by name.
func (s *SNS) ListTopics(ctx context.Context, in *sns.ListTopicsInput) (*sns.ListTopicsOutput, error) {
	after, err := afterToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	var list []topics.Topic
	if err := s.view(ctx, func(tx *store.Tx) (err error) { list, err = s.topics.Topics(tx, after, listSize+1); return err }); err != nil {
		return nil, err
	}
	out := &sns.ListTopicsOutput{Topics: []sns.Topic{}}
	if len(list) > listSize {
		list = list[:listSize]
		out.NextToken = pageToken(list[listSize-1].Name)
	}
	for _, t := range list {
		out.Topics = append(out.Topics, sns.Topic{TopicArn: new(t.ARN)})
	}
	return out, nil
}

// GetTopicAttributes returns the attributes of a topic.
func (s *SNS) GetTopicAttributes(ctx context.Context, in *sns.GetTopicAttributesInput) (*sns.GetTopicAttributesOutput, error) {
	out := &sns.GetTopicAttributesOutput{}
	return out, s.view(ctx, func(tx *store.Tx) (err error) {
		out.Attributes, err = s.topics.TopicAttributes(tx, in.TopicArn)
		return err
	})
}

// SetTopicAttributes sets an attribute of a topic.
func (s *SNS) SetTopicAttributes(ctx context.Context, in *sns.SetTopicAttributesInput) (*sns.SetTopicAttributesOutput, error) {
	return nil, s.update(ctx, func(tx *store.Tx) error {
		return s.topics.SetTopicAttribute(tx, in.TopicArn, in.AttributeName, deref(in.AttributeValue))
	})
}

// Subscribe adds a subscription and asks its endpoint to confirm it.
func (s *SNS) Subscribe(ctx context.Context, in *sns.SubscribeInput) (*sns.SubscribeOutput, error) {
	var sub topics.Subscription
	if err := s.update(ctx, func(tx *store.Tx) (err error) {
		sub, err = s.topics.Subscribe(tx, in.TopicArn, in.Protocol, deref(in.Endpoint), in.Attributes)
		return err
	}); err != nil {
		return nil, err
	}
	if sub.Pending && (in.ReturnSubscriptionArn == nil || !*in.ReturnSubscriptionArn) {
		return &sns.SubscribeOutput{SubscriptionArn: new("pending confirmation")}, nil
	}
	return &sns.SubscribeOutput{SubscriptionArn: &sub.ARN}, nil
}

// ConfirmSubscription activates a subscription with its token. It needs no signature.
func (s *SNS) ConfirmSubscription(ctx context.Context, in *sns.ConfirmSubscriptionInput) (*sns.ConfirmSubscriptionOutput, error) {
	authenticated := Caller(ctx) != ""
	guard := deref(in.AuthenticateOnUnsubscribe) == "true"
	if guard && !authenticated {
		return nil, wire.Errorf("AuthorizationError", 403, "AuthenticateOnUnsubscribe needs a signed request.")
	}
	sub, err := s.topics.ConfirmToken(ctx, in.TopicArn, in.Token, authenticated, guard)
	if err != nil {
		return nil, snsError(err)
	}
	return &sns.ConfirmSubscriptionOutput{SubscriptionArn: &sub.ARN}, nil
}

// Unsubscribe ends a subscription. It needs no signature unless the confirmation asked for one.
func (s *SNS) Unsubscribe(ctx context.Context, in *sns.UnsubscribeInput) (*sns.UnsubscribeOutput, error) {
	if Caller(ctx) == "" {
		// Anybody may ask; the writer is only asked for a subscription that is there.
		var refused *wire.Error
		err := s.view(ctx, func(tx *store.Tx) error { _, err := s.topics.Subscription(tx, in.SubscriptionArn); return err })
		if errors.As(err, &refused) && refused.Code == "NotFound" {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, s.update(ctx, func(tx *store.Tx) error { return s.topics.Unsubscribe(tx, in.SubscriptionArn, Caller(ctx) != "") })
}

// listed is a subscription as lists show it.
func (s *SNS) listed(sub topics.Subscription) sns.Subscription {
	arn := sub.ARN
	if sub.Pending {
		arn = topics.PendingARN
	}
	return sns.Subscription{SubscriptionArn: &arn, TopicArn: &sub.TopicARN, Protocol: &sub.Protocol, Endpoint: &sub.Endpoint, Owner: &s.account}
}

func (s *SNS) subscriptions(ctx context.Context, topic string, token *string) ([]sns.Subscription, *string, error) {
	after, err := afterToken(token)
	if err != nil {
		return nil, nil, err
	}
	var list []topics.Subscription
	next := ""
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		list, next, err = s.topics.Subscriptions(tx, topic, after, listSize)
		return err
	}); err != nil {
		return nil, nil, err
	}
	out := []sns.Subscription{}
	for _, sub := range list {
		out = append(out, s.listed(sub))
	}
	return out, pageToken(next), nil
}

// ListSubscriptions lists all subscriptions.
func (s *SNS) ListSubscriptions(ctx context.Context, in *sns.ListSubscriptionsInput) (*sns.ListSubscriptionsOutput, error) {
	list, next, err := s.subscriptions(ctx, "", in.NextToken)
	return &sns.ListSubscriptionsOutput{Subscriptions: list, NextToken: next}, err
}

// ListSubscriptionsByTopic lists the subscriptions of a topic.
func (s *SNS) ListSubscriptionsByTopic(ctx context.Context, in *sns.ListSubscriptionsByTopicInput) (*sns.ListSubscriptionsByTopicOutput, error) {
	if in.TopicArn == "" {
		return nil, wire.Errorf("InvalidParameter", 400, "Invalid parameter: TopicArn")
	}
	list, next, err := s.subscriptions(ctx, in.TopicArn, in.NextToken)
	return &sns.ListSubscriptionsByTopicOutput{Subscriptions: list, NextToken: next}, err
}

// GetSubscriptionAttributes returns the attributes of a subscription.
func (s *SNS) GetSubscriptionAttributes(ctx context.Context, in *sns.GetSubscriptionAttributesInput) (*sns.GetSubscriptionAttributesOutput, error) {
	out := &sns.GetSubscriptionAttributesOutput{}
	return out, s.view(ctx, func(tx *store.Tx) (err error) {
		out.Attributes, err = s.topics.SubscriptionAttributes(tx, in.SubscriptionArn)
		return err
	})
}

// SetSubscriptionAttributes sets an attribute of a subscription.
func (s *SNS) SetSubscriptionAttributes(ctx context.Context, in *sns.SetSubscriptionAttributesInput) (*sns.SetSubscriptionAttributesOutput, error) {
	return nil, s.update(ctx, func(tx *store.Tx) error {
		return s.topics.SetSubscriptionAttribute(tx, in.SubscriptionArn, in.AttributeName, deref(in.AttributeValue))
	})
}

// message turns the members of a request into a message.
func message(text string, subject, structure *string, attributes map[string]sns.MessageAttributeValue) (topics.Message, error) {
	m := topics.Message{Message: text, Structure: deref(structure), Attributes: map[string]topics.Attribute{}}
	if subject != nil {
		if m.Subject = *subject; m.Subject == "" {
			return m, wire.Errorf("InvalidParameter", 400, "Invalid parameter: Subject")
		}
	}
	for name, a := range attributes {
		binary := a.DataType == "Binary" || len(a.DataType) > 7 && a.DataType[:7] == "Binary."
		switch {
		case binary && a.StringValue != nil:
			return m, wire.Errorf("ParameterValueInvalid", 400, "The message attribute '%s' with type '%s' must use field 'Binary'.", name, a.DataType)
		case !binary && len(a.BinaryValue) > 0:
			return m, wire.Errorf("ParameterValueInvalid", 400, "The message attribute '%s' with type '%s' must use field 'String'.", name, a.DataType)
		case binary:
			m.Attributes[name] = topics.Attribute{Type: a.DataType, Value: base64.StdEncoding.EncodeToString(a.BinaryValue)}
		default:
			m.Attributes[name] = topics.Attribute{Type: a.DataType, Value: deref(a.StringValue)}
		}
	}
	return m, nil
}

// Publish sends a message to the subscribers of a topic.
func (s *SNS) Publish(ctx context.Context, in *sns.PublishInput) (*sns.PublishOutput, error) {
	arn := or(deref(in.TopicArn), deref(in.TargetArn))
	switch {
	case in.PhoneNumber != nil:
		return nil, wire.Errorf("InvalidParameter", 400, "Invalid parameter: PhoneNumber Reason: text messages are not supported")
	case in.TopicArn != nil && in.TargetArn != nil:
		return nil, wire.Errorf("InvalidParameter", 400, "Invalid parameter: TopicArn or TargetArn, not both")
	case arn == "":
		return nil, wire.Errorf("InvalidParameter", 400, "Invalid parameter: TopicArn or TargetArn Reason: no value for required parameter")
	case in.MessageGroupId != nil || in.MessageDeduplicationId != nil:
		return nil, wire.Errorf("InvalidParameter", 400, "Invalid parameter: MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type")
	}
	m, err := message(in.Message, in.Subject, in.MessageStructure, in.MessageAttributes)
	if err != nil {
		return nil, err
	}
	var id string
	if err := s.update(ctx, func(tx *store.Tx) (err error) { id, err = s.topics.Publish(tx, arn, m); return err }); err != nil {
		return nil, err
	}
	return &sns.PublishOutput{MessageId: &id}, nil
}

var batchID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

const (
	maxBatch      = 10
	maxBatchBytes = 1 << 20 // as large as the largest message; the topic's own limit holds for each
	maxBatchID    = 80
)

// PublishBatch sends up to ten messages. One that is refused fails alone.
func (s *SNS) PublishBatch(ctx context.Context, in *sns.PublishBatchInput) (*sns.PublishBatchOutput, error) {
	entries := in.PublishBatchRequestEntries
	if len(entries) == 0 {
		return nil, wire.Errorf("EmptyBatchRequest", 400, "The batch request doesn't contain any entries.")
	}
	if len(entries) > maxBatch {
		return nil, wire.Errorf("TooManyEntriesInBatchRequest", 400, "The batch request contains more entries than permissible.")
	}
	seen, size := map[string]bool{}, 0
	for _, e := range entries {
		switch {
		case len(e.Id) > maxBatchID:
			return nil, wire.Errorf("InvalidBatchEntryId", 400, "The Id of a batch entry in the batch request is too long: %s", e.Id)
		case !batchID.MatchString(e.Id):
			return nil, wire.Errorf("InvalidBatchEntryId", 400, "The Id of a batch entry in the batch request contains an impermissible character: %s", e.Id)
		case seen[e.Id]:
			return nil, wire.Errorf("BatchEntryIdsNotDistinct", 400, "Two or more batch entries in the request have the same Id.")
		}
		seen[e.Id] = true
		size += len(e.Message)
		for name, a := range e.MessageAttributes {
			size += len(name) + len(a.DataType) + len(deref(a.StringValue)) + len(a.BinaryValue)
		}
	}
	if size > maxBatchBytes {
		return nil, wire.Errorf("BatchRequestTooLong", 400, "The length of all the messages put together is more than the limit.")
	}
	out := &sns.PublishBatchOutput{}
	err := s.update(ctx, func(tx *store.Tx) error {
		out.Successful, out.Failed = []sns.PublishBatchResultEntry{}, []sns.BatchResultErrorEntry{}
		if _, err := s.topics.Topic(tx, in.TopicArn); err != nil {
			return err
		}
		for _, e := range entries {
			m, err := message(e.Message, e.Subject, e.MessageStructure, e.MessageAttributes)
			if err == nil && (e.MessageGroupId != nil || e.MessageDeduplicationId != nil) {
				err = wire.Errorf("InvalidParameter", 400, "Invalid parameter: MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type")
			}
			var id string
			if err == nil {
				id, err = s.topics.Publish(tx, in.TopicArn, m)
			}
			var refused *wire.Error
			switch err = snsError(err); {
			case err == nil:
				out.Successful = append(out.Successful, sns.PublishBatchResultEntry{Id: new(e.Id), MessageId: &id})
			case errors.As(err, &refused):
				out.Failed = append(out.Failed, sns.BatchResultErrorEntry{Id: e.Id, Code: refused.Code, Message: new(refused.Message), SenderFault: true})
			default:
				return err
			}
		}
		return nil
	})
	return out, err
}

// TagResource adds tags to a topic.
func (s *SNS) TagResource(ctx context.Context, in *sns.TagResourceInput) (*sns.TagResourceOutput, error) {
	tags, err := snsTags(in.Tags)
	if err != nil {
		return nil, err
	}
	return nil, s.update(ctx, func(tx *store.Tx) error { return s.topics.SetTags(tx, in.ResourceArn, tags, nil) })
}

// UntagResource removes tags of a topic.
func (s *SNS) UntagResource(ctx context.Context, in *sns.UntagResourceInput) (*sns.UntagResourceOutput, error) {
	return nil, s.update(ctx, func(tx *store.Tx) error { return s.topics.SetTags(tx, in.ResourceArn, nil, in.TagKeys) })
}

// ListTagsForResource lists the tags of a topic by key.
func (s *SNS) ListTagsForResource(ctx context.Context, in *sns.ListTagsForResourceInput) (*sns.ListTagsForResourceOutput, error) {
	var tags map[string]string
	if err := s.view(ctx, func(tx *store.Tx) (err error) { tags, err = s.topics.Tags(tx, in.ResourceArn); return err }); err != nil {
		return nil, err
	}
	out := &sns.ListTagsForResourceOutput{Tags: []sns.Tag{}}
	for _, k := range sortedKeys(tags) {
		out.Tags = append(out.Tags, sns.Tag{Key: k, Value: tags[k]})
	}
	return out, nil
}
