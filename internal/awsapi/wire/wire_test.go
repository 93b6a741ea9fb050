package wire

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// everything has a member of each kind.
type everything struct {
	Name    string
	Flag    *bool
	Count   *int64
	Size    *float64
	At      *time.Time
	Data    []byte
	Names   []string
	Things  []thing
	Lookup  map[string]thing
	Inner   *thing
	Raw     json.RawMessage
	Numbers []int64
}

type thing struct {
	Key   string
	Value *string
}

var (
	text       = &Shape{Name: "text", Kind: String, HasMin: true, Min: 1, HasMax: true, Max: 8}
	secret     = &Shape{Name: "secret", Kind: String, Sensitive: true, HasMax: true, Max: 3}
	thingShape = &Shape{Name: "Thing", Kind: Structure, Members: []Member{
		{Name: "Key", Wire: "Key", Required: true, Shape: &Shape{Kind: String, Pattern: NewPattern("(?!aws:)[a-z:]+", "[a-z:]+", "aws:")}},
		{Name: "Value", Wire: "Value", Shape: secret},
	}}
	everythingShape = &Shape{Name: "Everything", Kind: Structure, Members: []Member{
		{Name: "Name", Wire: "Name", Required: true, Shape: text},
		{Name: "Flag", Wire: "Flag", Shape: &Shape{Kind: Boolean}},
		{Name: "Count", Wire: "Count", Shape: &Shape{Kind: Integer, HasMin: true, Min: -1, HasMax: true, Max: 10}},
		{Name: "Size", Wire: "Size", Shape: &Shape{Kind: Double}},
		{Name: "At", Wire: "At", Shape: &Shape{Kind: Timestamp}},
		{Name: "Data", Wire: "Data", Shape: &Shape{Kind: Blob}},
		{Name: "Names", Wire: "Names", Shape: &Shape{Kind: List, Element: text, Flattened: true, HasMax: true, Max: 3}},
		{Name: "Things", Wire: "Things", Shape: &Shape{Kind: List, Element: thingShape}},
		{Name: "Lookup", Wire: "Lookup", Shape: &Shape{Kind: Map, Key: text, Element: thingShape, KeyName: "Name", ValueName: "Value"}},
		{Name: "Inner", Wire: "Inner", Shape: thingShape},
		{Name: "Raw", Wire: "Raw", Shape: &Shape{Kind: Document}},
		{Name: "Numbers", Wire: "Numbers", Shape: &Shape{Kind: List, Element: &Shape{Kind: Long}, ElementName: "n"}},
	}}
)

func decodeQuery(query string) (everything, error) {
	var v everything
	form, err := ParseForm(query)
	if err != nil {
		return v, err
	}
	tree, err := ParseQuery(everythingShape, form)
	if err != nil {
		return v, err
	}
	return v, Decode(everythingShape, &v, tree)
}

func decodeJSON(body string) (everything, error) {
	var v everything
	tree, err := ParseJSON([]byte(body))
	if err != nil {
		return v, err
	}
	return v, Decode(everythingShape, &v, tree)
}

func TestQuery(t *testing.T) {
	for query, want := range map[string]everything{
		"Name=a%20b&Flag=true&Count=-1&Size=0.5&At=2026-11-23T09:20:04Z&Data=AP8%3D": {Name: "a b", Flag: new(true), Count: new(int64(-1)),
			Size: new(0.5), At: new(time.Date(2026, 11, 23, 9, 20, 4, 0, time.UTC)), Data: []byte{0, 255}},
		"Name=n&Names.2=b&Names.10=c&Names.1=a":                                      {Name: "n", Names: []string{"a", "b", "c"}},
		"Name=n&Things.member.1.Key=a&Things.member.2.Key=b&Things.member.2.Value=v": {Name: "n", Things: []thing{{Key: "a"}, {"b", new("v")}}},
		"Name=n&Lookup.entry.1.Name=k&Lookup.entry.1.Value.Key=x":                    {Name: "n", Lookup: map[string]thing{"k": {Key: "x"}}},
		"Name=n&Inner.Key=x&Numbers.n.1=9007199254740993":                            {Name: "n", Inner: &thing{Key: "x"}, Numbers: []int64{9007199254740993}},
		"Name=n&Things=&Unknown.member.1=x&Name=second":                              {Name: "n", Things: []thing{}},
		"Name=1.5": {Name: "1.5"},
	} {
		got, err := decodeQuery(query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", query, d)
		}
	}
}

