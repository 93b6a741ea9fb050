package sns

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	netmail "net/mail"
	"net/url"
	"strings"
	"time"

	"vedette.dev/vedette/internal/store"
)

// The protocols.
const (
	ProtocolEmail     = "email"
	ProtocolEmailJSON = "email-json"
	ProtocolHTTP      = "http"
	ProtocolHTTPS     = "https"
)

// PendingARN is what requests see in place of the ARN of a subscription that is not confirmed.
const PendingARN = "PendingConfirmation"

// Subscription is an endpoint of a topic.
type Subscription struct {
	ARN        string            `json:"arn"`
	TopicARN   string            `json:"topicArn"`
	Protocol   string            `json:"protocol"`
	Endpoint   string            `json:"endpoint"`
	Attributes map[string]string `json:"attributes,omitempty"` // those that were set
	CreatedAt  time.Time         `json:"createdAt"`

	Pending       bool    `json:"pending"`           // not confirmed yet
	Deleted       bool    `json:"deleted,omitempty"` // unsubscribed by its reader, who may take that back
	Authenticated bool    `json:"authenticated"`     // the confirmation was signed
	Guarded       bool    `json:"guarded"`           // unsubscribing must be signed (AuthenticateOnUnsubscribe)
	Tokens        []token `json:"tokens,omitempty"`  // the newest last
}

// token is a confirmation token, as its hash.
type token struct {
	Hash    string    `json:"hash"`
	Expires time.Time `json:"expires"`
}

const (
	tokenLife = 3 * 24 * time.Hour
	maxTokens = 5 // that are valid at a time
)

func hashToken(text string) string {
	sum := sha256.Sum256([]byte("vedette confirmation " + text))
	return hex.EncodeToString(sum[:])
}

// newToken makes a token for the subscription and returns its text, which is nowhere else.
func (sub *Subscription) newToken(now time.Time) string {
	var b [64]byte
	rand.Read(b[:])
	text := hex.EncodeToString(b[:])
	sub.Tokens = append(sub.Tokens, token{hashToken(text), now.Add(tokenLife)})
	if extra := len(sub.Tokens) - maxTokens; extra > 0 {
		sub.Tokens = sub.Tokens[extra:]
	}
	return text
}

// accepts reports whether text is one of the subscription's tokens.
func (sub *Subscription) accepts(text string, now time.Time) bool {
	hash := hashToken(text)
	ok := false
	for _, t := range sub.Tokens {
		if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) == 1 && now.Before(t.Expires) {
			ok = true
		}
	}
	return ok
}

// key is where the subscription is stored.
func (sub *Subscription) key() string { return subscriptionKey(sub.ARN) }

// subscriptionKey returns TOPIC/UUID out of arn:aws:sns:REGION:ACCOUNT:TOPIC:UUID, or "".
func subscriptionKey(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) != 7 {
		return ""
	}
	return parts[5] + "/" + parts[6]
}

// Subscribe adds a subscription and sends its endpoint the question whether it wants it. The same subscription again is
// returned as it is, and asked again while it is pending.
func (s *Service) Subscribe(tx *store.Tx, topicARN, protocol, endpoint string, attributes map[string]string) (Subscription, error) {
	t, err := s.Topic(tx, topicARN)
	if err != nil {
		return Subscription{}, err
	}
	if err := checkEndpoint(protocol, endpoint); err != nil {
		return Subscription{}, err
	}
	wanted := map[string]string{}
	for k, v := range attributes {
		if err := checkSubscriptionAttribute(protocol, k, v, attributes); err != nil {
			if e := (*Error)(nil); errors.As(err, &e) && strings.HasPrefix(e.Message, "Invalid parameter: ") && !strings.Contains(e.Message, "does not support nested") {
				return Subscription{}, invalid("Attributes Reason: %s", strings.TrimPrefix(e.Message, "Invalid parameter: "))
			}
			return Subscription{}, err
		}
		wanted[k] = v
	}
	entries, err := subscriptions.List(tx, t.Name+"/", "", 0)
	if err != nil {
		return Subscription{}, err
	}
	now := time.Now().UTC()
	for _, e := range entries {
		sub := e.Value
		if sub.Deleted || sub.Protocol != protocol || sub.Endpoint != endpoint {
			continue
		}
		if len(attributes) > 0 && !maps.Equal(wanted, sub.Attributes) {
			return Subscription{}, invalid("Attributes Reason: Subscription already exists with different attributes")
		}
		if !sub.Pending {
			return sub, nil
		}
		return sub, s.ask(tx, &t, &sub, now)
	}
	sub := Subscription{ARN: t.ARN + ":" + newID(), TopicARN: t.ARN, Protocol: protocol, Endpoint: endpoint, Attributes: wanted, CreatedAt: now, Pending: true}
	return sub, s.ask(tx, &t, &sub, now)
}

