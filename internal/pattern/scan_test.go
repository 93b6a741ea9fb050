package pattern

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestEveryMutation changes each byte of an event to each other byte, and cuts it everywhere. Every field of the event is
// named by a pattern, so exactly what encoding/json takes for a JSON object must be accepted.
func TestEveryMutation(t *testing.T) {
	m := compileAll(t, []string{`{"a":{"b":["x"],"cd":[1],"e":{"f":[null]}},"g":[true]}`}).NewMatcher()
	event := []byte(`{"a":{"b":"x\u00e9\n","cd":[1,-2.5e+3,{}, ["y",false]],"e":{"f":null}} , "g":true}`)
	if _, err := m.MatchJSON(nil, event); err != nil {
		t.Fatal(err)
	}
	for i := range event {
		if _, err := m.MatchJSON(nil, event[:i]); err == nil {
			t.Errorf("accepted %s", event[:i])
		}
		for b := range 256 {
			changed := slices.Clone(event)
			changed[i] = byte(b)
			_, err := m.MatchJSON(nil, changed)
			if want := json.Valid(changed); (err == nil) != want {
				t.Errorf("%q: %v, valid %t", changed, err, want)
			}
		}
	}
}

// TestSkipping puts every kind of value, of every length around the eight bytes read at once, where no pattern looks.
func TestSkipping(t *testing.T) {
	m := compileAll(t, []string{`{"end":["here"]}`}).NewMatcher()
	for n := range 40 {
		pad := strings.Repeat("x", n)
		for _, v := range []string{
			`"` + pad + `"`, `"` + pad + `\""`, `"\\` + pad + `\\"`, `{"` + pad + `":{}}`, `["` + pad + `]","[{"]`, `[` + strings.Repeat("1,", n) + `[[]],{"a":[]}]`,
			`{"a":"` + pad + `}","b":{"c":["` + pad + `\\"]}}`, strings.Repeat("[", n) + strings.Repeat("]", n) + "null"[min(4, n*4):], "1" + strings.Repeat("0", n),
		} {
			event := `{"` + pad + `":` + v + `,"end":"here"}`
			if !json.Valid([]byte(event)) {
				t.Fatalf("test event %s", event)
			}
			if ids, err := m.MatchJSON(nil, []byte(event)); err != nil || len(ids) != 1 {
				t.Errorf("%s: %v %v", event, ids, err)
			}
		}
	}
}

// TestSkippingDeep checks that brackets are matched by their kind at every depth.
func TestSkippingDeep(t *testing.T) {
	m := compileAll(t, []string{`{"end":["here"]}`}).NewMatcher()
	for depth := 1; depth < 400; depth += 7 {
		var opening, closing []byte
		for i := range depth {
			if (i*i/3)%2 == 0 {
				opening, closing = append(opening, '['), append(closing, ']')
			} else {
				opening, closing = append(opening, `{"k":`...), append(closing, '}')
			}
		}
		slices.Reverse(closing)
		for wrong := -1; wrong < depth; wrong += 1 + depth/20 {
			closed := slices.Clone(closing)
			if wrong >= 0 {
				closed[wrong] ^= ']' ^ '}'
			}
			event := fmt.Sprintf(`{"z":%s1%s,"end":"here"}`, opening, closed)
			_, err := m.MatchJSON(nil, []byte(event))
			if valid := json.Valid([]byte(event)); valid != (wrong < 0) || valid != (err == nil) {
				t.Fatalf("%d levels, wrong at %d: %v", depth, wrong, err)
			}
		}
	}
}

// TestBoundAgainstJSON checks that records and JSON events with the same values match the same patterns.
func TestBoundAgainstJSON(t *testing.T) {
	flat := fieldNames{"a", "b", "c", "d", "e"}
	var patterns []*Pattern
	for _, p := range others(t) {
		if !slices.ContainsFunc(Compile([]*Pattern{p}).Paths(), func(path string) bool { return !slices.Contains(flat, path) }) {
			patterns = append(patterns, p)
		}
	}
	if len(patterns) < 15 {
		t.Fatalf("only %d patterns", len(patterns))
	}
	set := Compile(patterns)
	bound, err := set.Bind(flat.resolve)
	if err != nil {
		t.Fatal(err)
	}
	records, events := bound.NewMatcher(), set.NewMatcher()
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		r := &testRecord{}
		var members []string
		for _, name := range flat {
			var values []Value
			var texts []string
			for range rapid.IntRange(0, 3).Draw(t, "values") {
				var v Value
				switch rapid.IntRange(0, 5).Draw(t, "kind") {
				case 0:
					v = NumberValue(rapid.SampledFrom([]float64{1, 2, 2.5, 5, -1.5, 301.8}).Draw(t, "number"))
					texts = append(texts, fmt.Sprint(v.Num))
				case 1:
					v = BoolValue(rapid.Bool().Draw(t, "bool"))
					texts = append(texts, fmt.Sprint(v.Kind == True))
				case 2:
					texts = append(texts, "null")
				default:
					v = StringValue(rapid.SampledFrom([]string{"", "x", "X", "y", "xx*y", "SSX", "10.0.0.7", "2001:db8::1", "iiSS"}).Draw(t, "string"))
					text, _ := json.Marshal(v.Str)
					texts = append(texts, string(text))
				}
				values = append(values, v)
			}
			r.values = append(r.values, values)
			members = append(members, fmt.Sprintf("%q:[%s]", name, strings.Join(texts, ",")))
		}
		event := "{" + strings.Join(members, ",") + "}"
		want, err := events.MatchJSON(nil, []byte(event))
		if err != nil {
			t.Fatal(err)
		}
		got := records.Match(nil, r)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s: %s", event, diff)
		}
		matched += len(got)
	})
	if matched == 0 {
		t.Error("nothing ever matched")
	}
}