func TestViolations(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                                                 "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null",
		`{"Name":null}`:                                      "Value null at 'name'",
		`{"Name":""}`:                                        "Value '' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1",
		`{"Name":"éééééééé"}`:                                "", // eight characters, sixteen bytes
		`{"Name":"ééééééééé"}`:                               "Member must have length less than or equal to 8",
		`{"Name":"n","Count":11}`:                            "Value 11 at 'count' failed to satisfy constraint: Member must have value less than or equal to 10",
		`{"Name":"n","Count":-2}`:                            "Member must have value greater than or equal to -1",
		`{"Name":"n","Names":["a","b","c","d"]}`:             "Value '[a, b, c, d]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 3",
		`{"Name":"n","Names":["a",null]}`:                    "Value null at 'names.2.member'",
		`{"Name":"n","Inner":{"Key":"aws:x"}}`:               "Value 'aws:x' at 'inner.key' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!aws:)[a-z:]+",
		`{"Name":"n","Inner":{"Key":"x\n"}}`:                 "Member must satisfy regular expression pattern",
		`{"Name":"n","Lookup":{"k":{}}}`:                     "Value null at 'lookup.k.member.key'",
		`{"Name":"n","Lookup":{"":{"Key":"a"}}}`:             "Map keys must satisfy constraint: [Member must have length greater than or equal to 1]",
		`{"Name":"n","Things":[{"Key":"a","Value":"hush"}]}`: "Value  at 'things.1.member.value' failed to satisfy constraint: Member must have length less than or equal to 3",
	} {
		_, err := decodeJSON(body)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", body, err)
			}
			continue
		}
		var invalid *ValidationError
		if !errors.As(err, &invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: a sensitive value in %v", body, err)
		}
	}
}

func TestViolationsAreBounded(t *testing.T) {
	_, err := decodeJSON(`{"Name":"` + strings.Repeat("é", 100_000) + `","Things":[` + strings.Repeat(`{},`, 5000) + `{}]}`)
	if err == nil || len(err.Error()) > 20_000 || !utf8.ValidString(err.Error()) {
		t.Errorf("a message of %d bytes", len(err.Error()))
	}
}

func TestTypes(t *testing.T) {
	for _, body := range []string{
		`{"Name":1}`, `{"Name":["a"]}`, `{"Name":"n","Flag":"true"}`, `{"Name":"n","Flag":1}`, `{"Name":"n","Count":"1"}`, `{"Name":"n","Count":1.5}`,
		`{"Name":"n","Count":1e300}`, `{"Name":"n","Count":2147483648}`, `{"Name":"n","Size":"NaN"}`, `{"Name":"n","At":"yesterday"}`, `{"Name":"n","At":1e99}`,
		`{"Name":"n","Data":"%%"}`, `{"Name":"n","Names":"a"}`, `{"Name":"n","Lookup":[]}`, `{"Name":"n","Inner":"x"}`,
	} {
		_, err := decodeJSON(body)
		var malformed *SerializationError
		if !errors.As(err, &malformed) {
			t.Errorf("%s: %v, want a *SerializationError", body, err)
		}
	}
	for _, query := range []string{"Name=n&Size=NaN", "Name=n&Size=Inf", "Name=n&Flag=yes", "Name=n&Things.member.01.Key=a", "Name=n&Things.member.-1.Key=a",
		"Name=n&Lookup.entry.1.Value.Key=x", "Name=n&Lookup.entry.1.Name=k&Lookup.entry.2.Name=k"} {
		_, err := decodeQuery(query)
		var malformed *SerializationError
		if !errors.As(err, &malformed) {
			t.Errorf("%s: %v, want a *SerializationError", query, err)
		}
	}
}

func TestTimestamps(t *testing.T) {
	for _, text := range []string{`1795425604.123`, `"1795425604.123"`, `"2026-11-23T09:20:04.123Z"`, `"2026-11-23T10:20:04.123+01:00"`, `1.795425604123E9`} {
		v, err := decodeJSON(`{"Name":"n","At":` + text + `}`)
		if err != nil || v.At.UnixMilli() != 1795425604123 {
			t.Errorf("%s: %v, %v", text, v.At, err)
		}
	}
	for ms, want := range map[int64]string{
		1795425604123: "1795425604.123", 1795425604120: "1795425604.12", 1795425604000: "1795425604", 1795425604003: "1795425604.003",
		-1500: "-1.50", 0: "0",
	} {
		if got := string(appendSeconds(nil, time.UnixMilli(ms))); got != want {
			t.Errorf("%d ms: %s, want %s", ms, got, want)
		}
	}
}