// ask stores a subscription with a new token and sends the token to its endpoint.
func (s *Service) ask(tx *store.Tx, t *Topic, sub *Subscription, now time.Time) error {
	text := sub.newToken(now)
	if err := subscriptions.Put(tx, sub.key(), *sub); err != nil {
		return err
	}
	return s.enqueue(tx, sub, delivery{Kind: kindConfirmation, MessageID: newID(), Timestamp: now, Token: text,
		Message: "You have chosen to subscribe to the topic " + t.ARN + ".\nTo confirm the subscription, visit the SubscribeURL included in this message."})
}

func checkEndpoint(protocol, endpoint string) error {
	switch protocol {
	case ProtocolEmail, ProtocolEmailJSON:
		a, err := netmail.ParseAddress(endpoint)
		if err != nil || a.Address != endpoint || a.Name != "" || len(endpoint) > 254 || strings.ContainsFunc(endpoint, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' }) {
			return invalid("Email address")
		}
	case ProtocolHTTP, ProtocolHTTPS:
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Hostname() == "" || len(endpoint) > 2048 || u.Fragment != "" {
			return invalid("HTTP(S) endpoint")
		}
		if u.Scheme != protocol {
			return invalid("Endpoint must match the specified protocol")
		}
	default:
		return invalid("Amazon SNS does not support this protocol string: %s", protocol)
	}
	return nil
}

// ConfirmToken is Confirm in transactions of its own. Anybody may send tokens, so the writer is only asked for one that fits.
func (s *Service) ConfirmToken(ctx context.Context, topicARN, text string, authenticated, guard bool) (sub Subscription, err error) {
	if err := s.o.Store.View(ctx, func(tx *store.Tx) error {
		_, _, err := s.findToken(tx, topicARN, text, time.Now())
		return err
	}); err != nil {
		return Subscription{}, err
	}
	err = s.o.Store.Update(ctx, func(tx *store.Tx) error {
		sub, err = s.Confirm(tx, topicARN, text, authenticated, guard)
		return err
	})
	return sub, err
}

// Confirm activates the pending subscription of a topic that the token belongs to. authenticated says that the request was
// signed; guard, that from now on unsubscribing must be.
func (s *Service) Confirm(tx *store.Tx, topicARN, text string, authenticated, guard bool) (Subscription, error) {
	sub, all, err := s.findToken(tx, topicARN, text, time.Now())
	if err != nil {
		return Subscription{}, err
	}
	if !sub.Pending && !sub.Deleted {
		return sub, nil // the same link again
	}
	if sub.Deleted { // taken back; meanwhile the endpoint may have subscribed anew
		for _, e := range all {
			if o := e.Value; !o.Deleted && !o.Pending && o.Protocol == sub.Protocol && o.Endpoint == sub.Endpoint {
				return o, nil
			}
		}
	}
	sub.Pending, sub.Deleted = false, false
	sub.Authenticated = authenticated
	sub.Guarded = guard && authenticated
	return sub, subscriptions.Put(tx, sub.key(), sub)
}

