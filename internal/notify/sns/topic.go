package sns

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"vedette.dev/vedette/internal/store"
)

// Topic is a topic.
type Topic struct {
	Name       string            `json:"name"`
	ARN        string            `json:"arn"`
	Attributes map[string]string `json:"attributes,omitempty"` // those that were set
	Tags       map[string]string `json:"tags,omitempty"`
	CreatedAt  time.Time         `json:"createdAt"`
}

// DisplayName returns what mails show as their sender; it may be empty.
func (t *Topic) DisplayName() string { return t.Attributes["DisplayName"] }

// The collections. A topic's key is its name, a subscription's TOPIC/UUID.
const (
	topics        store.Documents[Topic]        = "topic"
	subscriptions store.Documents[Subscription] = "subscription"
)

const (
	maxPolicy         = 30 << 10
	maxTopics         = 100_000
	maxTags           = 50
	defaultMaxMessage = 262_144
	largestMaxMessage = 1 << 20
)

var topicName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

func (s *Service) topicARN(name string) string {
	return "arn:aws:sns:" + s.o.Region + ":" + s.o.AccountID + ":" + name
}

// nameOf returns the name in a topic's ARN. parameter is what the request calls the ARN.
func (s *Service) nameOf(parameter, arn string) (string, error) {
	parts := strings.Split(arn, ":")
	if len(parts) < 6 {
		return "", invalid("%s Reason: An ARN must have at least 6 elements, not %d", parameter, len(parts))
	}
	if parts[0] != "arn" || parts[2] != "sns" || parts[5] == "" {
		return "", invalid("%s", parameter)
	}
	if parts[3] != s.o.Region || parts[4] != s.o.AccountID {
		return "", notFound("Topic")
	}
	return parts[5], nil
}

// Topic returns the topic with the given ARN.
func (s *Service) Topic(tx *store.Tx, arn string) (Topic, error) {
	name, err := s.nameOf("TopicArn", arn)
	if err != nil {
		return Topic{}, err
	}
	t, ok, err := topics.Get(tx, name)
	if err == nil && (!ok || t.ARN != arn) {
		err = notFound("Topic")
	}
	return t, err
}

// CreateTopic adds a topic. One that is there already is returned, if it agrees.
func (s *Service) CreateTopic(tx *store.Tx, name string, attributes, tags map[string]string) (Topic, error) {
	if strings.HasSuffix(name, ".fifo") || attributes["FifoTopic"] == "true" {
		return Topic{}, invalid("Attributes Reason: FIFO topics are not supported")
	}
	if !topicName.MatchString(name) {
		return Topic{}, invalid("Topic Name")
	}
	if len(tags) > maxTags {
		return Topic{}, &Error{"TagLimitExceeded", 400, "Could not complete request: tag quota of per resource exceeded"}
	}
	wanted := map[string]string{}
	for k, v := range attributes {
		if k == "FifoTopic" {
			continue
		}
		if err := checkTopicAttribute(k, v); err != nil {
			var e *Error
			if errors.As(err, &e) && strings.HasPrefix(e.Message, "Invalid parameter: ") {
				return Topic{}, invalid("Attributes Reason: %s", strings.TrimPrefix(e.Message, "Invalid parameter: "))
			}
			return Topic{}, err
		}
		wanted[k] = v
	}
	old, ok, err := topics.Get(tx, name)
	if err != nil {
		return Topic{}, err
	}
	if ok {
		for k, v := range wanted {
			if s.topicAttribute(&old, k) != v {
				return Topic{}, invalid("Attributes Reason: Topic already exists with different attributes")
			}
		}
		if len(tags) > 0 && !maps.Equal(tags, old.Tags) {
			return Topic{}, invalid("Tags Reason: Topic already exists with different tags")
		}
		return old, nil
	}
	t := Topic{Name: name, ARN: s.topicARN(name), Attributes: wanted, Tags: tags, CreatedAt: time.Now().UTC()}
	return t, topics.Put(tx, name, t)
}

