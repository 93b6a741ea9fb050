package sns

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"time"
)

// healthyRetryPolicy is how deliveries to HTTP endpoints are repeated: in phases, first at once, then at the smallest delay,
// then with growing delays, then at the largest.
type healthyRetryPolicy struct {
	MinDelayTarget     int    `json:"minDelayTarget"`
	MaxDelayTarget     int    `json:"maxDelayTarget"`
	NumRetries         int    `json:"numRetries"`
	NumMaxDelayRetries int    `json:"numMaxDelayRetries"`
	NumNoDelayRetries  int    `json:"numNoDelayRetries"`
	NumMinDelayRetries int    `json:"numMinDelayRetries"`
	BackoffFunction    string `json:"backoffFunction"`
}

type requestPolicy struct {
	HeaderContentType string `json:"headerContentType"`
}

// httpPolicy is the delivery policy of a topic for HTTP endpoints.
type httpPolicy struct {
	DefaultHealthyRetryPolicy    healthyRetryPolicy `json:"defaultHealthyRetryPolicy"`
	DisableSubscriptionOverrides bool               `json:"disableSubscriptionOverrides"`
	DefaultRequestPolicy         requestPolicy      `json:"defaultRequestPolicy"`
}

// subPolicy is the delivery policy of a subscription.
type subPolicy struct {
	HealthyRetryPolicy *healthyRetryPolicy `json:"healthyRetryPolicy,omitempty"`
	RequestPolicy      *requestPolicy      `json:"requestPolicy,omitempty"`
}

func standardPolicy() httpPolicy {
	return httpPolicy{healthyRetryPolicy{MinDelayTarget: 20, MaxDelayTarget: 20, NumRetries: 3, BackoffFunction: "linear"}, false,
		requestPolicy{"text/plain; charset=UTF-8"}}
}

// topicPolicy parses a topic's DeliveryPolicy; what it leaves out is standard.
func topicPolicy(text string) (httpPolicy, error) {
	w := struct {
		HTTP *httpPolicy `json:"http"`
	}{new(httpPolicy)}
	*w.HTTP = standardPolicy()
	if err := strict(text, &w); err != nil || w.HTTP == nil {
		return standardPolicy(), invalid("DeliveryPolicy: failed to parse JSON. %v", err)
	}
	return *w.HTTP, w.HTTP.DefaultHealthyRetryPolicy.check(&w.HTTP.DefaultRequestPolicy)
}

// subscriptionPolicy parses a subscription's DeliveryPolicy.
func subscriptionPolicy(text string) (subPolicy, error) {
	standard := standardPolicy()
	retry, request := standard.DefaultHealthyRetryPolicy, standard.DefaultRequestPolicy
	p := subPolicy{&retry, &request}
	if err := strict(text, &p); err != nil {
		return subPolicy{}, invalid("DeliveryPolicy: failed to parse JSON. %v", err)
	}
	if p.HealthyRetryPolicy == nil {
		p.HealthyRetryPolicy = &retry
	}
	if p.RequestPolicy == nil {
		p.RequestPolicy = &request
	}
	return p, p.HealthyRetryPolicy.check(p.RequestPolicy)
}