// findToken returns the subscription of a topic that a token belongs to, and all of the topic.
func (s *Service) findToken(tx *store.Tx, topicARN, text string, now time.Time) (Subscription, []store.Entry[Subscription], error) {
	t, err := s.Topic(tx, topicARN)
	if err != nil {
		return Subscription{}, nil, err
	}
	if len(text) < 32 || len(text) > 512 {
		return Subscription{}, nil, invalid("Token")
	}
	entries, err := subscriptions.List(tx, t.Name+"/", "", 0)
	if err != nil {
		return Subscription{}, nil, err
	}
	for _, e := range entries {
		if e.Value.accepts(text, now) {
			return e.Value, entries, nil
		}
	}
	return Subscription{}, nil, invalid("Token")
}

// Subscription returns the subscription with the given ARN.
func (s *Service) Subscription(tx *store.Tx, arn string) (Subscription, error) {
	parts := strings.Split(arn, ":")
	if len(parts) < 6 {
		return Subscription{}, invalid("SubscriptionArn Reason: An ARN must have at least 6 elements, not %d", len(parts))
	}
	if len(parts) != 7 || parts[0] != "arn" || parts[2] != "sns" {
		return Subscription{}, invalid("SubscriptionId")
	}
	sub, ok, err := subscriptions.Get(tx, subscriptionKey(arn))
	if err == nil && (!ok || sub.Deleted || sub.ARN != arn) {
		err = notFound("Subscription")
	}
	return sub, err
}

// Unsubscribe ends a subscription. One that is not there is no error, as on AWS. If the request was not signed, the endpoint
// is told and may take it back for as long as a token lives.
func (s *Service) Unsubscribe(tx *store.Tx, arn string, authenticated bool) error {
	sub, err := s.Subscription(tx, arn)
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == "NotFound" {
		return nil
	}
	if err != nil {
		return err
	}
	if authenticated || sub.Pending {
		_, err := subscriptions.Delete(tx, sub.key())
		return err
	}
	if sub.Guarded {
		return errUnauthorised
	}
	sub.Deleted = true
	sub.Tokens = nil
	now := time.Now().UTC()
	text := sub.newToken(now)
	if err := subscriptions.Put(tx, sub.key(), sub); err != nil {
		return err
	}
	if !sub.isHTTP() {
		return nil // who unsubscribes from mails wants no more of them
	}
	return s.enqueue(tx, &sub, delivery{Kind: kindUnsubscribed, MessageID: newID(), Timestamp: now, Token: text,
		Message: "You have chosen to deactivate subscription " + sub.ARN + ".\nTo cancel this operation and restore the subscription, visit the SubscribeURL included in this message."})
}

func (sub *Subscription) isHTTP() bool {
	return sub.Protocol == ProtocolHTTP || sub.Protocol == ProtocolHTTPS
}

// Subscriptions returns subscriptions, of one topic or (topicARN empty) of all, at most limit of those behind the position
// after, and the position of the last.
func (s *Service) Subscriptions(tx *store.Tx, topicARN, after string, limit int) (list []Subscription, next string, err error) {
	prefix := ""
	if topicARN != "" {
		t, err := s.Topic(tx, topicARN)
		if err != nil {
			return nil, "", err
		}
		prefix = t.Name + "/"
	}
	for {
		entries, err := subscriptions.List(tx, prefix, after, limit)
		if err != nil {
			return nil, "", err
		}
		for _, e := range entries {
			after = e.Key
			if !e.Value.Deleted {
				list = append(list, e.Value)
			}
			if len(list) == limit {
				return list, after, nil
			}
		}
		if limit == 0 || len(entries) < limit {
			return list, "", nil
		}
	}
}