// DeleteTopic removes a topic and its subscriptions. One that is not there is no error, as on AWS.
func (s *Service) DeleteTopic(tx *store.Tx, arn string) error {
	name, err := s.nameOf("TopicArn", arn)
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == "NotFound" {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := topics.Delete(tx, name); err != nil {
		return err
	}
	list, err := subscriptions.List(tx, name+"/", "", 0)
	if err != nil {
		return err
	}
	for _, e := range list {
		if _, err := subscriptions.Delete(tx, e.Key); err != nil {
			return err
		}
	}
	return nil
}

// Topics returns topics by name, those after the given name, at most limit.
func (s *Service) Topics(tx *store.Tx, after string, limit int) ([]Topic, error) {
	entries, err := topics.List(tx, "", after, limit)
	list := make([]Topic, len(entries))
	for i, e := range entries {
		list[i] = e.Value
	}
	return list, err
}

// TopicAttributes returns what GetTopicAttributes does.
func (s *Service) TopicAttributes(tx *store.Tx, arn string) (map[string]string, error) {
	t, err := s.Topic(tx, arn)
	if err != nil {
		return nil, err
	}
	entries, err := subscriptions.List(tx, t.Name+"/", "", 0)
	if err != nil {
		return nil, err
	}
	var confirmed, pending, deleted int
	for _, e := range entries {
		switch {
		case e.Value.Deleted:
			deleted++
		case e.Value.Pending:
			pending++
		default:
			confirmed++
		}
	}
	all := maps.Clone(t.Attributes)
	if all == nil {
		all = map[string]string{}
	}
	all["TopicArn"] = t.ARN
	all["Owner"] = s.o.AccountID
	all["DisplayName"] = t.DisplayName()
	all["Policy"] = s.topicAttribute(&t, "Policy")
	all["EffectiveDeliveryPolicy"] = effectivePolicy(t.Attributes["DeliveryPolicy"])
	all["SubscriptionsConfirmed"] = strconv.Itoa(confirmed)
	all["SubscriptionsPending"] = strconv.Itoa(pending)
	all["SubscriptionsDeleted"] = strconv.Itoa(deleted)
	return all, nil
}

// topicAttribute returns an attribute that can be set, or what it is while nobody has.
func (s *Service) topicAttribute(t *Topic, name string) string {
	if v, ok := t.Attributes[name]; ok {
		return v
	}
	switch name {
	case "Policy":
		return s.defaultPolicy(t.ARN)
	case "SignatureVersion":
		return "1"
	case "TracingConfig":
		return "PassThrough"
	case "MaximumMessageSize":
		return strconv.Itoa(defaultMaxMessage)
	}
	return ""
}

// SetTopicAttribute sets an attribute; an empty value takes it back to what it was at first.
func (s *Service) SetTopicAttribute(tx *store.Tx, arn, name, value string) error {
	t, err := s.Topic(tx, arn)
	if err != nil {
		return err
	}
	if err := checkTopicAttribute(name, value); err != nil {
		return err
	}
	if t.Attributes == nil {
		t.Attributes = map[string]string{}
	}
	if t.Attributes[name] = value; value == "" {
		delete(t.Attributes, name)
	}
	return topics.Put(tx, t.Name, t)
}

func checkTopicAttribute(name, value string) error {
	switch name {
	case "DisplayName":
		if len(value) > 100 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return invalid("DisplayName")
		}
	case "Policy":
		if len(value) > maxPolicy {
			return invalid("Policy Error: the policy is too large")
		}
		if value != "" && !isJSONObject(value) {
			return invalid("Policy Error: null")
		}
	case "DeliveryPolicy":
		if value == "" {
			return nil
		}
		_, err := topicPolicy(value)
		return err
	case "SignatureVersion":
		if value != "1" && value != "2" {
			return invalid("SignatureVersion: Invalid value [%s]. Must be 1 or 2.", value)
		}
	case "TracingConfig":
		if value != "PassThrough" {
			return invalid("TracingConfig: Invalid value [%s]. Only PassThrough is supported.", value)
		}
	case "MaximumMessageSize":
		if n, err := strconv.Atoi(value); value != "" && (err != nil || n < 1024 || n > largestMaxMessage) {
			return invalid("MaximumMessageSize: Invalid value [%s]. Must be from 1024 to %d.", value, largestMaxMessage)
		}
	default:
		return invalid("AttributeName")
	}
	return nil
}

// defaultPolicy is the access policy of a new topic.
func (s *Service) defaultPolicy(arn string) string {
	return fmt.Sprintf(`{"Version":"2008-10-17","Id":"__default_policy_ID","Statement":[{"Sid":"__default_statement_ID","Effect":"Allow","Principal":{"AWS":"*"},`+
		`"Action":["SNS:GetTopicAttributes","SNS:SetTopicAttributes","SNS:AddPermission","SNS:RemovePermission","SNS:DeleteTopic","SNS:Subscribe","SNS:ListSubscriptionsByTopic","SNS:Publish"],`+
		`"Resource":"%s","Condition":{"StringEquals":{"AWS:SourceOwner":"%s"}}}]}`, arn, s.o.AccountID)
}

// Tags returns the tags of a topic.
func (s *Service) Tags(tx *store.Tx, arn string) (map[string]string, error) {
	t, err := s.tagged(tx, arn)
	return t.Tags, err
}

// SetTags adds tags to a topic and removes those whose keys are in remove.
func (s *Service) SetTags(tx *store.Tx, arn string, add map[string]string, remove []string) error {
	t, err := s.tagged(tx, arn)
	if err != nil {
		return err
	}
	if t.Tags == nil {
		t.Tags = map[string]string{}
	}
	maps.Copy(t.Tags, add)
	for _, k := range remove {
		delete(t.Tags, k)
	}
	if len(t.Tags) > maxTags {
		return &Error{"TagLimitExceeded", 400, "Could not complete request: tag quota of per resource exceeded"}
	}
	return topics.Put(tx, t.Name, t)
}

func (s *Service) tagged(tx *store.Tx, arn string) (Topic, error) {
	t, err := s.Topic(tx, arn)
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == "NotFound" {
		err = &Error{"ResourceNotFound", 404, "Resource does not exist"}
	}
	return t, err
}

func isJSONObject(s string) bool {
	var v map[string]json.RawMessage
	return json.Unmarshal([]byte(s), &v) == nil && v != nil
}
