package awsapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/awsapi/eventbridge"
	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/sns"
)

// fakes answer a few operations; the rest is not implemented.
type fakeGuardDuty struct{ guardduty.Unimplemented }

func (fakeGuardDuty) ListDetectors(ctx context.Context, _ *guardduty.ListDetectorsInput) (*guardduty.ListDetectorsOutput, error) {
	return &guardduty.ListDetectorsOutput{DetectorIds: []string{Caller(ctx)}}, nil
}

func (fakeGuardDuty) GetDetector(context.Context, *guardduty.GetDetectorInput) (*guardduty.GetDetectorOutput, error) {
	return nil, errors.New("a secret of the server")
}

func (fakeGuardDuty) DeleteDetector(context.Context, *guardduty.DeleteDetectorInput) (*guardduty.DeleteDetectorOutput, error) {
	panic("a secret of the server")
}

type fakeEvents struct{ eventbridge.Unimplemented }

func (fakeEvents) ListEventBuses(_ context.Context, in *eventbridge.ListEventBusesInput) (*eventbridge.ListEventBusesOutput, error) {
	return &eventbridge.ListEventBusesOutput{NextToken: in.NamePrefix}, nil
}

func (fakeEvents) DeleteRule(context.Context, *eventbridge.DeleteRuleInput) (*eventbridge.DeleteRuleOutput, error) {
	return nil, nil
}

type fakeSNS struct{ sns.Unimplemented }

func (fakeSNS) ConfirmSubscription(ctx context.Context, in *sns.ConfirmSubscriptionInput) (*sns.ConfirmSubscriptionOutput, error) {
	if in.Token != "right" {
		return nil, sns.InvalidParameterException("Invalid parameter: Token")
	}
	return &sns.ConfirmSubscriptionOutput{SubscriptionArn: new("by '" + Caller(ctx) + "' <&>\x01")}, nil
}

func (fakeSNS) ListTopics(context.Context, *sns.ListTopicsInput) (*sns.ListTopicsOutput, error) {
	return &sns.ListTopicsOutput{Topics: []sns.Topic{{TopicArn: new("arn")}}}, nil
}

var testNow = time.Date(2026, 11, 23, 9, 20, 4, 0, time.UTC)

func fakeServer(t *testing.T) (*Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := New(Options{
		GuardDuty: fakeGuardDuty{}, EventBridge: fakeEvents{}, SNS: fakeSNS{},
		Keys: testKeys{testKey: testSecret, "other": "other"}, Region: testRegion, MaxBody: 100_000,
		Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return testNow },
		Public: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "public "+r.URL.Path) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

// request is one to sign and send; its zero members get sensible values.
type request struct {
	method, url, body string
	header            http.Header
	service, region   string // "" service: not signed
	key, secret       string
	date              time.Time
	tamper            func(*http.Request) // after signing
}

func (q request) build(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequest(or(q.method, "POST"), "http://localhost:1234"+or(q.url, "/"), strings.NewReader(q.body))
	for name, values := range q.header {
		r.Header[name] = values
	}
	if q.service != "" {
		if q.date.IsZero() {
			q.date = testNow
		}
		err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: or(q.key, testKey), SecretAccessKey: or(q.secret, testSecret)},
			r, hexSum(q.body), q.service, or(q.region, testRegion), q.date)
		if err != nil {
			t.Fatal(err)
		}
	}
	if q.tamper != nil {
		q.tamper(r)
	}
	return r
}

func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func target(operation string) http.Header {
	return http.Header{"X-Amz-Target": {"AWSEvents." + operation}, "Content-Type": {"application/x-amz-json-1.1"}}
}

var form = http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}

// errorOf returns the code and the message of an error in any of the protocols, as a client finds them.
func errorOf(t *testing.T, w *httptest.ResponseRecorder) (code, message string) {
	t.Helper()
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/xml") {
		var x struct {
			Error struct{ Type, Code, Message string }
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &x); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		return x.Error.Code, x.Error.Message
	}
	var j struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &j); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return w.Header().Get("X-Amzn-ErrorType"), j.Message
}

