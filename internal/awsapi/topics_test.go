package awsapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsevents "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/notify/smtp"
	"vedette.dev/vedette/internal/notify/smtp/sink"
	topics "vedette.dev/vedette/internal/notify/sns"
	"vedette.dev/vedette/internal/notify/webhook"
	"vedette.dev/vedette/internal/store"
)

// plant is a whole server from the wire to the mail, with Amazon's clients in front and a real SMTP server behind.
type plant struct {
	db     *store.DB
	bus    *bus.Bus
	events *awsevents.Client
	sns    *awssns.Client
	url    string
	mails  string // folder
}

const plantAccount = "111122223333"

func newPlant(t *testing.T) *plant {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "vedette.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{db: db, mails: filepath.Join(dir, "mail")}
	box, err := sink.Open(sink.Options{Folder: p.mails, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	mailer, err := smtp.New(box.URL(), "Vedette <no-reply@vedette.example>")
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	p.url = web.URL
	service, err := topics.New(t.Context(), topics.Options{Store: db, AccountID: plantAccount, Region: testRegion, PublicURL: p.url, Mailer: mailer, Poster: webhook.New(nil), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	p.bus = bus.New(bus.Options{Store: db, AccountID: plantAccount, Region: testRegion, Targets: map[string]bus.Receiver{"sns": service}, Log: log})
	handler, err = New(Options{EventBridge: NewEventBridge(plantAccount, db, p.bus), SNS: NewSNS(plantAccount, db, service), Keys: testKeys{testKey: testSecret}, Region: testRegion, Public: service.Pages()})
	if err != nil {
		t.Fatal(err)
	}
	p.events, p.sns = awsevents.NewFromConfig(sdkConfig(p.url)), awssns.NewFromConfig(sdkConfig(p.url))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	for _, run := range []func(context.Context) error{box.Run, service.Run, p.bus.Run} {
		go func() { done <- run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		web.Close()
		db.Close()
	})
	return p
}

// waitMails waits until there are n mails and returns the last.
func (p *plant) waitMails(t *testing.T, n int) *sink.Content {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		list, err := sink.List(p.mails)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) >= n {
			c, err := sink.Read(p.mails, list[n-1].ID)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are %d mails, want %d", len(list), n)
		}
	}
}

func wantCode(t *testing.T, err error, code, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("got %v, want %s: %s", err, code, text)
	}
}

func get(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

var linkInMail = regexp.MustCompile(`http://\S+`)

// TestAFindingBecomesAMail is the documented way: topic, subscription, confirmation, rule, target, event, mail.
func TestAFindingBecomesAMail(t *testing.T) {
	p := newPlant(t)
	ctx := t.Context()
	topic, err := p.sns.CreateTopic(ctx, &awssns.CreateTopicInput{Name: aws.String("alerts"), Attributes: map[string]string{"DisplayName": "Our alerts"}})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := p.sns.Subscribe(ctx, &awssns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("email"), Endpoint: aws.String("you@example.org")})
	if err != nil || *sub.SubscriptionArn != "pending confirmation" {
		t.Fatalf("%v %v", sub, err)
	}
	question := p.waitMails(t, 1)
	link := linkInMail.FindString(question.Text)
	if !strings.HasPrefix(link, p.url+"/") || !strings.Contains(link, "Action=ConfirmSubscription&TopicArn=") {
		t.Fatalf("link %q in:\n%s", link, question.Text)
	}
	pending := func() string {
		a, err := p.sns.GetTopicAttributes(ctx, &awssns.GetTopicAttributesInput{TopicArn: topic.TopicArn})
		if err != nil {
			t.Fatal(err)
		}
		return a.Attributes["SubscriptionsPending"] + "/" + a.Attributes["SubscriptionsConfirmed"]
	}
	get(t, http.MethodHead, link)
	if pending() != "1/0" {
		t.Errorf("after HEAD: %s", pending())
	}
	if code, text := get(t, http.MethodGet, link); code != 200 || !strings.Contains(text, "Subscription confirmed!") || !strings.Contains(text, `href="unsubscribe.html?`) {
		t.Errorf("%d %s", code, text)
	}
	if pending() != "0/1" {
		t.Errorf("after GET: %s", pending())
	}
	if code, _ := get(t, http.MethodGet, strings.Replace(link, "Token=", "Token=0", 1)); code != 400 {
		t.Errorf("a wrong token answered %d", code)
	}

	if _, err := p.events.PutRule(ctx, &awsevents.PutRuleInput{Name: aws.String("high"), EventPattern: aws.String(`{"source":["aws.guardduty"],"detail":{"severity":[{"numeric":[">=",7]}]}}`)}); err != nil {
		t.Fatal(err)
	}
	put, err := p.events.PutTargets(ctx, &awsevents.PutTargetsInput{Rule: aws.String("high"), Targets: []eventtypes.Target{{Id: aws.String("1"), Arn: topic.TopicArn},
		{Id: aws.String("2"), Arn: aws.String("arn:aws:lambda:eu-central-1:111122223333:function:f")}, {Id: aws.String("3"), Arn: topic.TopicArn, DeadLetterConfig: &eventtypes.DeadLetterConfig{Arn: aws.String("arn:aws:sqs:eu-central-1:111122223333:dlq")}}}})
	if err != nil || put.FailedEntryCount != 2 {
		t.Fatalf("%+v %v", put, err)
	}
	detail := `{"schemaVersion":"2.0","id":"d6c8b1a4e2f94d0b8a7f3c5e1d2b4a60","type":"Execution:Runtime/ReverseShell","severity":8,"title":"A process has created a reverse shell.",
		"service":{"detectorId":"12abc34d567e8fa901bc2d34e56789f0","count":2,"additionalInfo":{"value":"{}","type":"default"},"runtimeDetails":{"process":{"name":"bash\r\nBcc: x@y","lineage":[]}}},"resource":{"resourceType":"Instance"}}`
	start := time.Now()
	if err := p.db.Update(ctx, func(tx *store.Tx) error {
		return p.bus.Put(tx, bus.DefaultBus, bus.Event{Source: "aws.guardduty", DetailType: "GuardDuty Finding", Detail: json.RawMessage(detail)})
	}); err != nil {
		t.Fatal(err)
	}
	m := p.waitMails(t, 2)
	t.Logf("from commit to mail: %v", time.Since(start))
	if m.Subject != `[HIGH] ReverseShell: bash\x0d\x0aBcc: x@y` || m.From != `"Our alerts" <no-reply@vedette.example>` || m.To != "<you@example.org>" || m.Header.Get("Bcc") != "" {
		t.Errorf("headers %v", m.Header)
	}
	if !strings.Contains(m.Text, "A process has created a reverse shell.") || !strings.Contains(m.HTML, "A process has created a reverse shell.") || m.Header.Get("List-Unsubscribe") == "" {
		t.Errorf("%v\n%s", m.Header, m.Text)
	}

	// A low one matches no rule; a user may not speak for GuardDuty.
	out, err := p.events.PutEvents(ctx, &awsevents.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{{Source: aws.String("aws.guardduty"), DetailType: aws.String("GuardDuty Finding"), Detail: aws.String(detail)},
		{Source: aws.String("my.app"), DetailType: aws.String("x"), Detail: aws.String("{}")}}})
	if err != nil || out.FailedEntryCount != 1 || *out.Entries[0].ErrorCode != "NotAuthorizedForSourceException" || out.Entries[1].EventId == nil {
		t.Errorf("%+v %v", out, err)
	}

	// Unsubscribing: following the link only asks, the button does it.
	unsubscribe := linkInMail.FindString(m.Text[strings.LastIndex(m.Text, "--"):])
	if code, text := get(t, http.MethodGet, unsubscribe); code != 200 || !strings.Contains(text, "<form method=\"post\">") {
		t.Errorf("%d %s", code, text)
	}
	if pending() != "0/1" {
		t.Errorf("after looking: %s", pending())
	}
	if code, _ := get(t, http.MethodPost, unsubscribe); code != 200 || pending() != "0/0" {
		t.Errorf("%d, after unsubscribing: %s", code, pending())
	}
	list, err := p.sns.ListSubscriptionsByTopic(ctx, &awssns.ListSubscriptionsByTopicInput{TopicArn: topic.TopicArn})
	if err != nil || len(list.Subscriptions) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

func TestSNSRequests(t *testing.T) {
	p := newPlant(t)
	ctx := t.Context()
	made, err := p.sns.CreateTopic(ctx, &awssns.CreateTopicInput{Name: aws.String("a-topic"), Tags: []snstypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	if err != nil {
		t.Fatal(err)
	}
	arn := made.TopicArn
	if *arn != "arn:aws:sns:eu-central-1:111122223333:a-topic" {
		t.Errorf("ARN %s", *arn)
	}
	if again, err := p.sns.CreateTopic(ctx, &awssns.CreateTopicInput{Name: aws.String("a-topic")}); err != nil || *again.TopicArn != *arn {
		t.Errorf("again: %v %v", again, err)
	}
	_, err = p.sns.CreateTopic(ctx, &awssns.CreateTopicInput{Name: aws.String("a-topic"), Attributes: map[string]string{"DisplayName": "x"}})
	wantCode(t, err, "InvalidParameter", "Invalid parameter: Attributes Reason: Topic already exists with different attributes")
	_, err = p.sns.CreateTopic(ctx, &awssns.CreateTopicInput{Name: aws.String("a-topic"), Tags: []snstypes.Tag{{Key: aws.String("k"), Value: aws.String("w")}}})
	wantCode(t, err, "InvalidParameter", "Invalid parameter: Tags Reason: Topic already exists with different tags")
	_, err = p.sns.CreateTopic(ctx, &awssns.CreateTopicInput{Name: aws.String("no topic")})
	wantCode(t, err, "InvalidParameter", "Invalid parameter: Topic Name")
	_, err = p.sns.GetTopicAttributes(ctx, &awssns.GetTopicAttributesInput{TopicArn: aws.String(*arn + "x")})
	wantCode(t, err, "NotFound", "Topic does not exist")
	_, err = p.sns.GetTopicAttributes(ctx, &awssns.GetTopicAttributesInput{TopicArn: aws.String("x")})
	wantCode(t, err, "InvalidParameter", "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1")
	attributes, err := p.sns.GetTopicAttributes(ctx, &awssns.GetTopicAttributesInput{TopicArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	var policy struct{ Statement []struct{ Action []string } }
	if json.Unmarshal([]byte(attributes.Attributes["Policy"]), &policy) != nil || len(policy.Statement[0].Action) != 8 || attributes.Attributes["Owner"] != plantAccount {
		t.Errorf("attributes %v", attributes.Attributes)
	}
	if want := `{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":20,"maxDelayTarget":20,"numRetries":3,"numMaxDelayRetries":0,"numNoDelayRetries":0,"numMinDelayRetries":0,"backoffFunction":"linear"},"disableSubscriptionOverrides":false,"defaultRequestPolicy":{"headerContentType":"text/plain; charset=UTF-8"}}}`; attributes.Attributes["EffectiveDeliveryPolicy"] != want {
		t.Errorf("policy %s", attributes.Attributes["EffectiveDeliveryPolicy"])
	}
	for name, c := range map[string]struct{ protocol, endpoint, want string }{
		"protocol": {"test-protocol", "x", "Invalid parameter: Amazon SNS does not support this protocol string: test-protocol"},
		"queue":    {"sqs", "arn:aws:sqs:eu-central-1:111122223333:q", "does not support this protocol string: sqs"},
		"address":  {"email", "you", "Invalid parameter: Email address"},
		"header":   {"email", "you@example.org\r\nBcc: x@y", "Invalid parameter: Email address"},
		"name":     {"email", "You <you@example.org>", "Invalid parameter: Email address"},
		"scheme":   {"https", "http://127.0.0.1/", "Endpoint must match the specified protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.sns.Subscribe(ctx, &awssns.SubscribeInput{TopicArn: arn, Protocol: &c.protocol, Endpoint: &c.endpoint})
			wantCode(t, err, "InvalidParameter", c.want)
		})
	}
	filter := func(attributes map[string]string) error {
		_, err := p.sns.Subscribe(ctx, &awssns.SubscribeInput{TopicArn: arn, Protocol: aws.String("email"), Endpoint: aws.String("f@example.org"), Attributes: attributes})
		return err
	}
	wantCode(t, filter(map[string]string{"FilterPolicy": `{"a":"b"}`}), "InvalidParameter", `Invalid parameter: Attributes Reason: FilterPolicy: "a" must be an object or an array`)
	wantCode(t, filter(map[string]string{"FilterPolicy": `{"a":{"b":["c"]}}`}), "InvalidParameter", `Invalid parameter: Filter policy scope MessageAttributes does not support nested filter policy`)
	wantCode(t, filter(map[string]string{"FilterPolicy": `{"a":["1"],"b":["1"],"c":["1"],"d":["1"],"e":["1"],"f":["1"]}`}), "InvalidParameter", `Filter policy can not have more than 5 keys`)
	wantCode(t, filter(map[string]string{"FilterPolicy": `{"a":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 151), ",") + `]}`}), "InvalidParameter", `Filter policy is too complex`)
	wantCode(t, filter(map[string]string{"RawMessageDelivery": "wrongvalue"}), "InvalidParameter", `Invalid parameter: Attributes Reason: RawMessageDelivery: Invalid value [wrongvalue]. Must be true or false.`)
	wantCode(t, filter(map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:eu-central-1:111122223333:q"}`}), "InvalidParameter", `RedrivePolicy`)

	returned, err := p.sns.Subscribe(ctx, &awssns.SubscribeInput{TopicArn: arn, Protocol: aws.String("email-json"), Endpoint: aws.String("json@example.org"), ReturnSubscriptionArn: true,
		Attributes: map[string]string{"FilterPolicy": `{"level":["high",{"prefix":"crit"}]}`}})
	if err != nil || !strings.HasPrefix(*returned.SubscriptionArn, *arn+":") {
		t.Fatalf("%v %v", returned, err)
	}
	link, err := url.Parse(linkInMail.FindString(p.waitMails(t, 1).Text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.sns.ConfirmSubscription(ctx, &awssns.ConfirmSubscriptionInput{TopicArn: arn, Token: aws.String(strings.Repeat("0", 128))})
	wantCode(t, err, "InvalidParameter", "Invalid parameter: Token")
	listed, err := p.sns.ListSubscriptions(ctx, &awssns.ListSubscriptionsInput{})
	if err != nil || len(listed.Subscriptions) != 1 || *listed.Subscriptions[0].SubscriptionArn != "PendingConfirmation" {
		t.Errorf("%+v %v", listed, err)
	}
	confirmed, err := p.sns.ConfirmSubscription(ctx, &awssns.ConfirmSubscriptionInput{TopicArn: arn, Token: aws.String(link.Query().Get("Token")), AuthenticateOnUnsubscribe: aws.String("true")})
	if err != nil || *confirmed.SubscriptionArn != *returned.SubscriptionArn {
		t.Fatalf("%v %v", confirmed, err)
	}
	// Unsubscribing by the link now needs a signature.
	if code, text := get(t, http.MethodGet, p.url+"/?Action=Unsubscribe&SubscriptionArn="+url.QueryEscape(*confirmed.SubscriptionArn)); code != 403 || !strings.Contains(text, "AuthorizationError") {
		t.Errorf("%d %s", code, text)
	}

	publish := func(in awssns.PublishInput) error {
		in.TopicArn = arn
		_, err := p.sns.Publish(ctx, &in)
		return err
	}
	level := func(v string) map[string]snstypes.MessageAttributeValue {
		return map[string]snstypes.MessageAttributeValue{"level": {DataType: aws.String("String"), StringValue: &v}}
	}
	if err := publish(awssns.PublishInput{Message: aws.String("filtered"), MessageAttributes: level("low")}); err != nil {
		t.Error(err)
	}
	if err := publish(awssns.PublishInput{Message: aws.String("passes <&>"), Subject: aws.String("A subject"), MessageAttributes: level("critical")}); err != nil {
		t.Error(err)
	}
	mail := p.waitMails(t, 2)
	var notification map[string]any
	if err := json.Unmarshal([]byte(mail.Text), &notification); err != nil {
		t.Fatalf("%v in:\n%s", err, mail.Text)
	}
	if notification["Message"] != "passes <&>" || notification["Type"] != "Notification" || notification["Subject"] != "A subject" || mail.Subject != "A subject" || !strings.Contains(mail.Text, "\n  \"Message\" : \"passes <&>\",\n") {
		t.Errorf("mail:\n%s", mail.Text)
	}
	wantCode(t, publish(awssns.PublishInput{Message: aws.String("x"), Subject: aws.String("two\nlines")}), "InvalidParameter", "Invalid parameter: Subject")
	wantCode(t, publish(awssns.PublishInput{Message: aws.String("x"), Subject: aws.String(strings.Repeat("x", 101))}), "InvalidParameter", "Invalid parameter: Subject")
	wantCode(t, publish(awssns.PublishInput{Message: aws.String("")}), "InvalidParameter", "Invalid parameter: Empty message")
	wantCode(t, publish(awssns.PublishInput{Message: aws.String(strings.Repeat("x", 262_145))}), "InvalidParameter", "Invalid parameter: Message too long")
	wantCode(t, publish(awssns.PublishInput{Message: aws.String("{"), MessageStructure: aws.String("json")}), "InvalidParameter", "Invalid parameter: Message Structure - JSON message body failed to parse")
	wantCode(t, publish(awssns.PublishInput{Message: aws.String(`{"email":"x"}`), MessageStructure: aws.String("json")}), "InvalidParameter", "Invalid parameter: Message Structure - No default entry in JSON message body")
	wantCode(t, publish(awssns.PublishInput{Message: aws.String("x"), MessageAttributes: map[string]snstypes.MessageAttributeValue{"a..b": {DataType: aws.String("String"), StringValue: aws.String("x")}}}),
		"ParameterValueInvalid", "Message attribute name can not have successive '.' character.")

	batch, err := p.sns.PublishBatch(ctx, &awssns.PublishBatchInput{TopicArn: arn, PublishBatchRequestEntries: []snstypes.PublishBatchRequestEntry{
		{Id: aws.String("1"), Message: aws.String("batch"), MessageAttributes: level("high")}, {Id: aws.String("2"), Message: aws.String("x"), Subject: aws.String("a\nb")}}})
	if err != nil || len(batch.Successful) != 1 || len(batch.Failed) != 1 || *batch.Failed[0].Id != "2" || !batch.Failed[0].SenderFault {
		t.Errorf("%+v %v", batch, err)
	}
	p.waitMails(t, 3)
	_, err = p.sns.PublishBatch(ctx, &awssns.PublishBatchInput{TopicArn: arn, PublishBatchRequestEntries: []snstypes.PublishBatchRequestEntry{{Id: aws.String("1"), Message: aws.String("a")}, {Id: aws.String("1"), Message: aws.String("b")}}})
	wantCode(t, err, "BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")

	if _, err := p.sns.SetSubscriptionAttributes(ctx, &awssns.SetSubscriptionAttributesInput{SubscriptionArn: confirmed.SubscriptionArn, AttributeName: aws.String("FilterPolicy"), AttributeValue: aws.String("{}")}); err != nil {
		t.Error(err)
	}
	got, err := p.sns.GetSubscriptionAttributes(ctx, &awssns.GetSubscriptionAttributesInput{SubscriptionArn: confirmed.SubscriptionArn})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"SubscriptionArn": *confirmed.SubscriptionArn, "TopicArn": *arn, "Protocol": "email-json", "Endpoint": "json@example.org", "Owner": plantAccount,
		"SubscriptionPrincipal": "arn:aws:iam::111122223333:root", "PendingConfirmation": "false", "ConfirmationWasAuthenticated": "true", "RawMessageDelivery": "false"}
	if diff := cmp.Diff(want, got.Attributes); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if _, err := p.sns.TagResource(ctx, &awssns.TagResourceInput{ResourceArn: arn, Tags: []snstypes.Tag{{Key: aws.String("l"), Value: aws.String("w")}}}); err != nil {
		t.Error(err)
	}
	if _, err := p.sns.UntagResource(ctx, &awssns.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"k"}}); err != nil {
		t.Error(err)
	}
	if tags, err := p.sns.ListTagsForResource(ctx, &awssns.ListTagsForResourceInput{ResourceArn: arn}); err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Key != "l" {
		t.Errorf("%+v %v", tags, err)
	}
	if _, err := p.sns.Unsubscribe(ctx, &awssns.UnsubscribeInput{SubscriptionArn: confirmed.SubscriptionArn}); err != nil {
		t.Error(err)
	}
	_, err = p.sns.GetSubscriptionAttributes(ctx, &awssns.GetSubscriptionAttributesInput{SubscriptionArn: confirmed.SubscriptionArn})
	wantCode(t, err, "NotFound", "Subscription does not exist")
	for range 2 {
		if _, err := p.sns.DeleteTopic(ctx, &awssns.DeleteTopicInput{TopicArn: arn}); err != nil {
			t.Error(err)
		}
	}
	if list, err := p.sns.ListTopics(ctx, &awssns.ListTopicsInput{}); err != nil || len(list.Topics) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	_, err = p.sns.AddPermission(ctx, &awssns.AddPermissionInput{TopicArn: arn, Label: aws.String("l"), AWSAccountId: []string{plantAccount}, ActionName: []string{"Publish"}})
	if err == nil {
		t.Error("AddPermission, which does nothing, succeeded")
	}
}

func TestEventBridgeRequests(t *testing.T) {
	p := newPlant(t)
	ctx := t.Context()
	made, err := p.events.CreateEventBus(ctx, &awsevents.CreateEventBusInput{Name: aws.String("mine")})
	if err != nil || *made.EventBusArn != "arn:aws:events:eu-central-1:111122223333:event-bus/mine" {
		t.Fatalf("%v %v", made, err)
	}
	_, err = p.events.CreateEventBus(ctx, &awsevents.CreateEventBusInput{Name: aws.String("mine")})
	wantCode(t, err, "ResourceAlreadyExistsException", "Event bus mine already exists.")
	buses, err := p.events.ListEventBuses(ctx, &awsevents.ListEventBusesInput{})
	if err != nil || len(buses.EventBuses) != 2 || *buses.EventBuses[0].Name != "default" {
		t.Errorf("%+v %v", buses, err)
	}
	_, err = p.events.PutRule(ctx, &awsevents.PutRuleInput{Name: aws.String("r"), ScheduleExpression: aws.String("rate(1 minute)")})
	wantCode(t, err, "ValidationException", "ScheduleExpression")
	_, err = p.events.PutRule(ctx, &awsevents.PutRuleInput{Name: aws.String("r"), EventPattern: aws.String(`{"a":[{"wrong":1}]}`)})
	wantCode(t, err, "InvalidEventPatternException", "Event pattern is not valid. Reason: Unrecognized match type wrong")
	rule, err := p.events.PutRule(ctx, &awsevents.PutRuleInput{Name: aws.String("r"), EventBusName: made.EventBusArn, EventPattern: aws.String(`{"source":["x"]}`), Tags: []eventtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	if err != nil || *rule.RuleArn != "arn:aws:events:eu-central-1:111122223333:rule/mine/r" {
		t.Fatalf("%v %v", rule, err)
	}
	tags, err := p.events.ListTagsForResource(ctx, &awsevents.ListTagsForResourceInput{ResourceARN: rule.RuleArn})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("%+v %v", tags, err)
	}
	topic := aws.String("arn:aws:sns:eu-central-1:111122223333:alerts")
	in := eventtypes.Target{Id: aws.String("t"), Arn: topic, RetryPolicy: &eventtypes.RetryPolicy{MaximumRetryAttempts: aws.Int32(0), MaximumEventAgeInSeconds: aws.Int32(60)},
		InputTransformer: &eventtypes.InputTransformer{InputTemplate: aws.String(`"<v>"`), InputPathsMap: map[string]string{"v": "$.detail.v"}}}
	if put, err := p.events.PutTargets(ctx, &awsevents.PutTargetsInput{Rule: aws.String("r"), EventBusName: aws.String("mine"), Targets: []eventtypes.Target{in}}); err != nil || put.FailedEntryCount != 0 {
		t.Fatalf("%+v %v", put, err)
	}
	targets, err := p.events.ListTargetsByRule(ctx, &awsevents.ListTargetsByRuleInput{Rule: aws.String("r"), EventBusName: aws.String("mine")})
	if err != nil || len(targets.Targets) != 1 || *targets.Targets[0].RetryPolicy.MaximumRetryAttempts != 0 || *targets.Targets[0].InputTransformer.InputTemplate != `"<v>"` {
		t.Errorf("%+v %v", targets, err)
	}
	names, err := p.events.ListRuleNamesByTarget(ctx, &awsevents.ListRuleNamesByTargetInput{TargetArn: topic, EventBusName: aws.String("mine")})
	if diff := cmp.Diff([]string{"r"}, names.RuleNames); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, name := range []string{"a", "b", "c"} {
		if _, err := p.events.PutRule(ctx, &awsevents.PutRuleInput{Name: &name, EventPattern: aws.String(`{"source":["x"]}`), State: eventtypes.RuleStateDisabled}); err != nil {
			t.Fatal(err)
		}
	}
	var paged []string
	for token := (*string)(nil); ; {
		list, err := p.events.ListRules(ctx, &awsevents.ListRulesInput{Limit: aws.Int32(2), NextToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.Rules {
			paged = append(paged, *r.Name+string(r.State))
		}
		if token = list.NextToken; token == nil {
			break
		}
	}
	if diff := cmp.Diff([]string{"aDISABLED", "bDISABLED", "cDISABLED"}, paged); diff != "" {
		t.Errorf("pages:\n%s", diff)
	}
	if _, err := p.events.EnableRule(ctx, &awsevents.EnableRuleInput{Name: aws.String("a")}); err != nil {
		t.Error(err)
	}
	if r, err := p.events.DescribeRule(ctx, &awsevents.DescribeRuleInput{Name: aws.String("a")}); err != nil || r.State != eventtypes.RuleStateEnabled {
		t.Errorf("%+v %v", r, err)
	}
	_, err = p.events.DeleteRule(ctx, &awsevents.DeleteRuleInput{Name: aws.String("r"), EventBusName: aws.String("mine")})
	wantCode(t, err, "ValidationException", "Rule can't be deleted since it has targets.")
	_, err = p.events.DeleteEventBus(ctx, &awsevents.DeleteEventBusInput{Name: aws.String("mine")})
	wantCode(t, err, "ValidationException", "rules")
	if out, err := p.events.RemoveTargets(ctx, &awsevents.RemoveTargetsInput{Rule: aws.String("r"), EventBusName: aws.String("mine"), Ids: []string{"t"}}); err != nil || out.FailedEntryCount != 0 {
		t.Errorf("%+v %v", out, err)
	}
	if _, err = p.events.DeleteRule(ctx, &awsevents.DeleteRuleInput{Name: aws.String("r"), EventBusName: aws.String("mine")}); err != nil {
		t.Error(err)
	}
	if _, err = p.events.DeleteEventBus(ctx, &awsevents.DeleteEventBusInput{Name: aws.String("mine")}); err != nil {
		t.Error(err)
	}
	_, err = p.events.PutTargets(ctx, &awsevents.PutTargetsInput{Rule: aws.String("none"), Targets: []eventtypes.Target{in}})
	wantCode(t, err, "ResourceNotFoundException", "Rule none does not exist on EventBus default.")
	tested, err := p.events.TestEventPattern(ctx, &awsevents.TestEventPatternInput{EventPattern: aws.String(`{"source":[{"prefix":"aws."}]}`),
		Event: aws.String(`{"id":"1","account":"1","source":"aws.guardduty","time":"2026-11-23T00:00:00Z","region":"r","resources":[],"detail-type":"d"}`)})
	if err != nil || !tested.Result {
		t.Errorf("%+v %v", tested, err)
	}
}

// TestCommandLineAlerts sets alerts up with the real aws command line, as the documentation shows it.
func TestCommandLineAlerts(t *testing.T) {
	p := newPlant(t)
	c := newCLI(t, p.url)
	var topic struct{ TopicArn string }
	c.get(&topic, "sns", "create-topic", "--name", "alerts")
	var sub struct{ SubscriptionArn string }
	c.get(&sub, "sns", "subscribe", "--topic-arn", topic.TopicArn, "--protocol", "email", "--notification-endpoint", "you@example.org")
	if sub.SubscriptionArn != "pending confirmation" {
		t.Errorf("subscribe = %+v", sub)
	}
	link, err := url.Parse(linkInMail.FindString(p.waitMails(t, 1).Text))
	if err != nil {
		t.Fatal(err)
	}
	c.get(&sub, "sns", "confirm-subscription", "--topic-arn", topic.TopicArn, "--token", link.Query().Get("Token"), "--no-sign-request")
	if !strings.HasPrefix(sub.SubscriptionArn, topic.TopicArn+":") {
		t.Errorf("confirm-subscription = %+v", sub)
	}
	c.get(nil, "events", "put-rule", "--name", "mine", "--event-pattern", `{"source":["my.app"]}`)
	var put struct{ FailedEntryCount int }
	c.get(&put, "events", "put-targets", "--rule", "mine", "--targets", `[{"Id":"1","Arn":"`+topic.TopicArn+`","InputTransformer":{"InputPathsMap":{"n":"$.detail.name"},"InputTemplate":"\"Hello <n>!\""}}]`)
	if put.FailedEntryCount != 0 {
		t.Errorf("put-targets = %+v", put)
	}
	c.wantError("Rule can't be deleted since it has targets.", "events", "delete-rule", "--name", "mine")
	c.wantError("Event pattern is not valid. Reason: Empty arrays are not allowed", "events", "put-rule", "--name", "x", "--event-pattern", `{"a":[]}`)
	c.get(nil, "events", "put-events", "--entries", `[{"Source":"my.app","DetailType":"d","Detail":"{\"name\":\"you\"}"}]`)
	if m := p.waitMails(t, 2); !strings.HasPrefix(m.Text, "\"Hello you!\"\n\n--\nIf you wish to stop") || m.Subject != "Vedette Notification Message" {
		t.Errorf("%s\n%s", m.Subject, m.Text)
	}
	c.get(nil, "sns", "publish", "--topic-arn", topic.TopicArn, "--subject", "Look", "--message", "Here")
	if m := p.waitMails(t, 3); m.Subject != "Look" || !strings.HasPrefix(m.Text, "Here\n") {
		t.Errorf("%s\n%s", m.Subject, m.Text)
	}
}
