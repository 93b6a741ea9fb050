package sns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"vedette.dev/vedette/internal/notify/mail"
	"vedette.dev/vedette/internal/notify/smtp"
	"vedette.dev/vedette/internal/notify/webhook"
	"vedette.dev/vedette/internal/store"
	"vedette.dev/vedette/internal/store/outbox"
)

// The queues of the store in which deliveries wait and in which dead letters stay.
const (
	MailQueue = "mail"
	HTTPQueue = "http"
)

// Mailer sends one mail. An error with smtp.ErrPermanent in its chain is not tried again.
type Mailer interface {
	Send(ctx context.Context, m mail.Message) error
}

// Poster sends one HTTP request. An error with webhook.ErrPermanent in its chain is not tried again.
type Poster interface {
	Post(ctx context.Context, url string, header http.Header, body []byte) error
}

// Options configure a Service. Store, AccountID, Region, PublicURL, Mailer, Poster and Log are required.
type Options struct {
	Store      *store.DB
	AccountID  string
	Region     string
	PublicURL  string // how subscribers reach the server, without a final slash
	Mailer     Mailer
	Poster     Poster
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Service is all topics of one account and Region.
type Service struct {
	o       Options
	metrics *metrics
	filters filters
	signer  *signer
	mails   *outbox.Dispatcher
	posts   *outbox.Dispatcher
}

// New returns a Service, with a new signing key if the store has none yet. Run must be called for deliveries to go out.
func New(ctx context.Context, o Options) (*Service, error) {
	u, err := url.Parse(o.PublicURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("the public URL %q is not an http or https URL", o.PublicURL)
	}
	o.PublicURL = strings.TrimRight(o.PublicURL, "/")
	s := &Service{o: o, metrics: newMetrics(o.Registerer)}
	if s.signer, err = openSigner(ctx, o.Store, u.Hostname()); err != nil {
		return nil, fmt.Errorf("preparing the signing key: %w", err)
	}
	common := outbox.Options{Store: o.Store, Log: o.Log, Registerer: o.Registerer, Handle: s.handle}
	mails, posts := common, common
	mails.Queue, mails.Workers, mails.PerLane, mails.Timeout = MailQueue, 16, 4, time.Minute
	posts.Queue, posts.Workers, posts.PerLane, posts.Timeout = HTTPQueue, 64, 4, 20*time.Second
	s.mails, s.posts = outbox.New(mails), outbox.New(posts)
	return s, nil
}

// Outboxes returns the queues of deliveries to subscribers, with their dead letters.
func (s *Service) Outboxes() []*outbox.Dispatcher { return []*outbox.Dispatcher{s.mails, s.posts} }

// Run sends deliveries until ctx ends. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.mails.Run(ctx) })
	g.Go(func() error { return s.posts.Run(ctx) })
	g.Go(func() error {
		for {
			if err := s.o.Store.Update(ctx, func(tx *store.Tx) error { return s.sweep(tx, time.Now()) }); err != nil && ctx.Err() == nil {
				s.o.Log.Error("removing subscriptions that nobody confirmed", "err", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Hour):
			}
		}
	})
	return g.Wait()
}

// The kinds of a delivery are the Type of its notification.
const (
	kindNotification = "Notification"
	kindConfirmation = "SubscriptionConfirmation"
	kindUnsubscribed = "UnsubscribeConfirmation"
)

// delivery is the payload of a delivery.
type delivery struct {
	Kind            string               `json:"kind"`
	SubscriptionARN string               `json:"subscriptionArn"`
	MessageID       string               `json:"messageId"`
	Timestamp       time.Time            `json:"timestamp"`
	Subject         string               `json:"subject,omitempty"`
	Message         string               `json:"message"`
	Attributes      map[string]Attribute `json:"attributes,omitempty"`
	Token           string               `json:"token,omitempty"`
}

// enqueue writes a delivery to a subscription.
func (s *Service) enqueue(tx *store.Tx, sub *Subscription, d delivery) error {
	d.SubscriptionARN = sub.ARN
	payload, err := encode(d)
	if err != nil {
		return fmt.Errorf("encoding a delivery: %w", err)
	}
	item := store.Delivery{Subject: sub.ARN, Payload: payload}
	if !sub.isHTTP() {
		item.Lane = sub.Endpoint
		return s.mails.Enqueue(tx, item)
	}
	item.Lane = sub.Endpoint
	if u, err := url.Parse(sub.Endpoint); err == nil {
		item.Lane = u.Host
	}
	return s.posts.Enqueue(tx, item)
}