// answer is how a service refuses.
type answer struct {
	Status int
	Code   string
}

var (
	mismatch = map[string]answer{"guardduty": {403, "InvalidSignatureException"}, "events": {400, "InvalidSignatureException"},
		"sns": {403, "SignatureDoesNotMatch"}}
	incomplete = map[string]answer{"guardduty": {403, "IncompleteSignatureException"}, "events": {400, "IncompleteSignatureException"},
		"sns": {403, "IncompleteSignature"}}
)

func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set(name, value)
	return h
}

func setAuth(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", value) }
}

func replaceAuth(old, text string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, text, 1))
	}
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestRefusals(t *testing.T) {
	server, _ := fakeServer(t)
	// The same faults against each service: its own code and status for each.
	services := map[string]request{
		"guardduty": {method: "GET", url: "/detector", service: "guardduty"},
		"events":    {header: target("ListEventBuses"), body: "{}", service: "events"},
		"sns":       {header: form, body: "Action=ListTopics&Version=2010-03-31", service: "sns"},
	}
	for fault, c := range map[string]struct {
		change  func(*request)
		message string
		want    map[string]answer
	}{
		"no signature": {func(q *request) { q.service = "" }, "Request is missing Authentication Token", map[string]answer{
			"guardduty": {403, "MissingAuthenticationTokenException"}, "events": {400, "MissingAuthenticationTokenException"}, "sns": {403, "MissingAuthenticationToken"}}},
		"unknown key": {func(q *request) { q.key = "AKIANOBODY" }, "The security token included in the request is invalid.", map[string]answer{
			"guardduty": {403, "UnrecognizedClientException"}, "events": {400, "UnrecognizedClientException"}, "sns": {403, "InvalidClientTokenId"}}},
		"wrong secret":     {func(q *request) { q.secret = "guess" }, "The request signature we calculated does not match", mismatch},
		"another's secret": {func(q *request) { q.key = "other" }, "The request signature we calculated does not match", mismatch},
		"other region":     {func(q *request) { q.region = "us-east-1" }, "Credential should be scoped to a valid region.", mismatch},
		"other service":    {func(q *request) { q.service = "s3" }, "Credential should be scoped to correct service: '", mismatch},
		"too old":          {func(q *request) { q.date = testNow.Add(-16 * time.Minute) }, "Signature expired: 20261123T090404Z is now earlier than 20261123T090504Z (20261123T092004Z - 15 min.)", mismatch},
		"too new":          {func(q *request) { q.date = testNow.Add(16 * time.Minute) }, "Signature not yet current: 20261123T093604Z is still later than 20261123T093504Z (20261123T092004Z + 15 min.)", mismatch},
		"other body": {func(q *request) {
			q.tamper = func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(q.body + " ")) }
		}, "does not match", mismatch},
		"other query":           {func(q *request) { q.tamper = func(r *http.Request) { r.URL.RawQuery += "&maxResults=1" } }, "does not match", mismatch},
		"other method":          {func(q *request) { q.tamper = func(r *http.Request) { r.Method = "PUT" } }, "does not match", mismatch},
		"other host":            {func(q *request) { q.tamper = func(r *http.Request) { r.Host = "evil" } }, "does not match", mismatch},
		"added header":          {func(q *request) { q.tamper = func(r *http.Request) { r.Header.Set("X-Amz-Extra", "1") } }, "'X-Amz-Extra' must be a 'SignedHeader'", mismatch},
		"wrong payload hash":    {func(q *request) { q.header = with(q.header, "X-Amz-Content-Sha256", hexSum("other")) }, "'x-amz-content-sha256' header does not match", mismatch},
		"unsigned payload":      {func(q *request) { q.header = with(q.header, "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }, "'x-amz-content-sha256' header does not match", mismatch},
		"date not in the scope": {func(q *request) { q.tamper = replaceAuth("/20261123/", "/20261122/") }, "Date in Credential scope does not match YYYYMMDD", mismatch},
		"host not signed":       {func(q *request) { q.tamper = replaceAuth("host;", "") }, "'Host' or ':authority' must be a 'SignedHeader'", mismatch},
		"wrong terminator":      {func(q *request) { q.tamper = replaceAuth("aws4_request", "aws5_request") }, "terminator", mismatch},
		"basic auth":            {func(q *request) { q.service, q.tamper = "", setAuth("Basic abc") }, "Unsupported AWS 'algorithm'", incomplete},
		"no credential":         {func(q *request) { q.tamper = replaceAuth("Credential=", "Credentials=") }, "requires 'Credential' parameter.", incomplete},
		"short signature":       {func(q *request) { q.tamper = replaceAuth("Signature=", "Signature=zz") }, "Signature is not", incomplete},
		"short credential":      {func(q *request) { q.tamper = replaceAuth("/aws4_request", "") }, "exactly 5 slash-delimited", incomplete},
		"headers out of order":  {func(q *request) { q.tamper = replaceAuth("SignedHeaders=", "SignedHeaders=z;") }, "SignedHeaders must be", incomplete},
		"no date":               {func(q *request) { q.tamper = func(r *http.Request) { r.Header.Del("X-Amz-Date") } }, "Date must be in ISO-8601", incomplete},
		"two signatures": {func(q *request) {
			q.tamper = func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }
		}, "more than one signature", incomplete},
	} {
		for name, q := range services {
			t.Run(fault+"/"+name, func(t *testing.T) {
				c.change(&q)
				w := send(server, q.build(t))
				code, message := errorOf(t, w)
				if d := cmp.Diff(c.want[name], answer{w.Code, code}); d != "" {
					t.Errorf("answer (-want +got):\n%s%s", d, message)
				}
				if !strings.Contains(message, c.message) {
					t.Errorf("message = %q, want %q in it", message, c.message)
				}
				if w.Header().Get("X-Amzn-RequestId") == "" {
					t.Error("no request id")
				}
			})
		}
	}
	for name, q := range services {
		t.Run("nothing wrong/"+name, func(t *testing.T) {
			if w := send(server, q.build(t)); w.Code != 200 {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
}

func TestMalformedRequests(t *testing.T) {
	server, _ := fakeServer(t)
	deep := strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)
	for name, c := range map[string]struct {
		q       request
		want    answer
		message string
	}{
		"no JSON":              {request{header: target("ListRules"), body: `{"Limit":`, service: "events"}, answer{400, "SerializationException"}, "not valid JSON"},
		"an array":             {request{header: target("ListRules"), body: `[]`, service: "events"}, answer{400, "SerializationException"}, "not a JSON object"},
		"more than one object": {request{header: target("ListRules"), body: `{}{}`, service: "events"}, answer{400, "SerializationException"}, "data after"},
		"too deep":             {request{header: target("ListRules"), body: deep, service: "events"}, answer{400, "SerializationException"}, "64 levels"},
		"not UTF-8":            {request{header: target("ListRules"), body: "{\"a\":\"\xff\"}", service: "events"}, answer{400, "SerializationException"}, "UTF-8"},
		"wrong type":           {request{header: target("ListRules"), body: `{"Limit":"many"}`, service: "events"}, answer{400, "SerializationException"}, "'limit' is not a number"},
		"fraction":             {request{header: target("ListRules"), body: `{"Limit":1.5}`, service: "events"}, answer{400, "SerializationException"}, "'limit' is not an integer"},
		"too large a number":   {request{header: target("ListRules"), body: `{"Limit":99999999999}`, service: "events"}, answer{400, "SerializationException"}, "32-bit"},
		"out of range":         {request{header: target("ListRules"), body: `{"Limit":101}`, service: "events"}, answer{400, "ValidationException"}, "1 validation error detected: Value 101 at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100"},
		"several": {request{header: target("PutTargets"), body: `{"Targets":[{"Id":"!","Arn":"a"},{}]}`, service: "events"}, answer{400, "ValidationException"},
			"4 validation errors detected: Value null at 'rule' failed to satisfy constraint: Member must not be null; Value '!' at 'targets.1.member.id' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+; Value null at 'targets.2.member.arn'"},
		"unknown operation":       {request{header: target("Nothing"), service: "events"}, answer{400, "UnknownOperationException"}, "'AWSEvents.Nothing'"},
		"unknown target":          {request{header: http.Header{"X-Amz-Target": {"DynamoDB_20120810.ListTables"}}, service: "events"}, answer{400, "UnknownOperationException"}, "DynamoDB"},
		"no target":               {request{body: "{}", service: "events"}, answer{400, "UnknownOperationException"}, ""},
		"unimplemented":           {request{header: target("CreateConnection"), body: "{}", service: "events"}, answer{400, "UnknownOperationException"}, "CreateConnection is not implemented"},
		"unimplemented, in ours":  {request{header: target("ListArchives"), body: "{}", service: "events"}, answer{400, "UnknownOperationException"}, "ListArchives is not implemented"},
		"huge":                    {request{header: target("ListRules"), body: `{"a":"` + strings.Repeat("x", 100_001) + `"}`, service: "events"}, answer{413, "RequestEntityTooLargeException"}, "100000"},
		"unknown path":            {request{method: "GET", url: "/detector/x/nothing", service: "guardduty"}, answer{404, "UnknownOperationException"}, "/detector/x/nothing"},
		"unknown method":          {request{method: "PUT", url: "/detector", service: "guardduty"}, answer{405, "UnknownOperationException"}, "PUT"},
		"empty label":             {request{method: "GET", url: "/detector/", service: "guardduty"}, answer{404, "UnknownOperationException"}, ""},
		"GuardDuty, no JSON":      {request{url: "/detector", body: "x", service: "guardduty"}, answer{400, "BadRequestException"}, "not a JSON object"},
		"GuardDuty, missing":      {request{url: "/detector", body: "{}", service: "guardduty"}, answer{400, "BadRequestException"}, "Value null at 'enable' failed to satisfy constraint: Member must not be null"},
		"GuardDuty, unimpl.":      {request{method: "GET", url: "/invitation", service: "guardduty"}, answer{400, "BadRequestException"}, "ListInvitations is not implemented"},
		"no action":               {request{header: form, body: "Version=2010-03-31", service: "sns"}, answer{400, "MissingAction"}, ""},
		"unknown action":          {request{header: form, body: "Action=Fly&Version=2010-03-31", service: "sns"}, answer{400, "InvalidAction"}, "Could not find operation Fly for version 2010-03-31"},
		"unknown version":         {request{header: form, body: "Action=ListTopics&Version=1999-01-01", service: "sns"}, answer{400, "InvalidAction"}, "1999"},
		"SNS, unimplemented":      {request{header: form, body: "Action=ListPhoneNumbersOptedOut&Version=2010-03-31", service: "sns"}, answer{400, "InvalidAction"}, "not implemented"},
		"JSON to SNS":             {request{header: http.Header{"Content-Type": {"application/json"}}, body: "{}", service: "sns"}, answer{400, "MalformedInput"}, "x-www-form-urlencoded"},
		"bad encoding":            {request{header: form, body: "Action=ListTopics&x=%zz", service: "sns"}, answer{400, "MalformedInput"}, "parameter 'x'"},
		"SNS, missing":            {request{header: form, body: "Action=Subscribe", service: "sns"}, answer{400, "ValidationError"}, "Value null at 'protocol'"},
		"an index that is none":   {request{header: form, body: "Action=TagResource&ResourceArn=a&Tags.member.x.Key=k", service: "sns"}, answer{400, "MalformedInput"}, "'x' is not an index"},
		"missing member of a map": {request{header: form, body: "Action=Publish&Message=m&MessageAttributes.entry.1.Name=attr1&MessageAttributes.entry.1.Value.StringValue=v", service: "sns"}, answer{400, "ValidationError"}, "1 validation error detected: Value null at 'messageAttributes.attr1.member.dataType' failed to satisfy constraint: Member must not be null"},
		"too many parameters":     {request{header: form, body: "Action=Publish&" + manyParameters(5000), service: "sns"}, answer{400, "MalformedInput"}, "4096"},
		"too many parts":          {request{header: form, body: "Action=Publish&" + strings.Repeat("a.", 30) + "b=1", service: "sns"}, answer{400, "MalformedInput"}, "too many parts"},
	} {
		t.Run(name, func(t *testing.T) {
			w := send(server, c.q.build(t))
			code, message := errorOf(t, w)
			if d := cmp.Diff(c.want, answer{w.Code, code}); d != "" {
				t.Errorf("answer (-want +got):\n%s%s", d, message)
			}
			if !strings.Contains(message, c.message) {
				t.Errorf("message = %q, want %q in it", message, c.message)
			}
		})
	}
}

func manyParameters(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("p" + strconv.Itoa(i) + "=1&")
	}
	return b.String()
}

// TestAnonymousOperations checks that a link in a mail needs no signature, and that nothing else can do without.
func TestAnonymousOperations(t *testing.T) {
	server, _ := fakeServer(t)
	for name, q := range map[string]request{
		"GET":  {method: "GET", url: "/?Action=ConfirmSubscription&TopicArn=arn&Token=right"},
		"POST": {header: form, body: "Action=ConfirmSubscription&TopicArn=arn&Token=right"},
	} {
		t.Run(name, func(t *testing.T) {
			w := send(server, q.build(t))
			if w.Code != 200 || !strings.Contains(w.Body.String(), "<SubscriptionArn>by &#39;&#39; &lt;&amp;&gt;\ufffd</SubscriptionArn>") {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
	w := send(server, request{method: "GET", url: "/?Action=ConfirmSubscription&TopicArn=arn&Token=wrong"}.build(t))
	if code, _ := errorOf(t, w); w.Code != 400 || code != "InvalidParameter" {
		t.Errorf("wrong token: %d %s", w.Code, code)
	}
	w = send(server, request{method: "GET", url: "/?Action=ConfirmSubscription&TopicArn=arn&Token=right", service: "sns", secret: "wrong"}.build(t))
	if w.Code != 403 {
		t.Errorf("a wrong signature where none is needed: status %d", w.Code)
	}
	w = send(server, request{header: form, body: "Action=ConfirmSubscription&Token=right&TopicArn=" + strings.Repeat("x", 70_000)}.build(t))
	if w.Code != 413 {
		t.Errorf("a large unsigned body: status %d", w.Code)
	}
	w = send(server, request{method: "GET", url: "/?Action=ListTopics"}.build(t))
	if w.Code != 403 {
		t.Errorf("ListTopics without a signature: status %d", w.Code)
	}
}

// TestStrangersBodiesAreNotRead checks that a request which cannot be right is refused by its headers alone.
func TestStrangersBodiesAreNotRead(t *testing.T) {
	server, _ := fakeServer(t)
	for name, q := range map[string]request{
		"unknown key": {header: target("PutEvents"), service: "events", key: "AKIANOBODY"},
		"unsigned":    {header: target("PutEvents")},
		"old":         {header: target("PutEvents"), service: "events", date: testNow.Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			r := q.build(t)
			r.Body = io.NopCloser(reader(func([]byte) (int, error) {
				t.Error("the body was read")
				return 0, io.EOF
			}))
			if w := send(server, r); w.Code != 400 {
				t.Errorf("status %d", w.Code)
			}
		})
	}
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

func TestPresignedRequests(t *testing.T) {
	server, _ := fakeServer(t)
	sign := func(date time.Time, expires string) *http.Request {
		r := httptest.NewRequest("GET", "http://localhost/?Action=ListTopics&Version=2010-03-31&X-Amz-Expires="+expires, nil)
		url, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, r,
			hexSum(""), "sns", testRegion, date)
		if err != nil {
			t.Fatal(err)
		}
		return httptest.NewRequest("GET", url, nil)
	}
	if w := send(server, sign(testNow.Add(-time.Hour), "7200")); w.Code != 200 {
		t.Errorf("a presigned request: status %d: %s", w.Code, w.Body)
	}
	for name, c := range map[string]struct {
		r    *http.Request
		code string
	}{
		"expired":    {sign(testNow.Add(-time.Hour), "3599"), "RequestExpired"},
		"too long":   {sign(testNow, "604801"), "IncompleteSignature"},
		"no expiry":  {sign(testNow, ""), "IncompleteSignature"},
		"future":     {sign(testNow.Add(time.Hour), "60"), "SignatureDoesNotMatch"},
		"more query": {func() *http.Request { r := sign(testNow, "60"); r.URL.RawQuery += "&NextToken=x"; return r }(), "SignatureDoesNotMatch"},
		"twice": {func() *http.Request {
			r := sign(testNow, "60")
			r.URL.RawQuery += "&X-Amz-Date=20261123T092004Z"
			return r
		}(), "IncompleteSignature"},
	} {
		t.Run(name, func(t *testing.T) {
			w := send(server, c.r)
			if code, message := errorOf(t, w); code != c.code || w.Code != 403 {
				t.Errorf("%d %s %s, want %s", w.Code, code, message, c.code)
			}
		})
	}
}

func TestServerFaultsKeepTheirSecrets(t *testing.T) {
	server, log := fakeServer(t)
	for _, method := range []string{"GET", "DELETE"} { // an error and a panic
		log.Reset()
		w := send(server, request{method: method, url: "/detector/x", service: "guardduty"}.build(t))
		code, message := errorOf(t, w)
		if w.Code != 500 || code != "InternalServerErrorException" || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s %s", method, w.Code, code, message)
		}
		if text := log.String(); !strings.Contains(text, "a secret of the server") || !strings.Contains(text, w.Header().Get("X-Amzn-RequestId")) {
			t.Errorf("%s: the log has not the error with the request's id: %s", method, text)
		}
	}
	if strings.Contains(log.String(), testSecret) || strings.Contains(log.String(), "Signature=") {
		t.Errorf("credentials in the log: %s", log)
	}
}

func TestAnswers(t *testing.T) {
	server, _ := fakeServer(t)
	for name, c := range map[string]struct {
		q    request
		want string
	}{
		"caller":          {request{method: "GET", url: "/detector", service: "guardduty"}, `{"detectorIds":["` + testKey + `"]}`},
		"unknown members": {request{header: target("ListEventBuses"), body: `{"Nonsense":{"a":[1]},"NamePrefix":"a\u002fb","Limit":null}`, service: "events"}, `{"NextToken":"a/b"}`},
		"nothing":         {request{header: target("DeleteRule"), body: `{"Name":"x"}`, service: "events"}, ``},
		"public":          {request{method: "GET", url: "/healthz"}, "public /healthz"},
		"public root":     {request{method: "GET"}, "public /"},
	} {
		t.Run(name, func(t *testing.T) {
			w := send(server, c.q.build(t))
			if w.Code != 200 || w.Body.String() != c.want {
				t.Errorf("status %d: %s, want %s", w.Code, w.Body, c.want)
			}
		})
	}
}
