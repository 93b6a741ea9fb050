package pattern

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// seedPatterns are patterns of every form, valid and not.
var seedPatterns = []string{
	`{"a":["x",5,null,true,false,""]}`, `{"a":{"b":["x"]},"a.c":[1]}`, `{"a":[{"exactly":"x"}]}`,
	`{"a":[{"prefix":"x"}]}`, `{"a":[{"prefix":{"equals-ignore-case":"ßx"}}]}`, `{"a":[{"suffix":"x"}]}`,
	`{"a":[{"suffix":{"equals-ignore-case":"ŉX"}}]}`, `{"a":[{"equals-ignore-case":"İiSS"}]}`, `{"a":[{"wildcard":"*x*\\*y"}]}`,
	`{"a":[{"anything-but":"x"}]}`, `{"a":[{"anything-but":["x","y"]}]}`, `{"a":[{"anything-but":[1,2.50]}]}`,
	`{"a":[{"anything-but":{"prefix":["x","y"]}}]}`, `{"a":[{"anything-but":{"wildcard":"*x"}}]}`,
	`{"a":[{"anything-but":{"equals-ignore-case":"x"}}]}`, `{"a":[{"anything-but":{"suffix":"x"}}]}`,
	`{"a":[{"numeric":[">",0,"<=",5]}]}`, `{"a":[{"numeric":["=",3.018e2]}]}`, `{"a":[{"numeric":["<",-1]}]}`,
	`{"a":[{"cidr":"10.0.0.0/24"}]}`, `{"a":[{"cidr":"2001:db8::/32"}]}`, `{"a":["10.0.0.7","2001:db8::1"]}`,
	`{"a":[{"exists":true}],"b":[{"exists":false}]}`, `{"a":[{"prefix":"x"},{"exists":false}]}`,
	`{"$or":[{"a":[1]},{"b":[2],"$or":[{"c":[3]},{"d":[4]}]}],"e":[5]}`, `{"$or":[{"a":[1]}]}`, `{"$or":{"a":[1]}}`,
	`{"a":{"x":[1],"y":[{"exists":false}]},"b":{"z":["q"]}}`, `{"a":[]}`, `{}`, `[]`, `{"a":1}`, `{"a":[{"foo":1}]}`,
	`{"a":["x"],"a":["y"]}`, `{"":[1],".":[2],"a.":[3]}`, `{"a":[9007199254740993,0.1,1e400,-0]}`, `{"a":["\ud800"]}`,
}

var seedEvents = []string{
	`{"a":"x"}`, `{"a":5.0}`, `{"a":[1,"x",null,{"b":"x"},[{"b":"y"}]]}`, `{"a":{"b":"x","c":1}}`, `{"a.b":"x","a":{"c":1}}`,
	`{"a":[{"x":1,"y":2},{"x":1}],"b":[{"z":"q"}]}`, `{"a":"SSX"}`, `{"a":"10.0.0.200"}`, `{"a":"2001:DB8:0::1"}`,
	`{"a":9007199254740993}`, `{"a":1e400,"b":-0}`, `{"a":"\u0078","\u0061":"y"}`, `{"b":[],"c":{},"a":[{}]}`, `{}`, `[]`, `{"a":`,
	`{"":1,".":2,"a":{"":3}}`, `{"a":[[[{"b":1}]]],"z":"` + strings.Repeat("z", 40) + `"}`,
}

func FuzzParse(f *testing.F) {
	for _, p := range seedPatterns {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse([]byte(text))
		if err != nil {
			var e *SyntaxError
			if !errors.As(err, &e) || e.Reason == "" || e.Error() == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if p.String() != text {
			t.Fatalf("source %q", p)
		}
		m := Compile([]*Pattern{p, p}).NewMatcher()
		for _, e := range seedEvents {
			if ids, err := m.MatchJSON(nil, []byte(e)); err == nil && len(ids)%2 != 0 {
				t.Fatalf("two equal patterns, matched %v", ids)
			}
		}
		for _, o := range []Options{MessageAttributes, MessageBody} {
			if _, err := ParseWith([]byte(text), o); err != nil {
				_ = err.Error()
			}
		}
	})
}

// others are compiled beside the pattern under test, so that it has to share the index.
func others(t testing.TB) []*Pattern {
	var out []*Pattern
	for _, text := range seedPatterns {
		if p, err := Parse([]byte(text)); err == nil {
			out = append(out, p)
		}
	}
	if len(out) < 20 {
		t.Fatal("most seed patterns should be valid")
	}
	return out
}

func FuzzMatch(f *testing.F) {
	for i, p := range seedPatterns {
		f.Add(p, seedEvents[i%len(seedEvents)])
	}
	for _, e := range seedEvents {
		f.Add(seedPatterns[1], e)
		f.Add(seedPatterns[27], e)
	}
	beside := others(f)
	f.Fuzz(func(t *testing.T, text, event string) {
		p, err := Parse([]byte(text))
		if err != nil {
			return
		}
		compare(t, p, event, beside)
	})
}

type fatal interface {
	Fatalf(format string, args ...any)
}

