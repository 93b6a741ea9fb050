package awsapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsevents "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	awsguardduty "github.com/aws/aws-sdk-go-v2/service/guardduty"
	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/awsapi/eventbridge"
	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/sns"
	"vedette.dev/vedette/internal/awsapi/wire"
)

const (
	testKey    = "AKIAVEDETTETEST00001"
	testSecret = "secret/with+slash and space"
	testRegion = "eu-central-1"
)

type testKeys map[string]string

func (k testKeys) Secret(id string) (string, bool) { s, ok := k[id]; return s, ok }

// listen serves a handler on a loopback port until the test ends, behind a mux, which is particular about paths.
func listen(t testing.TB, h http.Handler) (url string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", h)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func sdkConfig(url string) aws.Config {
	return aws.Config{
		Region:       testRegion,
		BaseEndpoint: aws.String(url),
		Credentials:  credentials.NewStaticCredentialsProvider(testKey, testSecret, ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// TestEveryOperationRoundTrips sends every operation's input, with every member set, from Amazon's own Go client, and
// returns every member of its output: both must arrive unchanged.
func TestEveryOperationRoundTrips(t *testing.T) {
	server, err := New(Options{
		GuardDuty: guardduty.Unimplemented{}, EventBridge: eventbridge.Unimplemented{}, SNS: sns.Unimplemented{},
		Keys: testKeys{testKey: testSecret}, Region: testRegion,
	})
	if err != nil {
		t.Fatal(err)
	}
	var arrived, answer any
	for _, service := range []*wire.Service{server.guardduty, server.eventbridge, server.sns} {
		for i := range service.Operations {
			if op := &service.Operations[i]; op.Call != nil {
				op.Call = func(_ context.Context, in any) (any, error) { arrived = in; return answer, nil }
			}
		}
	}
	config := sdkConfig(listen(t, server))
	for _, c := range []struct {
		service *wire.Service
		client  any
		api     any
		skip    map[string]bool // members that the client does not send as they are
	}{
		{server.guardduty, awsguardduty.NewFromConfig(config), guardduty.Unimplemented{}, nil},
		// With an EndpointId the client looks for a global endpoint in the DNS.
		{server.eventbridge, awsevents.NewFromConfig(config), eventbridge.Unimplemented{}, map[string]bool{"EndpointId": true}},
		{server.sns, awssns.NewFromConfig(config), sns.Unimplemented{}, nil},
	} {
		for _, op := range c.service.Operations {
			if op.Call == nil {
				continue
			}
			t.Run(c.service.ID+"/"+op.Name, func(t *testing.T) {
				method := reflect.ValueOf(c.client).MethodByName(op.Name)
				ours, _ := reflect.TypeOf(c.api).MethodByName(op.Name)
				f := &filler{skip: c.skip}
				in, out := op.New(), reflect.New(ours.Type.Out(0).Elem())
				f.fill(reflect.ValueOf(in).Elem(), op.Input)
				f.fill(out.Elem(), op.Output)
				arrived, answer = nil, out.Interface()
				theirs := reflect.New(method.Type().In(1).Elem())
				translateTo(t, theirs.Elem(), reflect.ValueOf(in).Elem(), op.Input)
				results := method.Call([]reflect.Value{reflect.ValueOf(t.Context()), theirs})
				if err, _ := results[1].Interface().(error); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(in, arrived); d != "" {
					t.Errorf("input (-sent +arrived):\n%s", d)
				}
				want := reflect.New(results[0].Type().Elem())
				translateTo(t, want.Elem(), out.Elem(), op.Output)
				for i := range op.Output.Members {
					name := exported(op.Output.Members[i].Name)
					if d := cmp.Diff(want.Elem().FieldByName(name).Interface(), results[0].Elem().FieldByName(name).Interface(),
						cmp.FilterPath(func(p cmp.Path) bool { return strings.HasPrefix(p.Last().String(), ".noSmithy") }, cmp.Ignore())); d != "" {
						t.Errorf("output member %s (-sent +arrived):\n%s", name, d)
					}
				}
			})
		}
	}
}

func exported(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// filler sets every member of a structure to a different valid value.
type filler struct {
	n    int
	skip map[string]bool
}

func (f *filler) fill(v reflect.Value, s *wire.Shape) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	f.n++
	switch s.Kind {
	case wire.String:
		v.SetString(f.text(s))
	case wire.Boolean:
		v.SetBool(true)
	case wire.Integer, wire.Long:
		n := int64(f.n)
		if s.HasMin {
			n = max(n, s.Min)
		}
		if s.HasMax {
			n = min(n, s.Max)
		}
		v.SetInt(n)
	case wire.Double:
		v.SetFloat(float64(f.n) + 0.25)
	case wire.Timestamp:
		v.Set(reflect.ValueOf(time.Unix(1795425580+int64(f.n), 377e6).UTC()))
	case wire.Blob:
		v.SetBytes([]byte{0, 255, byte(f.n)})
	case wire.Document:
		v.SetBytes([]byte(`{"id":"a document"}`))
	case wire.List:
		n := 2
		if s.HasMax {
			n = min(n, int(s.Max))
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(v.Index(i), s.Element)
		}
	case wire.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key, s.Key)
			f.fill(value, s.Element)
			v.SetMapIndex(key, value)
		}
	case wire.Structure:
		for i := range s.Members {
			if !f.skip[s.Members[i].Name] {
				f.fill(v.Field(i), s.Members[i].Shape)
			}
		}
	}
}

// text returns a string that satisfies the shape: with every troublesome character if nothing forbids it.
func (f *filler) text(s *wire.Shape) string {
	if len(s.Enum) > 0 {
		return s.Enum[f.n%len(s.Enum)]
	}
	candidates := []string{
		fmt.Sprintf("t%d <&> \"é\" + %%41/?=;\n🙂 end", f.n),
		fmt.Sprintf("t%d", f.n), fmt.Sprintf("t-%d.aa", f.n), "aws.partner/a/b", "events:PutEvents", "123456789012", "12345",
		fmt.Sprintf("arn:aws:guardduty:eu-central-1:123456789012:detector/%032d", f.n),
		fmt.Sprintf("arn:aws:events:eu-central-1:123456789012:rule/name%d", f.n),
		fmt.Sprintf("arn:aws:events:eu-central-1:123456789012:event-bus/b%d", f.n),
		fmt.Sprintf("arn:aws:iam::123456789012:role/r%d", f.n), "arn:aws:ecs:eu-central-1:123456789012:cluster/a-b",
		"https://example.com/", "$.detail.name",
	}
	for _, c := range candidates {
		n := int64(len([]rune(c)))
		if (s.Pattern == nil || s.Pattern.Match(c)) && (!s.HasMin || n >= s.Min) && (!s.HasMax || n <= s.Max) {
			return c
		}
	}
	panic(fmt.Sprintf("no text satisfies %s %v", s.Name, s.Pattern))
}

// translateTo copies a structure of ours into the same of Amazon's client, member by member.
func translateTo(t *testing.T, dst, src reflect.Value, s *wire.Shape) {
	t.Helper()
	if src.Kind() == reflect.Pointer {
		if src.IsNil() {
			return
		}
		src = src.Elem()
	}
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	switch s.Kind {
	case wire.Structure:
		for i := range s.Members {
			field := dst.FieldByName(exported(s.Members[i].Name))
			if !field.IsValid() {
				t.Fatalf("Amazon's %s has no member %s", dst.Type(), s.Members[i].Name)
			}
			translateTo(t, field, src.Field(i), s.Members[i].Shape)
		}
	case wire.List:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeSlice(dst.Type(), src.Len(), src.Len()))
		for i := range src.Len() {
			translateTo(t, dst.Index(i), src.Index(i), s.Element)
		}
	case wire.Map:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeMap(dst.Type()))
		for _, key := range src.MapKeys() {
			value := reflect.New(dst.Type().Elem()).Elem()
			translateTo(t, value, src.MapIndex(key), s.Element)
			dst.SetMapIndex(key.Convert(dst.Type().Key()), value)
		}
	case wire.Document:
		dst.FieldByName("Id").Set(reflect.ValueOf(aws.String("a document")))
	default:
		dst.Set(src.Convert(dst.Type()))
	}
}
