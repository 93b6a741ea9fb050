package sns

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/notify/mail"
	"vedette.dev/vedette/internal/notify/smtp"
	"vedette.dev/vedette/internal/notify/webhook"
	"vedette.dev/vedette/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// post is one HTTP request that was sent.
type post struct {
	at     time.Duration
	url    string
	header http.Header
	body   []byte
}

// world is a Service with everything around it: it keeps mails and requests, and answers them as told.
type world struct {
	*Service
	t     *testing.T
	db    *store.DB
	start time.Time

	mu     sync.Mutex
	mails  []mail.Message
	mailAt []time.Duration
	posts  []post
	mailer func(ctx context.Context, m mail.Message) error
	poster func(ctx context.Context, url string) error
}

func (w *world) Send(ctx context.Context, m mail.Message) error {
	w.mu.Lock()
	w.mails = append(w.mails, m)
	w.mailAt = append(w.mailAt, time.Since(w.start))
	w.mu.Unlock()
	if w.mailer != nil {
		return w.mailer(ctx, m)
	}
	return nil
}

func (w *world) Post(ctx context.Context, url string, h http.Header, body []byte) error {
	w.mu.Lock()
	w.posts = append(w.posts, post{time.Since(w.start), url, h, body})
	w.mu.Unlock()
	if w.poster != nil {
		return w.poster(ctx, url)
	}
	return nil
}

// bubble runs f in a world whose clock is the bubble's.
func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vedette.db")
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		db, err := store.Open(t.Context(), "sqlite:"+path, log)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, db: db, start: time.Now()}
		w.Service, err = New(t.Context(), Options{Store: db, AccountID: "111122223333", Region: "eu-central-1", PublicURL: "http://127.0.0.1:8421/", Mailer: w, Poster: w, Log: log, Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		w.update(func(tx *store.Tx) error { _, err := w.CreateTopic(tx, "alerts", nil, nil); return err })
		f(w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		db.Close()
	})
}

const alerts = "arn:aws:sns:eu-central-1:111122223333:alerts"

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// subscribe makes a subscription and confirms it with the token that the endpoint got.
func (w *world) subscribe(protocol, endpoint string, attributes map[string]string) Subscription {
	w.t.Helper()
	var sub Subscription
	w.update(func(tx *store.Tx) (err error) {
		sub, err = w.Subscribe(tx, alerts, protocol, endpoint, attributes)
		return err
	})
	synctest.Wait()
	token := w.token(protocol)
	w.update(func(tx *store.Tx) (err error) { sub, err = w.Confirm(tx, alerts, token, false, false); return err })
	return sub
}

// token returns the token that was sent last.
func (w *world) token(protocol string) string {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.HasPrefix(protocol, "email") {
		text := w.mails[len(w.mails)-1].Text
		_, after, _ := strings.Cut(text, "Token=")
		return after[:128]
	}
	var doc map[string]any
	if err := json.Unmarshal(w.posts[len(w.posts)-1].body, &doc); err != nil {
		w.t.Fatal(err)
	}
	return doc["Token"].(string)
}

func (w *world) publish(m Message) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error { _, err := w.Publish(tx, alerts, m); return err })
}

func (w *world) dead(queue string) []store.Delivery {
	w.t.Helper()
	var list []store.Delivery
	if err := w.db.View(w.t.Context(), func(tx *store.Tx) (err error) { list, err = tx.DeadLetters(queue, 0, 0); return err }); err != nil {
		w.t.Fatal(err)
	}
	return list
}