// TestJSONAnswer reads an answer back with encoding/json.
func TestJSONAnswer(t *testing.T) {
	in := everything{Name: "\x00\x1f\"\\/<>&\u2028é🙂\xff\n\t\r\x7f", Flag: new(false), Count: new(int64(0)), Size: new(2.0),
		Names: []string{}, Lookup: map[string]thing{"b": {Key: "x"}, "a": {"y", new("z")}}, Raw: json.RawMessage(`{"x":[1]}`)}
	var got map[string]any
	if err := json.Unmarshal(AppendJSON(nil, everythingShape, &in), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"Name": "\x00\x1f\"\\/<>&\u2028é🙂\ufffd\n\t\r\x7f", "Flag": false, "Count": 0.0, "Size": 2.0, "Names": []any{},
		"Lookup": map[string]any{"b": map[string]any{"Key": "x"}, "a": map[string]any{"Key": "y", "Value": "z"}}, "Raw": map[string]any{"x": []any{1.0}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRoutes(t *testing.T) {
	s := (&Service{Protocol: RESTJSON, Operations: []Operation{
		{Name: "List", Method: "GET", URI: "/detector"}, {Name: "Get", Method: "GET", URI: "/detector/{Id}"},
		{Name: "Filter", Method: "GET", URI: "/detector/{Id}/filter/{Name}"}, {Name: "Tags", Method: "GET", URI: "/tags/{Arn}"},
	}}).Index()
	for path, want := range map[string]struct {
		name   string
		labels map[string]string
	}{
		"/detector":               {"List", map[string]string{}},
		"/detector/a%2Fb":         {"Get", map[string]string{"Id": "a/b"}},
		"/detector/x/filter/%25":  {"Filter", map[string]string{"Id": "x", "Name": "%"}},
		"/tags/arn%3Aaws%3Aa%2Fb": {"Tags", map[string]string{"Arn": "arn:aws:a/b"}},
		"/detector/":              {}, "/detector/%zz": {}, "//detector": {}, "/detector/x/y": {}, "/": {}, "": {}, "/tags/a/b": {},
	} {
		op, labels, _ := s.Route("GET", path)
		got := ""
		if op != nil {
			got = op.Name
		}
		if got != want.name || !maps.Equal(labels, want.labels) {
			t.Errorf("%s: %q %v", path, got, labels)
		}
	}
	if op, _, known := s.Route("PUT", "/detector"); op != nil || !known {
		t.Error("another method of a known path is not told from an unknown path")
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"Name=n&Lookup.entry.1.Name=k&Lookup.entry.1.Value.Key=x&Things.member.1.Key=a", "a.b.c=1&a=2&a.b=3", "Names.1=&Names=", "%=&=&==&.=.&..", "Things.member=x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		v, err := decodeQuery(query)
		check(t, v, err)
	})
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"Name":"n","Lookup":{"k":{"Key":"a"}},"Raw":{"a":[1,null]},"At":1.5,"Data":"AA=="}`, `{"Name":"\ud800","Names":[null]}`, `{"a":{"b":[[[]]]}}`, ``, `{`, `{}x`, `{"Count":1E+2}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		v, err := decodeJSON(body)
		check(t, v, err)
		if err != nil {
			return
		}
		// What was accepted is spelled so that it reads back the same.
		again, err := decodeJSON(string(AppendJSON(nil, everythingShape, &v)))
		if err != nil {
			t.Fatalf("%v in %s", err, AppendJSON(nil, everythingShape, &v))
		}
		v.Size, again.Size, v.At, again.At = nil, nil, nil, nil // rounded to a millisecond; large numbers
		if d := cmp.Diff(v, again); d != "" && !reflect.DeepEqual(v, again) {
			t.Error(d)
		}
	})
}

// check holds for whatever is decoded: bounded refusals, and answers that a client can read.
func check(t *testing.T, v everything, err error) {
	t.Helper()
	if err != nil {
		var invalid *ValidationError
		var malformed *SerializationError
		if !errors.As(err, &invalid) && !errors.As(err, &malformed) {
			t.Errorf("an error of another type: %T %v", err, err)
		}
		if len(err.Error()) > maxViolations*(maxShown+1024) {
			t.Errorf("a message of %d bytes", len(err.Error()))
		}
	}
	if text := AppendJSON(nil, everythingShape, &v); v.Raw == nil && !json.Valid(text) {
		t.Errorf("not JSON: %s", text)
	}
	op := &Operation{Name: "Do", Wrapper: "DoResult", Output: everythingShape}
	answer := AppendXML(nil, &Service{Namespace: "n"}, op, &v, "id")
	if err := xml.Unmarshal(answer, new(struct{ XMLName xml.Name })); err != nil {
		t.Errorf("not XML: %v in %s", err, answer)
	}
}

func FuzzRoute(f *testing.F) {
	s := (&Service{Protocol: RESTJSON, Operations: []Operation{{Name: "Filter", Method: "GET", URI: "/detector/{Id}/filter/{Name}"}}}).Index()
	for _, seed := range []string{"/detector/a/filter/b", "/detector/%2F/filter/%00", "/detector//filter/b", "/////////////", "/detector/%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		op, labels, _ := s.Route("GET", path)
		if op != nil && (len(labels) != 2 || labels["Id"] == "" || labels["Name"] == "") {
			t.Errorf("%q gives %v", path, labels)
		}
		s.Owns(path)
	})
}

func BenchmarkDecodeJSON(b *testing.B) {
	body := `{"Name":"n","Lookup":{"k":{"Key":"a"}},"Things":[{"Key":"a"},{"Key":"b","Value":"v"}],"At":1795425604.123}`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeJSON(body); err != nil {
			b.Fatal(err)
		}
	}
}