// handle does one delivery.
func (s *Service) handle(ctx context.Context, item store.Delivery) outbox.Outcome {
	var d delivery
	if err := json.Unmarshal(item.Payload, &d); err != nil {
		return outbox.Dead("INTERNAL", fmt.Errorf("decoding the delivery: %w", err))
	}
	var sub Subscription
	var t Topic
	gone := false
	if err := s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		var ok bool
		if sub, ok, err = subscriptions.Get(tx, subscriptionKey(d.SubscriptionARN)); err != nil {
			return err
		}
		// Meanwhile the subscription may have ended, or begun.
		if !ok || sub.Deleted != (d.Kind == kindUnsubscribed) || sub.Pending != (d.Kind == kindConfirmation) {
			gone = true
			return nil
		}
		t, err = s.Topic(tx, sub.TopicARN)
		if e := (*Error)(nil); errors.As(err, &e) {
			gone, err = true, nil
		}
		return err
	}); err != nil {
		return outbox.Retry(time.Second, "INTERNAL", err)
	}
	if gone {
		return outbox.Done(nil)
	}
	if sub.isHTTP() {
		return s.post(ctx, item, &t, &sub, &d)
	}
	return s.mail(ctx, item, &t, &sub, &d)
}

// mail sends a delivery as a mail.
func (s *Service) mail(ctx context.Context, item store.Delivery, t *Topic, sub *Subscription, d *delivery) outbox.Outcome {
	var m mail.Message
	switch {
	case d.Kind == kindConfirmation:
		m = mail.Confirm(mail.Confirmation{ID: d.MessageID, To: sub.Endpoint, TopicARN: t.ARN, DisplayName: t.DisplayName(),
			ConfirmURL: s.o.PublicURL + pathConfirm + "?" + confirmQuery(t.ARN, d.Token)})
	default:
		page := s.o.PublicURL + pathUnsubscribe + "?" + url.Values{"SubscriptionArn": {sub.ARN}, "Endpoint": {sub.Endpoint}}.Encode()
		n := mail.Notification{MessageID: d.MessageID, TopicARN: t.ARN, SubscriptionARN: sub.ARN, To: sub.Endpoint, DisplayName: t.DisplayName(),
			Subject: d.Subject, Body: d.Message, UnsubscribeURL: page, OneClickURL: page}
		if sub.Protocol == ProtocolEmailJSON {
			document, err := s.document(t, sub, d)
			if err != nil {
				return outbox.Dead("INTERNAL", err)
			}
			m = mail.NotifyJSON(n, document)
		} else {
			m = mail.Notify(n)
		}
	}
	err := s.o.Mailer.Send(ctx, m)
	if err == nil {
		return outbox.Done(nil)
	}
	if errors.Is(err, smtp.ErrPermanent) {
		return outbox.Dead("REFUSED", err)
	}
	wait, again := mailDelay(item.Attempts)
	if !again {
		return outbox.Dead("EXHAUSTED", err)
	}
	return outbox.Retry(jitter(wait), "RELAY", err)
}

// post sends a delivery as an HTTP request.
func (s *Service) post(ctx context.Context, item store.Delivery, t *Topic, sub *Subscription, d *delivery) outbox.Outcome {
	retry, request := policyOf(t, sub)
	h := http.Header{}
	h.Set("Content-Type", request.HeaderContentType)
	h.Set("User-Agent", "Amazon Simple Notification Service Agent")
	h.Set("Accept-Encoding", "gzip,deflate")
	h.Set("x-amz-sns-message-type", d.Kind)
	h.Set("x-amz-sns-message-id", d.MessageID)
	h.Set("x-amz-sns-topic-arn", t.ARN)
	if d.Kind != kindConfirmation {
		h.Set("x-amz-sns-subscription-arn", sub.ARN)
	}
	body := []byte(d.Message)
	if sub.Attributes["RawMessageDelivery"] == "true" && d.Kind == kindNotification {
		h.Set("x-amz-sns-rawdelivery", "true")
	} else {
		var err error
		if body, err = s.document(t, sub, d); err != nil {
			return outbox.Dead("INTERNAL", err)
		}
	}
	err := s.o.Poster.Post(ctx, sub.Endpoint, h, body)
	if err == nil {
		return outbox.Done(nil)
	}
	if errors.Is(err, webhook.ErrPermanent) {
		return outbox.Dead("REFUSED", err)
	}
	wait, again := retry.delay(item.Attempts)
	if !again {
		return outbox.Dead("EXHAUSTED", err)
	}
	if time.Since(item.CreatedAt)+wait > time.Hour { // SNS's bound of all retries together
		return outbox.Dead("EXHAUSTED", err)
	}
	return outbox.Retry(jitter(wait), "ENDPOINT", err)
}
