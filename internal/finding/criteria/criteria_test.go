package criteria

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vedette.dev/vedette/internal/finding"
)

func samples(t testing.TB) [][]byte {
	t.Helper()
	list, err := finding.Samples(nil, finding.Identity{AccountID: "111122223333", Region: "us-east-1", DetectorID: "d"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	texts := make([][]byte, len(list))
	for i, f := range list {
		if texts[i], err = f.JSON(); err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

const example = `{"title":"a \"quoted\" \u00e9 title","confidence":null,"arn":"x",
 "resource":{"ecsClusterDetails":{"taskDetails":{"containers":[{"image":"one"},{"image":"two","other":[{},[1,"]"]]}]}},
             "instanceDetails":{"launchTime":"2026-11-23T09:20:04Z"}},
 "service":{"additionalInfo":{"value":"{\"threatListName\":\"mine\",\"sample\":true,\"value\":\"x\",\"nested\":{\"threatName\":\"no\"}}","type":"default"},
  "runtimeDetails":{"process":{"startTime":1728014790.373,"pid":7,"lineage":[{"name":"sh"},{"name":"bash"}]}},
  "action":{"networkConnectionAction":{"blocked":false,"remotePortDetails":{"port":443}}}}}`

func TestMatch(t *testing.T) {
	seven, year := int64(7), int64(1728014790373)
	for name, c := range map[string]struct {
		path string
		cond Condition
		want bool
	}{
		"text":            {"title", Condition{Equals: []string{"x", `a "quoted" é title`}}, true},
		"other text":      {"title", Condition{Equals: []string{"a"}}, false},
		"not":             {"title", Condition{NotEquals: []string{"a"}}, true},
		"in a list":       {"resource.ecsClusterDetails.taskDetails.containers.image", Condition{Equals: []string{"two"}}, true},
		"not in a list":   {"resource.ecsClusterDetails.taskDetails.containers.image", Condition{NotEquals: []string{"two"}}, false},
		"null is absent":  {"confidence", Condition{LessThan: &seven}, false},
		"absent":          {"description", Condition{Equals: []string{""}}, false},
		"not, absent":     {"description", Condition{NotEquals: []string{"x"}}, true},
		"number":          {"service.runtimeDetails.process.pid", Condition{Equals: []string{"7.0"}}, true},
		"number bound":    {"service.runtimeDetails.process.pid", Condition{GreaterThan: &seven}, false},
		"epoch seconds":   {"service.runtimeDetails.process.startTime", Condition{Gte: &year, Lte: &year}, true},
		"ISO time":        {"resource.instanceDetails.launchTime", Condition{Equals: []string{"2026-11-23T10:20:04+01:00"}}, true},
		"boolean":         {"service.action.networkConnectionAction.blocked", Condition{Equals: []string{"false"}}, true},
		"additional info": {"service.additionalInfo.threatListName", Condition{Equals: []string{"mine"}}, true},
		"info boolean":    {"service.additionalInfo.sample", Condition{Equals: []string{"true"}}, true},
		"nested info":     {"service.additionalInfo.threatName", Condition{Equals: []string{"no"}}, false},
		"info itself":     {"service.additionalInfo.type", Condition{Equals: []string{"default"}}, true},
		"info text":       {"service.additionalInfo.value", Condition{Equals: []string{"x"}}, false},
		"wildcard":        {"service.runtimeDetails.process.lineage.name", Condition{Matches: []string{"?as*"}}, true},
		"no wildcard":     {"service.runtimeDetails.process.lineage.name", Condition{NotMatches: []string{"*sh"}}, false},
		"column":          {"severity", Condition{Gt: &seven}, true},
		"column's word":   {"id", Condition{Equals: []string{"1"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Compile(Criteria{map[string]Condition{c.path: c.cond}}, true)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // a matcher is used again
				got, err := m.Match(&Subject{ID: "1", Severity: 8, JSON: []byte(example)})
				if err != nil || got != c.want {
					t.Errorf("%v, %v; want %v", got, err, c.want)
				}
			}
		})
	}
}

func TestMatchBrokenJSON(t *testing.T) {
	m, err := Compile(Criteria{map[string]Condition{"title": {Equals: []string{"x"}}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "{", `{"title"}`, `{"title":}`, `{"title":"x"`, `{"title":"x"}}`, `{"title" "x"}`, `{"title":"\q"}`, `{"a":[}`, `{"a":1 "title":"x"}`,
		`{"title":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", `{"a":"\`,
	} {
		if _, err := m.Match(&Subject{JSON: []byte(text)}); err == nil {
			t.Errorf("%.40s: no error", text)
		}
	}
}

func TestRefusals(t *testing.T) {
	many := map[string]Condition{}
	for i := range MaxAttributes + 1 {
		many[fmt.Sprint(i)] = Condition{Equals: []string{"x"}}
	}
	for name, c := range map[string]struct {
		criterion map[string]Condition
		want      string
	}{
		"too many":       {many, "more than 50"},
		"unknown":        {map[string]Condition{"no.such": {}}, "unknown attribute 'no.such'"},
		"many wildcards": {map[string]Condition{"title": {Matches: []string{"*?*?*?"}}}, "more than 5 wildcards"},
		"wildcard time":  {map[string]Condition{"createdAt": {Matches: []string{"2*"}}}, "needs a text attribute"},
		"many wild":      {map[string]Condition{"title": {Matches: make([]string, 51)}}, "1 to 50 values"},
	} {
		_, err := Compile(Criteria{c.criterion}, true)
		var refused *InvalidError
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestEveryMemberHasAKind checks that every member of a sample can be named by criteria, and that its value is found.
func TestEveryMemberHasAKind(t *testing.T) {
	for _, text := range samples(t) {
		var walk func(path string, v any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case map[string]any:
				for name, item := range v {
					walk(strings.TrimPrefix(path+"."+name, "."), item)
				}
			case []any:
				for _, item := range v {
					walk(path, item)
				}
			case nil:
			default:
				f, ok := NewField(path)
				if !ok {
					t.Errorf("criteria cannot name %s", path)
					return
				}
				if _, ok, err := f.First(&Subject{JSON: text}); !ok || err != nil {
					t.Errorf("%s has no value: %v", path, err)
				}
			}
		}
		var tree map[string]any
		if err := json.Unmarshal(text, &tree); err != nil {
			t.Fatal(err)
		}
		walk("", tree)
	}
}

func TestWildcards(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"", "", true}, {"?", "", false}, {"a*c", "abc", true}, {"a*c", "ab", false}, {"*b*", "abc", true},
		{"a?c", "aéc", true}, {"*a*a*a*a*b", strings.Repeat("a", 3000), false}, {"**", "x", true}, {"abc", "abcd", false},
	} {
		if got := matchWildcard(c.pattern, c.text); got != c.want {
			t.Errorf("matchWildcard(%q, %.20q) = %v", c.pattern, c.text, got)
		}
	}
}

// TestWildcardsAgainstRegularExpressions compares with another way to match.
func TestWildcardsAgainstRegularExpressions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern, text := rapid.StringMatching(`[ab*?]{0,8}`).Draw(t, "pattern"), rapid.StringMatching(`[abé]{0,8}`).Draw(t, "text")
		expression := strings.NewReplacer("*", ".*", "?", ".").Replace(pattern)
		if want := regexp.MustCompile("^" + expression + "$").MatchString(text); matchWildcard(pattern, text) != want {
			t.Errorf("%q on %q: want %v", pattern, text, want)
		}
	})
}

// FuzzMatch compiles criteria and applies them to a finding and to a text that may be none; nothing may panic, and the
// finding can always be read.
func FuzzMatch(f *testing.F) {
	for _, seed := range []string{
		`{"criterion":{"type":{"equals":["x"]},"severity":{"gte":4,"lt":9},"service.archived":{"neq":["true"]}}}`,
		`{"criterion":{"service.runtimeDetails.process.lineage.name":{"matches":["*a?"],"notMatches":["*"]}}}`,
		`{"criterion":{"updatedAt":{"equals":["1e999","NaN","2026-11-23T09:20:04Z"]}}}`, `{"criterion":{"":{},".":{}}}`,
		`{"criterion":{"service.additionalInfo.threatListName":{"notEquals":["a"]}}}`,
	} {
		f.Add([]byte(seed), []byte(example))
	}
	good := samples(f)[0]
	f.Fuzz(func(t *testing.T, data, text []byte) {
		var in Criteria
		if json.Unmarshal(data, &in) != nil {
			return
		}
		m, err := Compile(in, true)
		if err != nil {
			return
		}
		if _, err := m.Match(&Subject{JSON: good}); err != nil {
			t.Error(err)
		}
		if _, err := m.Match(&Subject{JSON: text}); err != nil && json.Valid(text) && !errors.Is(err, errDeep) {
			t.Errorf("%v, though it is JSON", err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	text := samples(b)[0]
	m, err := Compile(Criteria{map[string]Condition{
		"service.runtimeDetails.process.name": {Equals: []string{"none"}}, "service.additionalInfo.threatListName": {NotEquals: []string{"x"}},
	}}, false)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := m.Match(&Subject{JSON: text}); err != nil {
			b.Fatal(err)
		}
	}
}
