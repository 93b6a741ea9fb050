package pattern

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fieldNames resolves paths to their index.
type fieldNames []string

var testFields = fieldNames{"kind", "process.path", "process.pid"}

func (f fieldNames) resolve(path string) (int, bool) {
	for i, name := range f {
		if name == path {
			return i, true
		}
	}
	return 0, false
}

// testRecord holds the values of each field, and counts how often it was asked for them.
type testRecord struct {
	values [][]Value
	asked  []int
}

func (r *testRecord) AppendValues(dst []Value, field int) []Value {
	if r.asked != nil {
		r.asked[field]++
	}
	return append(dst, r.values[field]...)
}

func TestBound(t *testing.T) {
	set := compileAll(t, []string{
		`{"kind":["exec"],"process":{"path":["/bin/sh"]}}`,
		`{"kind":["exec"],"process.pid":[{"numeric":[">",100]}]}`,
		`{"kind":["connect"]}`,
		`{"process":{"pid":[{"exists":false}]}}`,
		`{"$or":[{"process.path":[{"suffix":"sh"}]},{"kind":["exec"]}]}`,
		`{"process.pid":[7]}`,
	})
	if got, want := set.Paths(), []string{"kind", "process.path", "process.pid"}; !cmp.Equal(got, want) {
		t.Fatalf("paths %v", got)
	}
	bound, err := set.Bind(testFields.resolve)
	if err != nil {
		t.Fatal(err)
	}
	m := bound.NewMatcher()
	s, n := StringValue, NumberValue
	for i, c := range []struct {
		values [][]Value
		want   []int
	}{
		{[][]Value{{s("exec")}, {s("/bin/sh")}, {n(101)}}, []int{0, 1, 4}},
		{[][]Value{{s("connect")}, {s("/bin/sh")}, nil}, []int{2, 3, 4}},
		{[][]Value{{s("exec")}, {s("/x"), s("/bin/sh")}, {n(7)}}, []int{0, 4, 5}},
		{[][]Value{nil, nil, {Value{Kind: Number, Str: "7.0"}}}, []int{5}},
		{[][]Value{nil, nil, {BoolValue(true)}}, nil},
		{[][]Value{nil, nil, nil}, []int{3}},
	} {
		r := &testRecord{values: c.values, asked: make([]int, 3)}
		if diff := cmp.Diff(c.want, m.Match(nil, r)); diff != "" {
			t.Errorf("record %d: %s", i, diff)
		}
		for f, times := range r.asked {
			if times > 1 {
				t.Errorf("record %d: field %d asked for %d times", i, f, times)
			}
		}
	}
}

func TestBindUnknown(t *testing.T) {
	_, err := compileAll(t, []string{`{"kind":["x"],"procces":{"path":["x"]}}`}).Bind(testFields.resolve)
	if err == nil || err.Error() != `binding patterns: unknown field "procces.path"` {
		t.Errorf("error %v", err)
	}
}

// TestBoundLazy checks that a field that cannot decide the match is not asked for.
func TestBoundLazy(t *testing.T) {
	var rules []string
	for i := range 50 {
		rules = append(rules, fmt.Sprintf(`{"kind":["exec"],"process":{"path":["/bin/%d"]}}`, i))
	}
	bound, err := compileAll(t, rules).Bind(testFields.resolve)
	if err != nil {
		t.Fatal(err)
	}
	r := &testRecord{values: [][]Value{{StringValue("exec")}, {StringValue("/sbin/init")}, nil}, asked: make([]int, 3)}
	if ids := bound.NewMatcher().Match(nil, r); len(ids) != 0 {
		t.Fatal(ids)
	}
	if diff := cmp.Diff([]int{0, 1, 0}, r.asked); diff != "" {
		t.Errorf("fields asked for: %s", diff)
	}
}