func TestHTTPNotificationsAreSigned(t *testing.T) {
	for _, version := range []string{"1", "2"} {
		t.Run("version "+version, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.update(func(tx *store.Tx) error { return w.SetTopicAttribute(tx, alerts, "SignatureVersion", version) })
				sub := w.subscribe("https", "https://hook.example/in?a=1", nil)
				w.publish(Message{Subject: "S", Message: "line <1>\nline 2 \u2028 é", Attributes: map[string]Attribute{"k": {"String", "v"}}})
				synctest.Wait()
				w.update(func(tx *store.Tx) error { return w.Unsubscribe(tx, sub.ARN, false) })
				synctest.Wait()
				if len(w.posts) != 3 {
					t.Fatalf("%d requests", len(w.posts))
				}
				for i, kind := range []string{"SubscriptionConfirmation", "Notification", "UnsubscribeConfirmation"} {
					p := w.posts[i]
					var doc map[string]any
					if err := json.Unmarshal(p.body, &doc); err != nil {
						t.Fatalf("%v in %s", err, p.body)
					}
					if doc["Type"] != kind || p.header.Get("x-amz-sns-message-type") != kind || doc["TopicArn"] != alerts || p.header.Get("x-amz-sns-topic-arn") != alerts ||
						p.header.Get("x-amz-sns-message-id") != doc["MessageId"] || p.header.Get("Content-Type") != "text/plain; charset=UTF-8" || doc["SignatureVersion"] != version {
						t.Errorf("%s: %v %s", kind, p.header, p.body)
					}
					if (p.header.Get("x-amz-sns-subscription-arn") == "") != (kind == "SubscriptionConfirmation") {
						t.Errorf("%s: headers %v", kind, p.header)
					}
					verify(t, w, doc, version)
				}
				var doc map[string]any
				json.Unmarshal(w.posts[1].body, &doc)
				if doc["Message"] != "line <1>\nline 2 \u2028 é" || doc["Subject"] != "S" || !strings.Contains(doc["UnsubscribeURL"].(string), "Action=Unsubscribe&SubscriptionArn=") || doc["Token"] != nil {
					t.Errorf("%s", w.posts[1].body)
				}
				if !strings.HasPrefix(string(w.posts[1].body), "{\n  \"Type\" : \"Notification\",\n  \"MessageId\" : ") {
					t.Errorf("form: %s", w.posts[1].body)
				}
				// The endpoint may take it back.
				w.update(func(tx *store.Tx) error { _, err := w.Confirm(tx, alerts, w.token("https"), false, false); return err })
				w.publish(Message{Message: "again"})
				synctest.Wait()
				if len(w.posts) != 4 {
					t.Errorf("%d requests after it was taken back", len(w.posts))
				}
			})
		})
	}
}

