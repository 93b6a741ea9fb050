package custom

import (
	"strings"
	"testing"
)

// TestMistakes has one mistake in each file, and says where and how it must be reported.
func TestMistakes(t *testing.T) {
	rule := func(lines string) string {
		return "rules:\n  - name: X\n    severity: low\n" + lines + "\n"
	}
	nc := "    pattern: {kind: [exec], process: {name: [nc]}}"
	for _, c := range []struct{ name, text, want string }{
		{"not YAML", "rules:\n  - name: [", "f.yaml:2:1: did not find"},
		{"a text", "hello", "f.yaml:1:1: want keys and values, got 'hello'"},
		{"two documents", "rules: []\n---\nrules: []\n", "a second document"},
		{"unknown key", rule(nc + "\n    serverity: low"), "f.yaml:5:5: rules[0].serverity: there is no such key; did you mean severity?"},
		{"twice", rule(nc + "\n    severity: low"), "f.yaml:5:5: rules[0].severity: is there twice"},
		{"no name", "rules:\n  - severity: low\n" + nc, "f.yaml:2:5: rules[0].name: is missing"},
		{"bad name", "rules:\n  - name: a b\n    severity: low\n" + nc, "f.yaml:2:11: rules[0].name: 'a b' is not a letter followed by"},
		{"bad severity", "rules:\n  - name: X\n    severity: urgent\n" + nc, "f.yaml:3:15: rules[0].severity: want low, medium"},
		{"severity 0.5", "rules:\n  - name: X\n    severity: 0.5\n" + nc, "want low, medium"},
		{"severity nan", "rules:\n  - name: X\n    severity: .nan\n" + nc, "want low, medium"},
		{"no pattern", rule("    title: t"), "f.yaml:2:5: rules[0]: has neither a pattern nor a sequence"},
		{"same name", rule(nc) + "  - name: X\n    severity: low\n" + nc, "there is a rule of this name at f.yaml:2 already"},

		{"unknown field", rule("    pattern:\n      kind: [exec]\n      process: {nam: [nc]}"), "f.yaml:6:17: rules[0].pattern: there is no field process.nam; did you mean process.name?"},
		{"field too high", rule("    pattern: {kind: [exec], process: [nc]}"), "process is not a field: did you mean one below it, such as process.name?"},
		{"no list", rule("    pattern: {kind: [exec], process: {name: {prefix: n}}}"), "process.name: the conditions of a field stand in a list"},
		{"bare value", rule("    pattern: {kind: [exec], process: {name: nc}}"), "f.yaml:4:45: rules[0].pattern: \"name\" must be an object or an array"},
		{"unknown operator", rule("    pattern:\n      kind: [exec]\n      process:\n        name:\n          - {begins: n}"), "f.yaml:8:"},
		{"number for a text", rule("    pattern: {kind: [exec], process: {name: [7]}}"), "process.name is a text: put 7 in quotes"},
		{"text for a number", rule("    pattern: {kind: [exec], process: {userId: [\"0\"]}}"), "process.userId is a number: '0' can never match"},
		{"text for a truth", rule("    pattern: {kind: [exec], process: {shell: [\"true\"]}}"), "process.shell is true or false"},
		{"prefix of a number", rule("    pattern: {kind: [exec], process: {userId: [{prefix: \"0\"}]}}"), "process.userId is a number: prefix is for texts"},
		{"null", rule("    pattern: {kind: [exec], process: {name: [null]}}"), "process.name is never null"},
		{"not a number", rule("    pattern: {kind: [exec], process: {userId: [.inf]}}"), "cannot be written in JSON"},
		{"no kind", rule("    pattern: {process: {name: [nc]}}"), "f.yaml:4:14: rules[0].pattern: does not say which kinds of event"},
		{"no kind in a branch", rule("    pattern: {$or: [{kind: [exec]}, {errno: [1]}]}"), "does not say which kinds"},
		{"unknown kind", rule("    pattern: {kind: [exce], process: {name: [nc]}}"), "f.yaml:4:22: rules[0].pattern: kind: there is no kind of event named 'exce'; did you mean exec?"},
		{"fork", rule("    pattern: {kind: [fork], process: {name: [nc]}}"), "there is no kind of event named 'fork'"},
		{"kind by operator", rule("    pattern: {kind: [{prefix: e}], process: {name: [nc]}}"), "kind: want names"},
		{"contradiction", rule("    pattern: {kind: [exec], $or: [{kind: [open]}, {kind: [dns]}]}"), "no kind of event is left"},

		{"every exec", rule("    pattern: {kind: [exec]}"), "f.yaml:4:14: rules[0].pattern: matches every exec event, which"},
		{"every exec that worked", rule("    pattern: {kind: [exec], errno: [0]}"), "matches every exec event"},
		{"every exec with a name", rule("    pattern: {kind: [exec], process: {name: [{exists: true}]}}"), "matches every exec event"},
		{"every exec but one", rule("    pattern: {kind: [exec], process: {name: [{anything-but: [sh]}]}}"), "matches every exec event"},
		{"every path", rule("    pattern: {kind: [open], open: {path: [{wildcard: \"/*\"}]}}"), "matches every open event"},
		{"every exec on hosts", rule("    pattern: {kind: [exec], container: {id: [{exists: false}]}}"), "matches every exec event"},
		{"every uid", rule("    pattern: {kind: [exec], process: {userId: [{numeric: [\">=\", 0]}]}}"), "matches every exec event"},
		{"every connect among others", rule("    pattern: {$or: [{kind: [exec], process: {name: [nc]}}, {kind: [connect], container: {id: [{exists: true}]}}]}"), "matches every connect event"},
		{"every address", rule("    pattern: {kind: [connect], connect: {remote: {ip: [{cidr: 0.0.0.0/0}, {cidr: \"::/0\"}]}}}"), "matches every connect event"},

		{"threshold of one", rule(nc + "\n    threshold: {count: 1, within: 1m}"), "f.yaml:5:24: rules[0].threshold.count: want a whole number from 2"},
		{"window without a unit", rule(nc + "\n    threshold: {count: 2, within: 60}"), "rules[0].threshold.within: want a time from 1s to 24h0m0s"},
		{"unknown group", rule(nc + "\n    threshold: {count: 2, within: 60s, by: [contaner.id]}"), "there is no field contaner.id; did you mean container.id?"},
		{"too many different", rule(nc + "\n    threshold: {count: 257, within: 60s, distinct: process.args}"), "f.yaml:5:24: rules[0].threshold.count: of different values, at most 256"},
		{"endless exception", rule(nc + "\n    except:\n      - pattern: {process: &a {name: [x], p: *a, q: *a, r: *a, s: *a, t: *a, u: *a, v: *a, w: *a}}"), "nested more than"},
		{"one step", rule("    sequence: {within: 1m, steps: [{pattern: {kind: [exec], process: {name: [nc]}}}]}"), "a sequence has at least two steps"},
		{"broad first step", rule("    sequence: {within: 1m, steps: [{pattern: {kind: [exec]}}, {pattern: {kind: [dns]}}]}"), "matches every exec event"},
		{"groups differ", rule("    sequence: {within: 1m, steps: [{pattern: {kind: [exec], errno: [1]}, by: [host.id, service]}, {pattern: {kind: [dns]}, by: [host.id]}]}"), "is grouped by 1 fields, the first step by 2"},
		{"both", rule(nc + "\n    sequence: {within: 1m, steps: []}"), "a rule has a pattern or a sequence, not both"},

		{"unknown field in a message", rule(nc + "\n    message: \"by {process.usr}\""), "f.yaml:5:17: rules[0].message: there is no field {process.usr}; did you mean process.user?"},
		{"open brace", rule(nc + "\n    message: \"by {process.user\""), "{ without }"},
		{"closing brace", rule(nc + "\n    message: \"by }\""), "} without {"},
		{"step without a sequence", rule(nc + "\n    message: \"by {1:process.user}\""), "the rule has no sequence"},

		{"exception without a condition", rule(nc + "\n    except: [{reason: because}]"), "f.yaml:5:14: rules[0].except[0]: has no condition"},
		{"exception with an unknown key", rule(nc + "\n    except: [{img: x}]"), "there is no such key; did you mean image?"},
		{"exception of no type", "exceptions:\n  - {image: x}\n", "exceptions[0].type: is missing"},
		{"exception of an unknown type", "exceptions:\n  - {type: \"Execution:Runtime/Revers\", image: x}\n", "there is no finding type"},
		{"alias bomb", "a: &a [x, x, x, x, x, x, x, x, x]\n", "there is no such key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse("f.yaml", []byte(c.text))
			if err == nil {
				t.Fatalf("no error; %d rules", len(s.Rules))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestAliasesAreBounded has nine levels of nine aliases each.
func TestAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("rules:\n  - name: X\n    severity: low\n    pattern:\n      kind: [exec]\n      process:\n        name: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 9; i++ {
		prev := "*a" + string(rune('0'+i-1))
		b.WriteString("        n" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.Repeat(prev+",", 8) + prev + "]\n")
	}
	if _, err := Parse("f.yaml", []byte(b.String())); err == nil {
		t.Error("no error")
	}
}

func TestOneBadRuleLeavesTheOthers(t *testing.T) {
	s, err := Parse("f.yaml", []byte(`
rules:
  - {name: B, severity: low, pattern: {kind: [exec], process: {name: [b]}}}
  - {name: Bad, severity: low, pattern: {kind: [exec]}}
  - {name: A, severity: 7.25, pattern: {kind: [dns], dns: {name: [a.example]}}}
`))
	if err == nil || len(s.Rules) != 2 || s.Rules[0].Name != "A" || s.Rules[1].Name != "B" {
		t.Fatalf("%v, rules %+v", err, s.Rules)
	}
	if s.Rules[0].Severity != 7.3 {
		t.Errorf("severity %v", s.Rules[0].Severity)
	}
}

// TestRareKinds: of what hardly ever happens, everything may be a finding.
func TestRareKinds(t *testing.T) {
	for _, text := range []string{
		"rules: [{name: A, severity: low, pattern: {kind: [module, bpf, ptrace]}}]",
		"rules: [{name: A, severity: low, pattern: {kind: [mount], container: {id: [{exists: true}]}}}]",
		"rules: [{name: A, severity: low, pattern: {kind: [exec], container: {image: [shop/web]}}}]",
		"rules: [{name: A, severity: low, pattern: {kind: [exec]}, threshold: {count: 1000, within: 1m}}]",
	} {
		mustParse(t, text)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"rules:\n  - name: X\n    severity: low\n    pattern: {kind: [exec], process: {name: [nc]}}\n",
		"rules:\n  - &a {name: X, severity: 3, message: '{who} {{}} {count}', threshold: {count: 3, within: 1m, by: [process.name]}, pattern: {kind: [exec]}}\n  - *a\n",
		"rules: [{name: S, severity: high, sequence: {within: 5m, steps: [{pattern: {kind: [open], open: {path: [{prefix: /tmp/}]}}}, {pattern: {kind: [exec]}}]}, message: '{1:open.path}'}]\nexceptions: [{type: '*', path: ['/usr/*', /bin/sh]}]\n",
		"a: &a [*a]\n", "rules: [{<<: {name: x}}]", "? [a]\n: b\n", "rules: {$or: 1}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("f.yaml", text)
		ParseCases("f_test.yaml", text)
		if err == nil && len(s.Rules) > 0 {
			if _, err := engineOf(s); err != nil {
				t.Fatalf("rules without a mistake do not compile: %v\n%s", err, text)
			}
		}
	})
}