// compare checks the compiled form, alone and among others, against the reference.
func compare(t fatal, p *Pattern, event string, beside []*Pattern) {
	got, err := Compile([]*Pattern{p}).NewMatcher().MatchJSON(nil, []byte(event))
	among, err2 := Compile(append([]*Pattern{p}, beside...)).NewMatcher().MatchJSON(nil, []byte(event))
	if !json.Valid([]byte(event)) {
		return // what is skipped need not be valid; whether it is noticed may differ
	}
	if (err == nil) != (err2 == nil) {
		t.Fatalf("errors %v and %v", err, err2)
	}
	if err == nil && (len(got) == 1) != (len(among) > 0 && among[0] == 0) {
		t.Fatalf("pattern %s\nevent %s\nalone %v, among others %v", p, event, got, among)
	}
	// encoding/json mends broken UTF-8, which the reference would see.
	if !utf8.ValidString(event) || !utf8.ValidString(p.source) || strings.Contains(event+p.source, `\u`) {
		return
	}
	pt, perr := decodeTree(p.source)
	et, eerr := decodeTree(event)
	if perr != nil || eerr != nil {
		return // a pattern may have data behind it
	}
	if _, object := et.([]member); object != (err == nil) {
		t.Fatalf("event %s: %v", event, err)
	} else if !object {
		return
	}
	if strings.Contains(p.source, "$or") {
		if q, _ := parse(p.source, Options{}, false); q == nil {
			return // a field named $or
		}
	}
	if want := referenceMatch(pt, et); want != (len(got) == 1) {
		t.Fatalf("pattern %s\nevent %s\nwant %t", p, event, want)
	}
}

