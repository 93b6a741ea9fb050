package pattern

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The benchmark's events have the shape and size of the land records that other engines are measured with: a flat object of
// properties, and a polygon of coordinates that most rules do not look at; about 700 bytes each.
var lots = sync.OnceValue(func() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	streets := []string{"BOARDWALK", "22ND", "GEARY", "LARKIN", "CRANLEIGH", "MARKET", "JOOST", "VALENCIA", "SUTTER", "BUSH"}
	var out [][]byte
	for range 4000 {
		block, lot := fmt.Sprintf("%04d", r.IntN(8000)), fmt.Sprintf("%03d", r.IntN(200))
		var coordinates []string
		for range 8 + r.IntN(4) {
			coordinates = append(coordinates, fmt.Sprintf("[%.15f,%.15f,0.0]", -122.5+r.Float64()/8, 37.7+r.Float64()/8))
		}
		from := r.IntN(3000)
		out = append(out, fmt.Appendf(nil, `{"type":"Feature","properties":{"MAPBLKLOT":"%[1]s%[2]s","BLKLOT":"%[1]s%[2]s","BLOCK_NUM":"%[1]s",`+
			`"LOT_NUM":"%[2]s","FROM_ST":"%[3]d","TO_ST":"%[3]d","STREET":"%[4]s","ST_TYPE":"ST","ODD_EVEN":"%[5]s","LOT_AREA":%[6]d},`+
			`"geometry":{"type":"Polygon","coordinates":[[%[7]s]]}}`,
			block, lot, from, streets[r.IntN(len(streets))], "EO"[r.IntN(2):][:1], 500+r.IntN(9000), strings.Join(coordinates, ",")))
	}
	return out
})

func propertyRules(values ...string) []string {
	var out []string
	for _, v := range values {
		out = append(out, `{"properties":{`+v+`}}`)
	}
	return out
}

var ruleKinds = []struct {
	name  string
	rules []string
}{
	{"exact", propertyRules(`"MAPBLKLOT":["1430022"]`, `"MAPBLKLOT":["2607117"],"STREET":["GEARY"]`, `"STREET":["LARKIN"],"ODD_EVEN":["O"]`,
		`"FROM_ST":["1920"]`, `"ST_TYPE":["AVE"]`)},
	{"prefix", propertyRules(`"STREET":[{"prefix":"AC"}]`, `"STREET":[{"prefix":"BL"}]`, `"STREET":[{"prefix":"DR"}]`,
		`"STREET":[{"prefix":"GEA"}]`, `"MAPBLKLOT":[{"prefix":"143"}]`)},
	{"suffix", propertyRules(`"STREET":[{"suffix":"ON"}]`, `"STREET":[{"suffix":"RK"}]`, `"STREET":[{"suffix":"ARY"}]`,
		`"STREET":[{"suffix":"LK"}]`, `"MAPBLKLOT":[{"suffix":"22"}]`)},
	{"equals-ignore-case", propertyRules(`"STREET":[{"equals-ignore-case":"geary"}]`, `"STREET":[{"equals-ignore-case":"LARKIN"}]`,
		`"ST_TYPE":[{"equals-ignore-case":"ave"}]`, `"STREET":[{"equals-ignore-case":"bUsh"}]`, `"STREET":[{"equals-ignore-case":"22nd"}]`)},
	{"anything-but", propertyRules(`"STREET":[{"anything-but":["GEARY"]}]`, `"MAPBLKLOT":[{"anything-but":["3745012/7"]}]`,
		`"MAPBLKLOT":[{"anything-but":["3745012","3745013"]}]`, `"STREET":[{"anything-but":["BUSH"]}]`, `"ST_TYPE":[{"anything-but":["ST"]}]`)},
	{"wildcard", propertyRules(`"STREET":[{"wildcard":"B*AR*K"}]`, `"MAPBLKLOT":[{"wildcard":"143*02*"}]`, `"STREET":[{"wildcard":"*A*Y"}]`,
		`"STREET":[{"wildcard":"L*IN"}]`, `"BLKLOT":[{"wildcard":"*55*1"}]`)},
	{"numeric", propertyRules(`"LOT_AREA":[{"numeric":[">",9400]}]`, `"LOT_AREA":[{"numeric":["<",510]}]`, `"LOT_AREA":[{"numeric":["=",777]}]`,
		`"LOT_AREA":[{"numeric":[">=",1000,"<",1010]}]`, `"LOT_AREA":[5000]`)},
	{"complex-arrays", []string{`{"type":["Feature"],"geometry":{"type":["Polygon"],"coordinates":[{"numeric":["=",-122.42916360922355]}]}}`,
		`{"geometry":{"coordinates":[{"numeric":["<",-122.4999]}]}}`, `{"geometry":{"coordinates":[0.5]}}`,
		`{"geometry":{"coordinates":[{"numeric":[">",37.8249]}]}}`, `{"properties":{"ODD_EVEN":["E"]},"geometry":{"coordinates":[{"anything-but":[0]}]}}`}},
}

func compileAll(t testing.TB, texts []string) *Set {
	t.Helper()
	var patterns []*Pattern
	for _, text := range texts {
		p, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		patterns = append(patterns, p)
	}
	return Compile(patterns)
}

