package pattern

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string // values of the field "a"; "" stands for an event without it
		fullYes []string // whole events
		fullNo  []string
	}{
		{pattern: `{"a":["x","",null,5,true]}`, yes: []string{`"x"`, `""`, `null`, `5`, `5.0`, `50e-1`, `true`, `[1,"x"]`, `[[null]]`},
			no: []string{`"X"`, `"5"`, `"null"`, `false`, `6`, ``, `{}`, `[]`, `{"b":"x"}`}},
		{pattern: `{"a":[0]}`, yes: []string{`0`, `-0`, `0e9999999999`, `0.000`}, no: []string{`1e-400`, `"0"`}},
		{pattern: `{"a":[9007199254740993,0.10000000000000001]}`, yes: []string{`9007199254740993`, `0.10000000000000001`},
			no: []string{`9007199254740992`, `0.1`, `9007199254740993.0`}},
		{pattern: `{"a":[1e400]}`, yes: []string{`1e400`}, no: []string{`1E400`, `1e401`}},
		{pattern: `{"a":["2001:db8::1","10.0.0.7"]}`, yes: []string{`"2001:0DB8:0:0:0:0:0:1"`, `"10.0.0.7"`, `"::ffff:a00:7"`},
			no: []string{`"2001:db8::2"`, `"010.0.0.7"`, `"::ffff:10.0.0.7"`, `"10.0.0.7 "`}},
		{pattern: `{"a":[{"prefix":"ab"}]}`, yes: []string{`"ab"`, `"abc"`, `"\u0061bc"`}, no: []string{`"a"`, `"Ab"`, `5`, `"cab"`}},
		{pattern: `{"a":[{"prefix":""}]}`, yes: []string{`""`, `"x"`}, no: []string{`5`, `null`, ``}},
		{pattern: `{"a":[{"suffix":"ab"}]}`, yes: []string{`"ab"`, `"cab"`}, no: []string{`"abc"`, `"B"`}},
		{pattern: `{"a":[{"suffix":""}]}`, yes: []string{`""`, `"x"`}, no: []string{`5`}},
		{pattern: `{"a":[{"equals-ignore-case":"Straße"}]}`, yes: []string{`"STRASSE"`, `"strasse"`, `"sTRaße"`}[:1], no: []string{`"strase"`, `"strasse"`}},
		{pattern: `{"a":[{"equals-ignore-case":"ip"}]}`, yes: []string{`"IP"`, `"iP"`}, no: []string{`"İP"`, `"ıp"`, `"ipp"`}},
		{pattern: `{"a":[{"prefix":{"equals-ignore-case":"éa"}}]}`, yes: []string{`"ÉAx"`, `"éA"`}, no: []string{`"É"`, `"ea"`}},
		{pattern: `{"a":[{"suffix":{"equals-ignore-case":".Png"}}]}`, yes: []string{`"x.PNG"`}, no: []string{`"png"`}},
		{pattern: `{"a":[{"wildcard":"*/bin/*sh"}]}`, yes: []string{`"/bin/sh"`, `"/usr/bin/bash"`, `"/bin//bin/xsh"`}, no: []string{`"/bin/s"`, `"bin/sh"`, `"/bin/sh "`}},
		{pattern: `{"a":[{"wildcard":"a\\*b"}]}`, yes: []string{`"a*b"`}, no: []string{`"axb"`}},
		{pattern: `{"a":[{"wildcard":""}]}`, yes: []string{`""`}, no: []string{`"x"`, `null`}},
		{pattern: `{"a":[{"wildcard":"*"}]}`, yes: []string{`""`, `"x"`}, no: []string{`5`, `null`, ``}},
		{pattern: `{"a":[{"anything-but":"x"}]}`, yes: []string{`"y"`, `5`, `null`, `["x","y"]`}, no: []string{`"x"`, ``, `[]`, `{}`, `["x","x"]`}},
		{pattern: `{"a":[{"anything-but":[1,2.5]}]}`, yes: []string{`3`, `"1"`, `[1,3]`}, no: []string{`1.0`, `25e-1`}},
		{pattern: `{"a":[{"anything-but":{"prefix":["x","y"]}}]}`, yes: []string{`"z"`, `5`, `""`}, no: []string{`"xa"`, `"y"`}},
		{pattern: `{"a":[{"anything-but":{"suffix":"x"}}]}`, yes: []string{`"xa"`}, no: []string{`"ax"`}},
		{pattern: `{"a":[{"anything-but":{"wildcard":"*x*"}}]}`, yes: []string{`"y"`}, no: []string{`"axb"`}},
		{pattern: `{"a":[{"anything-but":{"equals-ignore-case":["x"]}}]}`, yes: []string{`"y"`}, no: []string{`"X"`}},
		{pattern: `{"a":[{"numeric":[">",0,"<=",5]}]}`, yes: []string{`5`, `0.0001`, `5e-324`}, no: []string{`0`, `5.1`, `"3"`, `null`}},
		{pattern: `{"a":[{"numeric":["<",-1.5]}]}`, yes: []string{`-2`, `-1e308`}, no: []string{`-1.5`, `0`, `-1e999`}},
		{pattern: `{"a":[{"cidr":"10.0.0.77/24"}]}`, yes: []string{`"10.0.0.0"`, `"10.0.0.255"`}, no: []string{`"10.0.1.0"`, `"::a00:0"`, `"10.0.0"`, `5`}},
		{pattern: `{"a":[{"cidr":"::/0"}]}`, yes: []string{`"::"`, `"ffff::"`}, no: []string{`"10.0.0.0"`}},
		{pattern: `{"a":[{"exists":true}]}`, yes: []string{`null`, `""`, `[0]`}, no: []string{``, `{}`, `[]`, `[{}]`, `{"b":1}`}},
		{pattern: `{"a":[{"exists":false},"x"]}`, yes: []string{``, `{}`, `[]`, `"x"`}, no: []string{`"y"`, `null`}},
		{pattern: `{"a":{"b":["x"]}}`, fullYes: []string{`{"a":{"b":"x"}}`, `{"a.b":"x"}`, `{"a":[{"b":"y"},{"b":"x"}]}`, `{"a":{"b":"y"},"a":{"b":"x"}}`, "{\"a\":{\"\\u0062\":\"x\"}}"},
			fullNo: []string{`{"a":"x"}`, `{"a":{"c":{"b":"x"}}}`, `{"a":{"b":{"b":"x"}}}`}},
		{pattern: `{"a.b":["x"]}`, fullYes: []string{`{"a":{"b":"x"}}`, `{"a.b":"x"}`}},
		{pattern: `{"":{"":["x"]}}`, fullYes: []string{`{"":{"":"x"}}`, `{".":"x"}`}, fullNo: []string{`{"":"x"}`}},
		{pattern: `{"a":{"b":[1],"c":[2]}}`, fullYes: []string{`{"a":[{"b":1,"c":2}]}`, `{"a":[[{"b":1},{"b":1,"c":2}]]}`, `{"a":{"b":[1],"c":[2]}}`},
			fullNo: []string{`{"a":[{"b":1},{"c":2}]}`, `{"a":[[{"b":1}],[{"c":2}]]}`}},
		{pattern: `{"a":{"b":[1],"c":[{"exists":false}]}}`, fullYes: []string{`{"a":[{"b":1},{"c":2}]}`}, fullNo: []string{`{"a":[{"b":1,"c":2}]}`}},
		{pattern: `{"a":{"b":[{"exists":false}],"c":[1]}}`, fullNo: []string{`{"a":[{"b":1},{"c":1}]}`}, fullYes: []string{`{"a":[{"c":1}]}`}},
		{pattern: `{"a":["x"],"a":["y"]}`, yes: []string{`"y"`}, no: []string{`"x"`}},
		{pattern: `{"$or":[{"a":[1]},{"b":[2]}],"c":[3]}`, fullYes: []string{`{"a":1,"c":3}`, `{"b":2,"c":3}`}, fullNo: []string{`{"a":1}`, `{"c":3}`}},
		{pattern: `{"$or":{"a":[1]}}`, fullYes: []string{`{"$or":{"a":1}}`}, fullNo: []string{`{"a":1}`}},
		{pattern: `{"a":["\ud800"]}`, yes: []string{`"\ud800"`}, no: []string{`"\ud801"`, `"�"`}},
		{pattern: `{"a":["\ud83d\ude00"]}`, yes: []string{`"😀"`}},
	} {
		p, err := Parse([]byte(c.pattern))
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		m := Compile([]*Pattern{nil, p}).NewMatcher()
		check := func(event string, want bool) {
			t.Helper()
			got, err := m.MatchJSON([]int{-1}, []byte(event))
			if err != nil || got[0] != -1 || (len(got) == 2 && got[1] == 1) != want {
				t.Errorf("%s on %s: %v %v, want %t", c.pattern, event, got, err, want)
			}
		}
		event := func(value string) string {
			if value == "" {
				return `{"z":1}`
			}
			return `{"z":[{"a":1}],"a":` + value + `}`
		}
		for _, v := range c.yes {
			check(event(v), true)
		}
		for _, v := range c.no {
			check(event(v), false)
		}
		for _, e := range c.fullYes {
			check(e, true)
		}
		for _, e := range c.fullNo {
			check(e, false)
		}
	}
}