// verify checks a document as a subscriber does: with the certificate from its SigningCertURL.
func verify(t *testing.T, w *world, doc map[string]any, version string) {
	t.Helper()
	u, err := url.Parse(doc["SigningCertURL"].(string))
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	w.Pages().ServeHTTP(answer, httptest.NewRequest("GET", u.Path, nil))
	block, _ := pem.Decode(answer.Body.Bytes())
	if block == nil {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	if doc["Type"] != "Notification" {
		keys = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	var text strings.Builder
	for _, k := range keys {
		if v, ok := doc[k]; ok {
			fmt.Fprintf(&text, "%s\n%s\n", k, v)
		}
	}
	signature, err := base64.StdEncoding.DecodeString(doc["Signature"].(string))
	if err != nil {
		t.Fatal(err)
	}
	hash, digest := crypto.SHA1, sha1.Sum([]byte(text.String()))
	sum := digest[:]
	if version == "2" {
		long := sha256.Sum256([]byte(text.String()))
		hash, sum = crypto.SHA256, long[:]
	}
	if err := rsa.VerifyPKCS1v15(certificate.PublicKey.(*rsa.PublicKey), hash, sum, signature); err != nil {
		t.Errorf("%s: %v", doc["Type"], err)
	}
}

func TestRawDeliveryAndContentType(t *testing.T) {
	bubble(t, func(w *world) {
		w.subscribe("http", "http://hook.example/", map[string]string{"RawMessageDelivery": "true",
			"DeliveryPolicy": `{"requestPolicy":{"headerContentType":"application/json"}}`})
		w.publish(Message{Message: `{"a":1}`})
		synctest.Wait()
		p := w.posts[len(w.posts)-1]
		if string(p.body) != `{"a":1}` || p.header.Get("x-amz-sns-rawdelivery") != "true" || p.header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %s", p.header, p.body)
		}
		if w.posts[0].header.Get("x-amz-sns-rawdelivery") != "" {
			t.Error("the confirmation went out raw")
		}
	})
}

func TestHTTPRetries(t *testing.T) {
	bubble(t, func(w *world) {
		w.subscribe("http", "http://hook.example/", map[string]string{"DeliveryPolicy": `{"healthyRetryPolicy":{"minDelayTarget":10,"maxDelayTarget":40,"numRetries":6,"numNoDelayRetries":1,"numMinDelayRetries":1,"numMaxDelayRetries":1,"backoffFunction":"linear"}}`})
		w.posts = nil
		w.poster = func(context.Context, string) error { return errors.New("503") }
		w.publish(Message{Message: "x"})
		time.Sleep(time.Hour)
		synctest.Wait()
		// One at once, one at the smallest delay, three growing, one at the largest.
		want := []float64{0, 10, 10, 25, 40, 40}
		if len(w.posts) != 7 {
			t.Fatalf("%d requests, want 7", len(w.posts))
		}
		for i, seconds := range want {
			if got := (w.posts[i+1].at - w.posts[i].at).Seconds(); got < 0.89*seconds || got > 1.11*seconds {
				t.Errorf("wait %d was %.1f s, want %.0f", i, got, seconds)
			}
		}
		if dead := w.dead(HTTPQueue); len(dead) != 1 || dead[0].ErrorCode != "EXHAUSTED" || dead[0].Attempts != 7 {
			t.Errorf("dead letters %+v", dead)
		}
		w.posts = nil
		w.poster = func(context.Context, string) error { return fmt.Errorf("%w: 404", webhook.ErrPermanent) }
		w.publish(Message{Message: "x"})
		time.Sleep(time.Hour)
		synctest.Wait()
		if dead := w.dead(HTTPQueue); len(w.posts) != 1 || len(dead) != 2 || dead[1].ErrorCode != "REFUSED" {
			t.Errorf("%d requests, dead letters %+v", len(w.posts), dead)
		}
	})
}

func TestMailRetries(t *testing.T) {
	bubble(t, func(w *world) {
		w.subscribe("email", "you@example.org", nil)
		w.mails, w.mailAt = nil, nil
		w.mailer = func(context.Context, mail.Message) error { return errors.New("connection refused") }
		w.publish(Message{Message: "x"})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(w.mailAt) != 51 {
			t.Fatalf("%d attempts, want one and 50 retries", len(w.mailAt))
		}
		for i, want := range map[int]float64{0: 10, 1: 10, 2: 10, 11: 600, 49: 600} {
			if got := (w.mailAt[i+1] - w.mailAt[i]).Seconds(); got < 0.89*want || got > 1.11*want {
				t.Errorf("wait %d was %.1f s, want %.0f", i, got, want)
			}
		}
		if last := w.mailAt[50] - w.mailAt[0]; last < 6*time.Hour || last > 9*time.Hour {
			t.Errorf("the last attempt came after %v", last)
		}
		if dead := w.dead(MailQueue); len(dead) != 1 || !strings.Contains(dead[0].Error, "connection refused") {
			t.Errorf("dead letters %+v", dead)
		}
		w.mails = nil
		w.mailer = func(context.Context, mail.Message) error {
			return fmt.Errorf("%w: 550 no such user", smtp.ErrPermanent)
		}
		w.publish(Message{Message: "x"})
		time.Sleep(time.Hour)
		synctest.Wait()
		if dead := w.dead(MailQueue); len(w.mails) != 1 || len(dead) != 2 || dead[1].ErrorCode != "REFUSED" {
			t.Errorf("%d mails, dead letters %+v", len(w.mails), dead)
		}
	})
}

func TestAHungRelayHoldsUpNoWebHook(t *testing.T) {
	bubble(t, func(w *world) {
		w.subscribe("email", "you@example.org", nil)
		w.subscribe("http", "http://hook.example/", nil)
		w.subscribe("http", "http://hung.example/", nil)
		w.posts = nil
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		w.mailer = func(ctx context.Context, _ mail.Message) error { return hang(ctx) }
		w.poster = func(ctx context.Context, url string) error {
			if strings.Contains(url, "hung") {
				return hang(ctx)
			}
			return nil
		}
		start := time.Now()
		for range 100 {
			w.publish(Message{Message: "x"})
		}
		synctest.Wait()
		served := 0
		for _, p := range w.posts {
			if p.url == "http://hook.example/" {
				served++
			}
		}
		if served != 100 || time.Since(start) != 0 {
			t.Errorf("%d of 100 requests went out, after %v", served, time.Since(start))
		}
	})
}

func TestFilterPolicies(t *testing.T) {
	attribute := func(kind, value string) Message {
		return Message{Message: "x", Attributes: map[string]Attribute{"k": {kind, value}}}
	}
	for name, c := range map[string]struct {
		policy, scope string
		m             Message
		want          bool
	}{
		"none":             {"", "", attribute("String", "a"), true},
		"exact":            {`{"k":["a","b"]}`, "", attribute("String", "b"), true},
		"other":            {`{"k":["a"]}`, "", attribute("String", "c"), false},
		"missing":          {`{"k":["a"]}`, "", Message{Message: "x"}, false},
		"exists":           {`{"z":[{"exists":false}]}`, "", attribute("String", "a"), true},
		"number":           {`{"k":[{"numeric":[">",5]}]}`, "", attribute("Number", "7"), true},
		"number as string": {`{"k":[{"numeric":[">",5]}]}`, "", attribute("String", "7"), false},
		"custom type":      {`{"k":["a"]}`, "", attribute("String.mine", "a"), true},
		"array":            {`{"k":["b"]}`, "", attribute("String.Array", `["a","b"]`), true},
		"binary":           {`{"k":[{"exists":true}]}`, "", attribute("Binary", "AAAA"), false},
		"body":             {`{"a":{"b":["c"]}}`, scopeBody, Message{Message: `{"a":{"b":"c"}}`}, true},
		"body, other":      {`{"a":{"b":["c"]}}`, scopeBody, Message{Message: `{"a":{"b":"d"}}`}, false},
		"body, no JSON":    {`{"a":[{"exists":false}]}`, scopeBody, Message{Message: `words`}, false},
		"body, an array":   {`{"a":["b"]}`, scopeBody, Message{Message: `[{"a":"b"}]`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			attributes := map[string]string{"FilterPolicy": c.policy}
			if c.scope != "" {
				attributes["FilterPolicyScope"] = c.scope
			}
			for k, v := range attributes {
				if err := checkSubscriptionAttribute("https", k, v, attributes); err != nil {
					t.Fatal(err)
				}
			}
			var f filters
			if got := f.pass(&Subscription{Attributes: attributes}, &c.m); got != c.want {
				t.Errorf("pass = %v", got)
			}
		})
	}
}

func TestOnlyWebHooksTakeRawMessages(t *testing.T) {
	for protocol, want := range map[string]bool{"http": true, "https": true, "email": false, "email-json": false} {
		if err := checkSubscriptionAttribute(protocol, "RawMessageDelivery", "true", nil); (err == nil) != want {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

func TestNumbersOfAttributes(t *testing.T) {
	for value, want := range map[string]bool{"7": true, "-7.5e3": true, "NaN": false, "Infinity": false, "0x1p4": false, "1_000": false, "": false} {
		if err := checkAttribute("k", Attribute{Type: "Number", Value: value}); (err == nil) != want {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestTokens(t *testing.T) {
	bubble(t, func(w *world) {
		confirm := func(token string) error {
			return w.db.Update(w.t.Context(), func(tx *store.Tx) error { _, err := w.Confirm(tx, alerts, token, false, false); return err })
		}
		ask := func(endpoint string) string {
			w.update(func(tx *store.Tx) error { _, err := w.Subscribe(tx, alerts, "email", endpoint, nil); return err })
			synctest.Wait()
			return w.token("email")
		}
		count := func() (list []string) {
			w.db.View(w.t.Context(), func(tx *store.Tx) error {
				subs, _, err := w.Subscriptions(tx, alerts, "", 0)
				for _, s := range subs {
					list = append(list, fmt.Sprint(s.Endpoint, " ", s.Pending))
				}
				return err
			})
			slices.Sort(list)
			return list
		}
		first := ask("a@example.org")
		second := ask("a@example.org") // the same again: the older link still works
		if first == second {
			t.Error("a token was used twice")
		}
		w.db.View(w.t.Context(), func(tx *store.Tx) error {
			list, err := subscriptions.List(tx, "", "", 0)
			text, _ := json.Marshal(list)
			if len(list) != 1 || strings.Contains(string(text), first) || strings.Contains(string(text), second) {
				t.Errorf("stored: %s", text)
			}
			return err
		})
		other := ask("b@example.org")
		if err := confirm(strings.Repeat("0", 128)); err == nil {
			t.Error("a made-up token was accepted")
		}
		time.Sleep(tokenLife - time.Minute)
		synctest.Wait()
		if diff := cmp.Diff([]string{"a@example.org true", "b@example.org true"}, count()); diff != "" {
			t.Error(diff)
		}
		if err := confirm(first); err != nil {
			t.Error(err)
		}
		if err := confirm(first); err != nil {
			t.Errorf("the same link again: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := confirm(other); err == nil {
			t.Error("a token of more than three days was accepted")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if diff := cmp.Diff([]string{"a@example.org false"}, count()); diff != "" {
			t.Errorf("what nobody confirmed is still there:\n%s", diff)
		}
	})
}

func TestDeliveriesOfEndedSubscriptionsAreDropped(t *testing.T) {
	bubble(t, func(w *world) {
		sub := w.subscribe("email", "you@example.org", nil)
		w.mails = nil
		w.mailer = func(context.Context, mail.Message) error { return errors.New("later") }
		w.publish(Message{Message: "x"})
		synctest.Wait()
		w.update(func(tx *store.Tx) error { return w.Unsubscribe(tx, sub.ARN, true) })
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(w.mails) != 1 || len(w.dead(MailQueue)) != 0 {
			t.Errorf("%d attempts, %d dead letters", len(w.mails), len(w.dead(MailQueue)))
		}
	})
}

func TestTheBusLearnsWhatCannotBeDelivered(t *testing.T) {
	bubble(t, func(w *world) {
		err := w.db.Update(w.t.Context(), func(tx *store.Tx) error { return w.Deliver(tx, alerts+"x", []byte("{}")) })
		var refused *bus.DeliveryError
		if !errors.As(err, &refused) || !refused.Permanent || refused.Code != "NO_RESOURCE" {
			t.Errorf("Deliver = %v", err)
		}
		if err := w.db.Update(w.t.Context(), func(tx *store.Tx) error { return w.Deliver(tx, alerts, []byte("{}")) }); err != nil {
			t.Error(err)
		}
	})
}

func TestTheKeyStays(t *testing.T) {
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "vedette.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	first, err := openSigner(t.Context(), db, "v.example")
	if err != nil {
		t.Fatal(err)
	}
	second, err := openSigner(t.Context(), db, "v.example")
	if err != nil || first.path() != second.path() {
		t.Errorf("%s and %s, %v", first.path(), second.path(), err)
	}
}

func TestDeliveryPoliciesAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		`{"healthyRetryPolicy":{"numRetries":101}}`:                         "numRetries",
		`{"healthyRetryPolicy":{"minDelayTarget":30,"maxDelayTarget":20}}`:  "minDelayTarget",
		`{"healthyRetryPolicy":{"maxDelayTarget":3601}}`:                    "maxDelayTarget",
		`{"healthyRetryPolicy":{"numNoDelayRetries":4}}`:                    "numRetries",
		`{"healthyRetryPolicy":{"backoffFunction":"sideways"}}`:             "backoffFunction",
		`{"throttlePolicy":{"maxReceivesPerSecond":1}}`:                     "throttlePolicy",
		`{"requestPolicy":{"headerContentType":"text/plain\r\nX-Evil: 1"}}`: "headerContentType",
		`[]`: "parse",
		`{"healthyRetryPolicy":{"numRetries":5,"backoffFunction":"geometric"}}`: "",
	} {
		_, err := subscriptionPolicy(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	// Every function grows from the smallest to the largest delay.
	for _, f := range []string{"linear", "arithmetic", "geometric", "exponential"} {
		p := healthyRetryPolicy{MinDelayTarget: 5, MaxDelayTarget: 500, NumRetries: 10, BackoffFunction: f}
		last := time.Duration(0)
		for n := range 10 {
			d, ok := p.delay(n)
			if !ok || d < last || n == 0 && d != 5*time.Second || n == 9 && d != 500*time.Second {
				t.Errorf("%s: retry %d after %v", f, n, d)
			}
			last = d
		}
		if _, ok := p.delay(10); ok {
			t.Errorf("%s: one retry too many", f)
		}
	}
}

func FuzzCheckFilter(f *testing.F) {
	f.Add(`{"k":["a",{"prefix":"b"},{"numeric":[">",5]}]}`, scopeAttributes)
	f.Add(`{"$or":[{"a":["b"]},{"c":{"d":["e"]}}]}`, scopeBody)
	f.Add(`{"a":`, "")
	f.Fuzz(func(t *testing.T, policy, scope string) {
		attributes := map[string]string{"FilterPolicy": policy, "FilterPolicyScope": scope}
		if checkFilter(policy, scope) != nil {
			return
		}
		var x filters
		x.pass(&Subscription{Attributes: attributes}, &Message{Message: `{"a":"b"}`, Attributes: map[string]Attribute{"a": {"String", "b"}}})
	})
}