// run matches events in turn and reports events per second of processor time. It returns the processor time of one event.
func run(b *testing.B, s *Set, events [][]byte) time.Duration {
	m := s.NewMatcher()
	var ids []int
	matches := 0
	for _, e := range events {
		ids, _ = m.MatchJSON(ids[:0], e)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(bytes.Join(events, nil)) / len(events)))
	start := cpuTime(b)
	for i := 0; b.Loop(); i++ {
		var err error
		if ids, err = m.MatchJSON(ids[:0], events[i%len(events)]); err != nil {
			b.Fatal(err)
		}
		matches += len(ids)
	}
	used := cpuTime(b) - start
	b.ReportMetric(float64(b.N)/used.Seconds(), "events/cpu-s")
	b.ReportMetric(float64(matches)/float64(b.N), "matches/event")
	return used / time.Duration(b.N)
}

// cpuTime is the processor time this process has used, which other work on the machine disturbs less than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkKinds runs five rules of a kind, and reports how many times faster that is than decoding the event with
// encoding/json and walking it with every rule, in the same run.
func BenchmarkKinds(b *testing.B) {
	for _, kind := range ruleKinds {
		b.Run(kind.name, func(b *testing.B) {
			s := compileAll(b, kind.rules)
			events := lots()
			naive := naiveTime(b, kind.rules, events)
			b.ReportMetric(float64(naive)/float64(max(run(b, s, events), 1)), "×naive")
		})
	}
}

// naiveTime is the processor time per event of the straightforward way: decode into maps, walk for every rule.
func naiveTime(b *testing.B, rules []string, events [][]byte) time.Duration {
	var patterns []map[string]any
	for _, r := range rules {
		var p map[string]any
		if err := json.Unmarshal([]byte(r), &p); err != nil {
			b.Fatal(err)
		}
		patterns = append(patterns, p)
	}
	best := time.Hour
	for range 3 {
		start := cpuTime(b)
		for _, e := range events {
			var tree map[string]any
			if err := json.Unmarshal(e, &tree); err != nil {
				b.Fatal(err)
			}
			for _, p := range patterns {
				naiveWalk(p, tree)
			}
		}
		best = min(best, (cpuTime(b)-start)/time.Duration(len(events)))
	}
	return best
}

// naiveWalk does what a simple matcher does with exact values; operators cost it a type switch, in its favour.
func naiveWalk(pattern map[string]any, event any) bool {
	object, ok := event.(map[string]any)
	if !ok {
		return false
	}
	for name, want := range pattern {
		got, present := object[name]
		switch want := want.(type) {
		case map[string]any:
			if !naiveWalk(want, got) {
				return false
			}
		case []any:
			found := false
			for _, w := range want {
				if _, operator := w.(map[string]any); operator {
					found = found || present
				} else if _, list := got.([]any); !list && w == got {
					found = true
				}
			}
			if !found {
				return false
			}
		}
	}
	return true
}

// BenchmarkCount runs more and more rules of two exact fields.
func BenchmarkCount(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		var rules []string
		for i := range n {
			rules = append(rules, fmt.Sprintf(`{"properties":{"STREET":["GEARY"],"MAPBLKLOT":["%04d%03d"]}}`, i*7%8000, i%200))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) { run(b, compileAll(b, rules), lots()) })
	}
}

// BenchmarkShared runs 5,000 rules that share a value every event has and differ in another field, by operator.
func BenchmarkShared(b *testing.B) {
	for _, kind := range []struct{ name, form string }{
		{"exact", `["%04d001"]`}, {"prefix", `[{"prefix":"%04d1"}]`}, {"suffix", `[{"suffix":"%04d1"}]`},
		{"wildcard", `[{"wildcard":"*%04d*7"}]`}, {"anything-but", `["%04d001",{"anything-but":{"prefix":["0","1","2","3","4","5","6","7"]}}]`},
	} {
		var rules []string
		for i := range 5000 {
			rules = append(rules, `{"type":["Feature"],"properties":{"MAPBLKLOT":`+fmt.Sprintf(kind.form, i)+`}}`)
		}
		b.Run(kind.name, func(b *testing.B) { run(b, compileAll(b, rules), lots()) })
	}
}

// BenchmarkBound matches records, without JSON.
func BenchmarkBound(b *testing.B) {
	for _, n := range []int{5, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var rules []string
			for i := range n {
				rules = append(rules, fmt.Sprintf(`{"kind":["exec"],"process":{"path":[{"prefix":"/tmp/%d/"},"/bin/%d"]}}`, i, i))
			}
			bound, err := compileAll(b, rules).Bind(testFields.resolve)
			if err != nil {
				b.Fatal(err)
			}
			m := bound.NewMatcher()
			r := &testRecord{values: [][]Value{{StringValue("exec")}, {StringValue("/bin/3")}, {NumberValue(7)}}}
			var ids []int
			b.ReportAllocs()
			for b.Loop() {
				ids = m.Match(ids[:0], r)
			}
			if len(ids) != 1 || ids[0] != 3 {
				b.Fatal(ids)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	var patterns []*Pattern
	for i := range 10000 {
		p, err := Parse(fmt.Appendf(nil, `{"type":["Feature"],"properties":{"MAPBLKLOT":[{"prefix":"%d"},{"wildcard":"*%d*x"}]}}`, i, i))
		if err != nil {
			b.Fatal(err)
		}
		patterns = append(patterns, p)
	}
	b.ReportAllocs()
	for b.Loop() {
		Compile(patterns)
	}
}