// strict decodes JSON and refuses members it does not know: a throttle policy that is not obeyed must not be accepted.
func strict(text string, v any) error {
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// contentTypes are what headerContentType may be.
var contentTypes = map[string]bool{"text/plain": true, "text/plain; charset=UTF-8": true, "application/json": true, "application/json; charset=UTF-8": true, "text/html": true,
	"text/html; charset=UTF-8": true, "text/xml": true, "text/xml; charset=UTF-8": true, "application/xml": true, "application/xml; charset=UTF-8": true,
	"application/octet-stream": true, "application/x-www-form-urlencoded": true, "text/css": true, "text/csv": true, "application/soap+xml": true, "application/atom+xml": true}

func (p *healthyRetryPolicy) check(r *requestPolicy) error {
	switch {
	case p.MinDelayTarget < 1 || p.MaxDelayTarget > 3600 || p.MinDelayTarget > p.MaxDelayTarget:
		return invalid("DeliveryPolicy: minDelayTarget and maxDelayTarget must be from 1 to 3600 seconds, the second not smaller")
	case p.NumRetries < 0 || p.NumRetries > 100:
		return invalid("DeliveryPolicy: numRetries must be from 0 to 100")
	case p.NumNoDelayRetries < 0 || p.NumMinDelayRetries < 0 || p.NumMaxDelayRetries < 0 || p.NumNoDelayRetries > 100 || p.NumMinDelayRetries > 100 || p.NumMaxDelayRetries > 100 ||
		p.NumNoDelayRetries+p.NumMinDelayRetries+p.NumMaxDelayRetries > p.NumRetries:
		return invalid("DeliveryPolicy: the retries of all phases must not be more than numRetries")
	}
	switch p.BackoffFunction {
	case "linear", "arithmetic", "geometric", "exponential":
	default:
		return invalid("DeliveryPolicy: backoffFunction must be linear, arithmetic, geometric or exponential")
	}
	if !contentTypes[r.HeaderContentType] {
		return invalid("DeliveryPolicy: headerContentType is not supported")
	}
	return nil
}

// delay returns how long to wait before the retry with the given number, counted from 0, and whether there is to be one.
func (p *healthyRetryPolicy) delay(n int) (time.Duration, bool) {
	if n >= p.NumRetries {
		return 0, false
	}
	least, most := float64(p.MinDelayTarget), float64(p.MaxDelayTarget)
	if n < p.NumNoDelayRetries {
		return 0, true
	}
	n -= p.NumNoDelayRetries
	if n < p.NumMinDelayRetries {
		return seconds(least), true
	}
	n -= p.NumMinDelayRetries
	growing := p.NumRetries - p.NumNoDelayRetries - p.NumMinDelayRetries - p.NumMaxDelayRetries
	if n >= growing {
		return seconds(most), true
	}
	x := 1.0 // from 0, excluded, to 1
	if growing > 1 {
		x = float64(n) / float64(growing-1)
	}
	switch p.BackoffFunction {
	case "arithmetic":
		x = x * (x + 1) / 2
	case "geometric":
		return seconds(least * math.Pow(most/least, x)), true
	case "exponential":
		x = (math.Exp2(10*x) - 1) / (math.Exp2(10) - 1)
	}
	return seconds(least + (most-least)*x), true
}

// mailDelay is SNS's schedule for mails: 2 retries at 10 s, 10 growing from 10 to 600 s, 38 at 600 s.
func mailDelay(n int) (time.Duration, bool) {
	switch {
	case n < 2:
		return seconds(10), true
	case n < 12:
		return seconds(10 * math.Pow(60, float64(n-2)/9)), true
	case n < 50:
		return seconds(600), true
	}
	return 0, false
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// jitter varies a delay by up to a tenth, so that retries spread.
func jitter(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - d/10 + rand.N(d/5)
}

// policyOf returns the policy that holds for a subscription.
func policyOf(t *Topic, sub *Subscription) (healthyRetryPolicy, requestPolicy) {
	p, err := topicPolicy(t.Attributes["DeliveryPolicy"])
	if err != nil {
		p = standardPolicy()
	}
	if text := sub.Attributes["DeliveryPolicy"]; text != "" && !p.DisableSubscriptionOverrides {
		if own, err := subscriptionPolicy(text); err == nil {
			return *own.HealthyRetryPolicy, *own.RequestPolicy
		}
	}
	return p.DefaultHealthyRetryPolicy, p.DefaultRequestPolicy
}

// effectivePolicy is a topic's EffectiveDeliveryPolicy.
func effectivePolicy(text string) string {
	p := standardPolicy()
	if text != "" {
		if own, err := topicPolicy(text); err == nil {
			p = own
		}
	}
	out, _ := encode(map[string]httpPolicy{"http": p})
	return string(out)
}

// subscriptionPolicyText is a subscription's EffectiveDeliveryPolicy.
func subscriptionPolicyText(t *Topic, sub *Subscription) string {
	retry, request := policyOf(t, sub)
	out, _ := encode(struct {
		HealthyRetryPolicy healthyRetryPolicy `json:"healthyRetryPolicy"`
		RequestPolicy      requestPolicy      `json:"requestPolicy"`
	}{retry, request})
	return string(out)
}