// SubscriptionAttributes returns what GetSubscriptionAttributes does.
func (s *Service) SubscriptionAttributes(tx *store.Tx, arn string) (map[string]string, error) {
	sub, err := s.Subscription(tx, arn)
	if err != nil {
		return nil, err
	}
	t, err := s.Topic(tx, sub.TopicARN)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(sub.Attributes)
	if all == nil {
		all = map[string]string{}
	}
	all["SubscriptionArn"] = sub.ARN
	all["TopicArn"] = sub.TopicARN
	all["Protocol"] = sub.Protocol
	all["Endpoint"] = sub.Endpoint
	all["Owner"] = s.o.AccountID
	all["SubscriptionPrincipal"] = "arn:aws:iam::" + s.o.AccountID + ":root"
	all["PendingConfirmation"] = fmt.Sprint(sub.Pending)
	all["ConfirmationWasAuthenticated"] = fmt.Sprint(sub.Authenticated)
	if all["RawMessageDelivery"] == "" {
		all["RawMessageDelivery"] = "false"
	}
	if all["FilterPolicy"] != "" && all["FilterPolicyScope"] == "" {
		all["FilterPolicyScope"] = scopeAttributes
	}
	if sub.isHTTP() {
		all["EffectiveDeliveryPolicy"] = subscriptionPolicyText(&t, &sub)
	}
	return all, nil
}

// SetSubscriptionAttribute sets an attribute; an empty value or an empty filter policy takes it away.
func (s *Service) SetSubscriptionAttribute(tx *store.Tx, arn, name, value string) error {
	sub, err := s.Subscription(tx, arn)
	if err != nil {
		return err
	}
	together := maps.Clone(sub.Attributes)
	if together == nil {
		together = map[string]string{}
	}
	together[name] = value
	if err := checkSubscriptionAttribute(sub.Protocol, name, value, together); err != nil {
		return err
	}
	if name == "FilterPolicyScope" && together["FilterPolicy"] != "" {
		if err := checkFilter(together["FilterPolicy"], value); err != nil {
			return err
		}
	}
	if value == "" || name == "FilterPolicy" && strings.TrimSpace(value) == "{}" {
		delete(together, name)
	}
	sub.Attributes = together
	return subscriptions.Put(tx, sub.key(), sub)
}

// checkSubscriptionAttribute checks one attribute; all are those it will be together with.
func checkSubscriptionAttribute(protocol, name, value string, all map[string]string) error {
	switch name {
	case "RawMessageDelivery":
		if value != "true" && value != "false" {
			return invalid("RawMessageDelivery: Invalid value [%s]. Must be true or false.", value)
		}
		if value == "true" && protocol != "http" && protocol != "https" {
			return invalid("Delivery protocol [%s] does not support raw message delivery.", protocol)
		}
	case "FilterPolicy":
		if value == "" || strings.TrimSpace(value) == "{}" {
			return nil
		}
		return checkFilter(value, all["FilterPolicyScope"])
	case "FilterPolicyScope":
		if value != scopeAttributes && value != scopeBody {
			return invalid("FilterPolicyScope: Invalid value [%s]. Please use either MessageBody or MessageAttributes", value)
		}
	case "DeliveryPolicy":
		if value == "" {
			return nil
		}
		_, err := subscriptionPolicy(value)
		return err
	case "RedrivePolicy":
		if value == "" {
			return nil
		}
		return invalid("RedrivePolicy: there are no SQS queues here; deliveries that are given up are kept as dead letters by the server")
	default:
		return invalid("AttributeName")
	}
	return nil
}

// sweep removes subscriptions that nobody confirmed, or took back, in time.
func (s *Service) sweep(tx *store.Tx, now time.Time) error {
	entries, err := subscriptions.List(tx, "", "", 0)
	if err != nil {
		return err
	}
	for _, e := range entries {
		sub := e.Value
		if !sub.Pending && !sub.Deleted {
			continue
		}
		if n := len(sub.Tokens); n > 0 && now.Before(sub.Tokens[n-1].Expires) {
			continue
		}
		if _, err := subscriptions.Delete(tx, e.Key); err != nil {
			return err
		}
	}
	return nil
}

// newID returns a random UUID.
func newID() string {
	var u [16]byte
	rand.Read(u[:])
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