// TestAgainstReference compares the compiled form with the reference on generated patterns and events, which use few names
// and values so that they meet often.
func TestAgainstReference(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "a.b", "a-b", "c", ""})
	words := rapid.SampledFrom([]string{"", "a", "ab", "aB", "AB", "abc", "bab", "ß", "SS", "ss", "ŉ", "10.0.0.1", "10.0.0.9",
		"2001:db8::1", "2001:DB8:0::1", "::ffff:a00:1", "5", "true", "a*b", `a\b`, "12:30", "K", "k"})
	numbers := rapid.SampledFrom([]string{"0", "-0", "1", "1.0", "10e-1", "2", "-3", "2.5", "9007199254740993",
		"9007199254740992", "0.1", "0.10000000000000001", "1e400", "1e-400", "1E5"})
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	scalar := rapid.Custom(func(t *rapid.T) string {
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0, 1, 2:
			return quote(words.Draw(t, "word"))
		case 3, 4:
			return numbers.Draw(t, "number")
		default:
			return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "bare")
		}
	})
	var value func(t *rapid.T, depth int) string
	object := func(t *rapid.T, depth int) string {
		var parts []string
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			parts = append(parts, quote(names.Draw(t, "name"))+":"+value(t, depth-1))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	value = func(t *rapid.T, depth int) string {
		switch k := rapid.IntRange(0, 5).Draw(t, "shape"); {
		case depth <= 0 || k < 2:
			return scalar.Draw(t, "scalar")
		case k < 4:
			return object(t, depth)
		default:
			var parts []string
			for range rapid.IntRange(0, 3).Draw(t, "elements") {
				parts = append(parts, value(t, depth-1))
			}
			return "[" + strings.Join(parts, ",") + "]"
		}
	}
	list := func(t *rapid.T, of func() string) string {
		var parts []string
		for range rapid.IntRange(1, 3).Draw(t, "values") {
			parts = append(parts, of())
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	alternative := func(t *rapid.T) string {
		word := func() string { return quote(words.Draw(t, "word")) }
		switch rapid.IntRange(0, 13).Draw(t, "operator") {
		case 0:
			return `{"prefix":` + word() + `}`
		case 1:
			return `{"suffix":` + word() + `}`
		case 2:
			return `{"prefix":{"equals-ignore-case":` + word() + `}}`
		case 3:
			return `{"suffix":{"equals-ignore-case":` + word() + `}}`
		case 4:
			return `{"equals-ignore-case":` + word() + `}`
		case 5:
			return `{"wildcard":` + quote(rapid.SampledFrom([]string{"", "*", "a*", "*b", "*a*", "a*b", "*a*b", `a\*b`, "a*b*", "*S"}).Draw(t, "glob")) + `}`
		case 6:
			return fmt.Sprintf(`{"exists":%t}`, rapid.Bool().Draw(t, "exists"))
		case 7:
			return `{"anything-but":` + list(t, word) + `}`
		case 8:
			return `{"anything-but":` + rapid.SampledFrom([]string{"1", "[1,2]", "2.50"}).Draw(t, "numbers") + `}`
		case 9:
			return `{"anything-but":{` + quote(rapid.SampledFrom([]string{"prefix", "suffix", "equals-ignore-case", "wildcard"}).Draw(t, "but")) +
				`:` + list(t, func() string {
				return quote(rapid.SampledFrom([]string{"a", "b", "ß", "10", "a*"}).Draw(t, "excluded"))
			}) + `}}`
		case 10:
			return `{"numeric":` + rapid.SampledFrom([]string{`["=",1]`, `["<",2]`, `["<=",2.5]`, `[">",0]`, `[">=",0,"<",2]`, `[">",-3,"<=",1e5]`}).Draw(t, "range") + `}`
		case 11:
			return `{"cidr":` + rapid.SampledFrom([]string{`"10.0.0.0/29"`, `"0.0.0.0/0"`, `"2001:db8::/64"`, `"::/0"`, `"10.0.0.9/31"`}).Draw(t, "block") + `}`
		default:
			return scalar.Draw(t, "scalar")
		}
	}
	var fields func(t *rapid.T, depth int) string
	fields = func(t *rapid.T, depth int) string {
		var parts []string
		for range rapid.IntRange(1, 3).Draw(t, "fields") {
			switch k := rapid.IntRange(0, 6).Draw(t, "form"); {
			case depth > 0 && k == 0:
				parts = append(parts, `"$or":[`+fields(t, depth-1)+","+fields(t, depth-1)+"]")
			case depth > 0 && k < 3:
				parts = append(parts, quote(names.Draw(t, "name"))+":"+fields(t, depth-1))
			default:
				parts = append(parts, quote(names.Draw(t, "name"))+":"+list(t, func() string { return alternative(t) }))
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	beside := others(t)
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		text := fields(t, 2)
		p, err := Parse([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for range 4 {
			event := object(t, 4)
			compare(t, p, event, beside)
			if ids, _ := Compile([]*Pattern{p}).NewMatcher().MatchJSON(nil, []byte(event)); len(ids) > 0 {
				matched++
			}
		}
	})
	if matched == 0 {
		t.Error("nothing ever matched, so nothing was compared")
	}
}

// TestArraysAgainstReference compares the two on what is special about arrays: fields that share some of the arrays they are
// in, absence, and the same path in several arrays.
func TestArraysAgainstReference(t *testing.T) {
	paths := rapid.SampledFrom([]string{"a", "a.x", "a.y", "a.z", "a.b.x", "a.b.y", "a-b", "c.x", "c.y"})
	values := rapid.SampledFrom([]string{`[1]`, `[2]`, `[1,3]`, `[{"exists":false}]`, `[2,{"exists":false}]`, `[{"anything-but":1}]`, `[{"exists":true}]`})
	names := rapid.SampledFrom([]string{"x", "y", "z", "b"})
	var value func(t *rapid.T, depth int) string
	value = func(t *rapid.T, depth int) string {
		switch k := rapid.IntRange(0, 9).Draw(t, "shape"); {
		case depth == 0 || k == 0:
			return rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "scalar")
		case k < 6:
			var parts []string
			for range rapid.IntRange(0, 4).Draw(t, "elements") {
				parts = append(parts, value(t, depth-1))
			}
			return "[" + strings.Join(parts, ",") + "]"
		default:
			var parts []string
			for range rapid.IntRange(1, 3).Draw(t, "members") {
				parts = append(parts, fmt.Sprintf("%q:%s", names.Draw(t, "name"), value(t, depth-1)))
			}
			return "{" + strings.Join(parts, ",") + "}"
		}
	}
	beside := others(t)
	outcomes := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		var fields []string
		for _, path := range rapid.SliceOfNDistinct(paths, 2, 6, rapid.ID).Draw(t, "paths") {
			fields = append(fields, fmt.Sprintf("%q:%s", path, values.Draw(t, "values")))
		}
		p, err := Parse([]byte("{" + strings.Join(fields, ",") + "}"))
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			var members []string
			for _, name := range []string{"a", "c", "a", "a-b"} {
				members = append(members, fmt.Sprintf("%q:%s", name, value(t, 4)))
			}
			event := "{" + strings.Join(members[:rapid.IntRange(1, 4).Draw(t, "fields")], ",") + "}"
			compare(t, p, event, beside)
			ids, _ := Compile([]*Pattern{p}).NewMatcher().MatchJSON(nil, []byte(event))
			outcomes[len(ids) > 0]++
		}
	})
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("outcomes %v: nothing was compared", outcomes)
	}
}

// TestManyAlternatives has arrays of so many strings that they are hashed, in the predicate that finds the pattern and in others.
func TestManyAlternatives(t *testing.T) {
	var list []string
	for i := range 30 {
		list = append(list, fmt.Sprintf("%q", fmt.Sprint("v", i)))
	}
	long := strings.Join(list, ",")
	p, err := Parse([]byte(`{"a":[` + long + `,{"prefix":"p"},5],"b":["b",` + long + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	matched := 0
	for _, a := range []string{`"v0"`, `"v29"`, `"v30"`, `"px"`, `5`, `null`} {
		for _, b := range []string{`"b"`, `"v7"`, `"v30"`, `["x",["v1"]]`, `7`} {
			event := `{"a":` + a + `,"b":` + b + `}`
			compare(t, p, event, nil)
			ids, _ := Compile([]*Pattern{p}).NewMatcher().MatchJSON(nil, []byte(event))
			matched += len(ids)
		}
	}
	if matched != 4*3 {
		t.Errorf("%d events matched", matched)
	}
}