func TestInvalidEvents(t *testing.T) {
	m := compileAll(t, []string{`{"a":{"b":["x"]},"n":[1]}`}).NewMatcher()
	for _, event := range []string{
		``, ` `, `[]`, `5`, `"a"`, `{`, `{"a"`, `{"a":`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":{"b":"x}`, `{"a":{"b":"\q"}}`,
		`{"a":{"b":"x"}} x`, `{"a":{"b":"x"}}}`, `{"n":01}`, `{"n":1.}`, `{"n":-}`, `{"n":1e}`, `{"n":+1}`, `{"n":nul}`, `{"n":truex}`, `{"z":[}`,
		`{"z":{"y":[1,2}}`, `{"z":"\`, `{"z":[[]`, "{\"z\":\"\n\"}", "{\"a\x01\":1}", `{"a":[1,]}`, `{"a":[1 2]}`, `{"\u00":1}`, `{"z":]}`, `{,}`, "\xef\xbb\xbf{}",
	} {
		ids, err := m.MatchJSON([]int{7}, []byte(event))
		var e *EventError
		if !errors.As(err, &e) || e.Offset > len(event) || len(ids) != 1 {
			t.Errorf("%q: %v %v", event, ids, err)
		}
	}
	// A failure leaves nothing behind.
	if ids, err := m.MatchJSON(nil, []byte(`{"n":1,"a":{"b":"x"}}`)); err != nil || len(ids) != 1 {
		t.Errorf("after failures: %v %v", ids, err)
	}
	if ids, err := m.MatchJSON(nil, []byte(`{"n":1}`)); err != nil || len(ids) != 0 {
		t.Errorf("state of the event before: %v %v", ids, err)
	}
}

func TestHostileEvents(t *testing.T) {
	m := compileAll(t, []string{`{"a":[{"wildcard":"*x*y*z"},{"suffix":"zz"},{"equals-ignore-case":"q"}]}`, `{"a":{"b":[1],"c":[2],"d":[{"exists":false}]}}`}).NewMatcher()
	for _, c := range []struct {
		name  string
		event string
		fails bool
	}{
		{"deep in a named field", `{"a":` + strings.Repeat("[", 1000000), true},
		{"deep in a named field, closed", `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", true},
		{"deep in another field", `{"z":` + strings.Repeat(`[{"z":`, 100000), true},
		{"990 levels", `{"a":` + strings.Repeat("[", 990) + strings.Repeat("]", 990) + "}", false},
		{"a long string", `{"a":"` + strings.Repeat("xy", 1<<19) + `"}`, false},
		{"a long string of escapes", `{"a":"` + strings.Repeat(`\u0078`, 1<<17) + `"}`, false},
		{"a long number", `{"a":` + strings.Repeat("9", 1<<20) + "}", false},
		{"a long exponent", `{"a":1e` + strings.Repeat("9", 1<<20) + "}", false},
		{"a long key", `{"` + strings.Repeat("a.", 1<<18) + `":1}`, false},
		{"broken UTF-8", "{\"a\":\"\xff\xc3\"}", false},
		{"many keys", "{" + strings.Repeat(`"a":1,`, 1<<17) + `"a":2}`, false},
	} {
		start := time.Now()
		if _, err := m.MatchJSON(nil, []byte(c.event)); (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
		t.Logf("%s: %v", c.name, time.Since(start))
	}
}

// TestLargeArrays checks that the consistency of arrays does not cost the product of their sizes: each case would take minutes
// if it did.
func TestLargeArrays(t *testing.T) {
	const n = 40000
	repeat := func(element string) string { return "[" + strings.Repeat(element+",", n) + element + "]" }
	m := compileAll(t, []string{
		`{"a":{"x":[1],"y":[2]}}`,
		`{"a":{"x":[1],"y":[2]},"b":{"x":[1],"y":[2]},"c":{"x":[1],"y":[2]}}`,
		`{"a":{"x":[1]},"b":{"x":[1]},"c":{"x":[1],"y":[2]}}`,
		`{"a":{"x":[1],"z":[{"exists":false}]}}`,
		`{"a":{"x":[1],"y":[2]},"a-b":[5]}`,
	}).NewMatcher()
	apart := repeat(`{"x":1},{"y":2}`)
	whole := repeat(`{"x":1}`)
	for _, c := range []struct {
		event string
		want  []int
	}{
		{`{"a":` + apart + `}`, []int{3}},
		{`{"a":` + apart[:len(apart)-1] + `,{"x":1,"y":2}]}`, []int{0, 3}},
		{`{"a":` + whole + `,"b":` + whole + `,"c":` + apart + `}`, []int{3}},
		{`{"a":` + repeat(`{"x":1,"y":2}`) + `,"b":` + apart + `,"c":` + apart + `}`, []int{0, 3}},
		{`{"a":[{"x":1,"y":2}],"b":` + apart + `,"c":` + apart + `}`, []int{0, 3}},
		{`{"a":[{"x":1,"y":2}],"a-b":` + repeat("5") + `}`, []int{0, 3, 4}},
	} {
		start := time.Now()
		got, err := m.MatchJSON(nil, []byte(c.event))
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%.60s…: %v %s", c.event, err, diff)
		}
		t.Logf("%v", time.Since(start))
	}
}

// TestBudget checks that an event whose arrays cost too much is reported, and the next one is matched as ever.
func TestBudget(t *testing.T) {
	m := compileAll(t, []string{`{"a":{"x":[1],"y":[2]}}`}).NewMatcher()
	m.budget = 10
	_, err := m.MatchJSON(nil, []byte(`{"a":[`+strings.Repeat(`{"x":1},`, 20)+`{"y":2}]}`))
	if want := "matching event: its arrays need too many comparisons at offset 175"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if ids, err := m.MatchJSON(nil, []byte(`{"a":[{"x":1,"y":2}]}`)); err != nil || len(ids) != 1 {
		t.Errorf("afterwards: %v %v", ids, err)
	}
}

// TestMany checks that each of many patterns is found, and only it.
func TestMany(t *testing.T) {
	var texts []string
	var events []string
	for i := range 3000 {
		forms := []string{`["v%d"]`, `[{"prefix":"p%d-"}]`, `[{"suffix":"-%ds"}]`, `[{"wildcard":"w*%d-*w"}]`, `[{"equals-ignore-case":"I%d"}]`, `[%d]`}
		values := []string{`"v%d"`, `"p%d-x"`, `"x-%ds"`, `"w.%d-.w"`, `"i%d"`, `%d.0`}
		if k := i % 6; true {
			texts = append(texts, fmt.Sprintf(`{"kind":["e"],"f":`+forms[k]+`}`, i))
			events = append(events, fmt.Sprintf(`{"f":`+values[k]+`,"kind":"e"}`, i))
		}
	}
	m := compileAll(t, texts).NewMatcher()
	for i, e := range events {
		if ids, err := m.MatchJSON(nil, []byte(e)); err != nil || !slices.Contains(ids, i) || len(ids) > 3 {
			t.Fatalf("event %s: %v %v", e, ids, err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	m := compileAll(t, slices.Concat(ruleKinds[0].rules, ruleKinds[1].rules, ruleKinds[3].rules, ruleKinds[5].rules, ruleKinds[7].rules,
		[]string{`{"properties":{"STREET":[{"cidr":"10.0.0.0/8"}]},"geometry":{"coordinates":[{"exists":true}]}}`})).NewMatcher()
	events := lots()[:50]
	var ids []int
	if n := testing.AllocsPerRun(100, func() {
		for _, e := range events {
			ids, _ = m.MatchJSON(ids[:0], e)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestConcurrent uses one Set from several goroutines; the race detector does the checking.
func TestConcurrent(t *testing.T) {
	s := compileAll(t, slices.Concat(ruleKinds[0].rules, ruleKinds[5].rules, ruleKinds[6].rules))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			m := s.NewMatcher()
			for _, e := range lots()[:200] {
				if _, err := m.MatchJSON(nil, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestReleases checks that a matcher does not keep what it was given.
func TestReleases(t *testing.T) {
	m := compileAll(t, []string{`{"a":["x","y"]}`}).NewMatcher()
	event := []byte(`{"a":"x"}`)
	if ids, err := m.MatchJSON(nil, event); err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	copy(event, bytes.Repeat([]byte("#"), len(event)))
	for _, l := range m.leaves {
		if cap(l) > 0 && l[:1][0].Str != "" {
			t.Errorf("kept %q", l[:1][0].Str)
		}
	}
	if m.data != nil {
		t.Error("kept the event")
	}
}

// TestGenerations lets the counter of events run over.
func TestGenerations(t *testing.T) {
	m := compileAll(t, []string{`{"a":["x"],"b":[{"wildcard":"*x*y"}]}`, `{"a":["y"]}`}).NewMatcher()
	m.event, m.marked = 1<<31-3, 1<<32-5
	for i := range 8 {
		yes, err := m.MatchJSON(nil, []byte(`{"a":"x","b":"xxy"}`))
		no, err2 := m.MatchJSON(nil, []byte(`{"a":"x","b":"yx"}`))
		if err != nil || err2 != nil || len(yes) != 1 || len(no) != 0 {
			t.Fatalf("round %d: %v %v", i, yes, no)
		}
	}
}

func TestParseAddress(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	check := func(s string) {
		t.Helper()
		want, ok := referenceIP(s)
		got, ok2 := parseAddress(s)
		if ok != ok2 {
			t.Fatalf("%q: %t, want %t", s, ok2, ok)
		}
		if !ok {
			return
		}
		bytes := want.As16()
		if want.Is4() {
			if four := want.As4(); got.v6 || got.lo != uint64(four[0])<<24|uint64(four[1])<<16|uint64(four[2])<<8|uint64(four[3]) {
				t.Fatalf("%q: %v", s, got)
			}
		} else if !got.v6 || netip.AddrFrom16(bytes) != want || got.lo&0xff != uint64(bytes[15]) || got.hi>>56 != uint64(bytes[0]) {
			t.Fatalf("%q: %v", s, got)
		}
	}
	for range 20000 {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteString([]string{":", "::", ".", "0", "1", "ff", "255", "db8", "01", "256", "ffff", "G"}[r.IntN(12)])
		}
		check(b.String())
		var raw [16]byte
		for i := range raw {
			raw[i] = byte(r.Uint32()) * byte(r.IntN(2))
		}
		check(netip.AddrFrom16(raw).Unmap().String())
		check(netip.AddrFrom4([4]byte(raw[:4])).String())
	}
}
