package pattern_test

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/pattern"
)

func Example() {
	var patterns []*pattern.Pattern
	for _, text := range []string{
		`{"source":["aws.guardduty"],"detail":{"severity":[{"numeric":[">=",7]}]}}`,
		`{"detail":{"type":[{"prefix":"Backdoor:Runtime"}]}}`,
	} {
		p, err := pattern.Parse([]byte(text))
		if err != nil {
			fmt.Println(err)
			return
		}
		patterns = append(patterns, p)
	}
	m := pattern.Compile(patterns).NewMatcher()
	ids, err := m.MatchJSON(nil, []byte(`{"source":"aws.guardduty","detail":{"severity":8.0,"type":"Backdoor:Runtime/C&CActivity.B"}}`))
	fmt.Println(ids, err)
	// Output: [0 1] <nil>
}

// process is an event that is a Go value.
type process struct {
	path string
	pid  float64
}

func (p process) AppendValues(dst []pattern.Value, field int) []pattern.Value {
	switch field {
	case 0:
		return append(dst, pattern.StringValue(p.path))
	default:
		return append(dst, pattern.NumberValue(p.pid))
	}
}

func ExampleSet_Bind() {
	p, err := pattern.Parse([]byte(`{"process":{"path":[{"wildcard":"/tmp/*"}],"pid":[{"numeric":[">",1]}]}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	bound, err := pattern.Compile([]*pattern.Pattern{p}).Bind(func(path string) (int, bool) {
		switch strings.TrimPrefix(path, "process.") {
		case "path":
			return 0, true
		case "pid":
			return 1, true
		}
		return 0, false
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(bound.NewMatcher().Match(nil, process{"/tmp/x", 42}))
	// Output: [0]
}
