package pattern

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseErrors(t *testing.T) {
	at := func(column int) string { return fmt.Sprintf("line: 1, column: %d]", column) }
	for _, c := range []struct{ pattern, reason, position string }{
		{``, "Filter is not an object", at(1)},
		{`["a"]`, "Filter is not an object", at(2)},
		{`{}`, "Empty objects are not allowed", at(3)},
		{`{"detail":{}}`, "Empty objects are not allowed", at(13)},
		{`{"state":[]}`, "Empty arrays are not allowed", at(12)},
		{`{"state":"up"}`, `"state" must be an object or an array`, at(11)},
		{`{"n":5}`, `"n" must be an object or an array`, at(7)},
		{`{"state":[["up"]]}`, "Match value must be String, number, true, false, or null", at(12)},
		{`{"state":[{}]}`, "Match expression name not found", at(13)},
		{`{"state":[{"PREFIX":"u"}]}`, "Unrecognized match type PREFIX", at(22)},
		{`{"state":[{"prefix":"u","suffix":"p"}]}`, "Only one key allowed in match expression", at(35)},
		{`{"state":[{"prefix":["u"]}]}`, "prefix match pattern must be a string", at(22)},
		{`{"state":[{"prefix":{"suffix":"u"}}]}`, "Unsupported prefix pattern: suffix", at(32)},
		{`{"state":[{"prefix":{}}]}`, "Prefix expression name not found", at(23)},
		{`{"state":[{"suffix":null}]}`, "suffix match pattern must be a string", at(25)},
		{`{"state":[{"wildcard":"a**b"}]}`, "Consecutive wildcard characters at pos 2", at(29)},
		{`{"state":[{"wildcard":"é**b"}]}`, "Consecutive wildcard characters at pos 3", at(29)},
		{`{"state":[{"wildcard":"a\\b"}]}`, "Invalid escape character at pos 2", at(29)},
		{`{"state":[{"wildcard":"*a*a*a*a*a*a*a*b"}]}`, "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character", ""},
		{`{"n":[{"numeric":5}]}`, "Value of numeric must be an array.", at(19)},
		{`{"n":[{"numeric":[]}]}`, "Invalid member in numeric match: ]", at(20)},
		{`{"n":[{"numeric":[1,"<"]}]}`, "Invalid member in numeric match: 1", at(20)},
		{`{"n":[{"numeric":["~",1]}]}`, "Unrecognized numeric range operator: ~", at(24)},
		{`{"n":[{"numeric":["<","1"]}]}`, "Value of < must be numeric", at(24)},
		{`{"n":[{"numeric":["=",1,2]}]}`, "Too many elements in numeric expression", at(26)},
		{`{"n":[{"numeric":[">",1,5]}]}`, "Bad value in numeric range: 5", at(26)},
		{`{"n":[{"numeric":[">",1,"=",5]}]}`, "Bad numeric range operator: =", at(28)},
		{`{"n":[{"numeric":[">",5,"<",1]}]}`, "Bottom must be less than top", at(31)},
		{`{"n":[{"numeric":[">",0.10000000000000001]}]}`, "Cannot compare number : 0.10000000000000001", at(43)},
		{`{"n":[{"anything-but":1e999}]}`, "Cannot compare number : 1e999", ""},
		{`{"n":[{"anything-but":true}]}`, "Value of anything-but must be an array or single string/number value.", at(27)},
		{`{"n":[{"anything-but":{"exists":true}}]}`, "Unsupported anything-but pattern: exists", at(37)},
		{`{"n":[{"anything-but":{"suffix":""}}]}`, "Null prefix/suffix not allowed", at(35)},
		{`{"n":[{"anything-but":{"wildcard":5}}]}`, "wildcard match pattern must be a string", at(36)},
		{`{"n":[{"exists":1}]}`, "exists match pattern must be either true or false.", at(18)},
		{`{"ip":[{"cidr":"10.0.0.0"}]}`, "Malformed CIDR, one '/' required", ""},
		{`{"ip":[{"cidr":"10.0.0.0/x"}]}`, "Malformed CIDR, mask bits must be an integer", ""},
		{`{"ip":[{"cidr":"10.0.0.0/-1"}]}`, "Malformed CIDR, mask bits must not be negative", ""},
		{`{"ip":[{"cidr":"10.0.0.0/32"}]}`, "IPv4 mask bits must be < 32", ""},
		{`{"ip":[{"cidr":"::/128"}]}`, "IPv6 mask bits must be < 128", ""},
		{`{"ip":[{"cidr":"10.0.0/8"}]}`, "Nonstandard IP address: 10.0.0", ""},
		{`{"$or":[{"a":[1]}]}`, "There must have at least 2 Objects in $or relationship.", at(19)},
		{`{"$or":[{"a":[1]},5]}`, "Only JSON object is allowed in array of $or relationship.", at(20)},
		{`{"a":[x]}`, "Unrecognized token 'x': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", at(8)},
		{`{"a":[trues]}`, "Unrecognized token 'trues': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", at(12)},
		{`{"a" ["x"]}`, "Unexpected character ('[' (code 91)): was expecting a colon to separate field name and value", at(6)},
		{`{"a":["x"],}`, "Unexpected character ('}' (code 125)): was expecting double-quote to start field name", at(12)},
		{`{"a":["x" "y"]}`, `Unexpected character ('"' (code 34)): was expecting comma to separate Array entries`, at(11)},
		{`{"a":["\q"]}`, "Unrecognized character escape 'q' (code 113)", at(10)},
		{`{"a":["x`, "Unexpected end-of-input: was expecting closing quote for a string value", at(9)},
		{`{"a":[01]}`, "Invalid numeric value: Leading zeroes not allowed", at(8)},
	} {
		_, err := Parse([]byte(c.pattern))
		var e *SyntaxError
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v", c.pattern, err)
			continue
		}
		want := c.reason
		if c.position != "" {
			want += "\n at [Source: (String)\"" + c.pattern + "\"; " + c.position
		}
		if err.Error() != want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.pattern, err.Error(), want)
		}
	}
}

func TestParseErrorSource(t *testing.T) {
	text := "{\n  \"ключ\": [],\n \"long\": \"" + strings.Repeat("x", 600) + "\"}"
	_, err := Parse([]byte(text))
	want := "Empty arrays are not allowed\n at [Source: (String)\"" + text[:504] + fmt.Sprintf("\"[truncated %d chars]; line: 2, column: 13]", len([]rune(text))-500)
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestListErrorTwice covers AWS's habit of naming the position twice for a mistake in an anything-but list.
func TestListErrorTwice(t *testing.T) {
	_, err := Parse([]byte(`{"a":[{"anything-but":[null]}]}`))
	where := "\n at [Source: (String)\"{\"a\":[{\"anything-but\":[null]}]}\"; line: 1, column: 28]"
	if want := "Inside anything but list, start|null|boolean is not supported." + where + where; err == nil || err.Error() != want {
		t.Errorf("got %q\nwant %q", err, want)
	}
}

func TestParseWith(t *testing.T) {
	for _, c := range []struct {
		name, policy string
		options      Options
		reason       string // "" when valid
	}{
		{"flat", `{"a":["x"],"b":[{"numeric":[">",1]}]}`, MessageAttributes, ""},
		{"nested attributes", `{"a":{"b":["x"]}}`, MessageAttributes, ReasonNested},
		{"nested body", `{"a":{"b":["x"]}}`, MessageBody, ""},
		{"anything-but prefix", `{"a":[{"anything-but":{"prefix":"x"}}]}`, MessageBody, ""},
		{"anything-but prefix list", `{"a":[{"anything-but":{"prefix":["x"]}}]}`, MessageBody, "prefix match pattern must be a string"},
		{"anything-but suffix", `{"a":[{"anything-but":{"suffix":"x"}}]}`, MessageBody, "Unsupported anything-but pattern: suffix"},
		{"five keys", `{"a":[1],"b":[1],"c":[1],"d":[1],"e":[1]}`, MessageAttributes, ""},
		{"six keys", `{"a":[1],"b":[1],"c":[1],"d":[1],"e":[1],"f":[1]}`, MessageAttributes, ReasonTooManyKeys},
		{"150 values", `{"a":[1,2,3,4,5,6,7,8,9,10],"b":[1,2,3,4,5],"c":[1,2,3]}`, MessageAttributes, ""},
		{"180 values", `{"a":[1,2,3,4,5,6,7,8,9,10],"b":[1,2,3,4,5,6],"c":[1,2,3]}`, MessageAttributes, ReasonTooComplex},
		{"depth counts", `{"x":{"y":{"a":[1,2,3,4,5,6,7,8,9,10],"b":[1,2,3,4,5]}}}`, MessageBody, ReasonTooComplex},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseWith([]byte(c.policy), c.options)
			got := ""
			var e *SyntaxError
			if errors.As(err, &e) {
				got = e.Reason
			}
			if got != c.reason {
				t.Errorf("reason %q, want %q", got, c.reason)
			}
		})
	}
}

func TestCombinations(t *testing.T) {
	or := func(n int) string {
		var branches []string
		for i := range n {
			branches = append(branches, fmt.Sprintf(`{"f%d":[1]}`, i))
		}
		return `"$or":[` + strings.Join(branches, ",") + "]"
	}
	nest := func(ns ...int) string {
		text := `{"end":[1]}`
		for i, n := range ns {
			text = fmt.Sprintf(`{%s,"l%d":%s}`, or(n), i, text)
		}
		return text
	}
	if _, err := Parse([]byte(nest(10, 10, 10))); err != nil {
		t.Errorf("1,000 combinations: %v", err)
	}
	if _, err := Parse([]byte(nest(10, 10, 11))); err == nil {
		t.Error("1,100 combinations are accepted")
	}
	if _, err := Parse([]byte(nest(9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9))); err == nil {
		t.Error("9¹³ combinations are accepted")
	}
	wide := `{"$or":[` + strings.Repeat(`{"x":[1]},`, 999) + `{"x":[1]}]`
	for i := range 1000 {
		wide += fmt.Sprintf(`,"g%d":[1]`, i)
	}
	if _, err := Parse([]byte(wide + "}")); err == nil {
		t.Error("1,000 combinations of 1,000 fields are accepted")
	}
}

func TestHostilePatterns(t *testing.T) {
	for name, text := range map[string]string{
		"deep object":   strings.Repeat(`{"a":`, 100000) + "[1]" + strings.Repeat("}", 100000),
		"deep array":    `{"a":` + strings.Repeat("[", 5000),
		"1,001 levels":  strings.Repeat(`{"a":`, 1001) + "[1]" + strings.Repeat("}", 1001),
		"deep or":       strings.Repeat(`{"$or":[`, 5000),
		"a long number": `{"a":[` + strings.Repeat("1", 2000) + `]}`,
		"half escapes":  `{"a":["\u12`,
		"a lone quote":  `{"`,
		"zero bytes":    "{\"a\x00\":[1]}",
		"not UTF-8":     "\xff{",
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestValues(t *testing.T) {
	s, n := StringValue, NumberValue
	for _, c := range []struct {
		pattern, path string
		exact         []Value
		complete      bool
	}{
		{`{"kind":["exec","connect"]}`, "kind", []Value{s("exec"), s("connect")}, true},
		{`{"kind":[{"exactly":"exec"}]}`, "kind", []Value{s("exec")}, true},
		{`{"a":{"b":[1.50,-2,null,true,false]}}`, "a.b", []Value{n(1.5), n(-2), {}, BoolValue(true), BoolValue(false)}, true},
		{`{"a":[9007199254740993]}`, "a", []Value{{Kind: Number, Str: "9007199254740993"}}, true},
		{`{"kind":["exec",{"prefix":"con"}]}`, "kind", []Value{s("exec")}, false},
		{`{"kind":[{"exists":false}]}`, "kind", nil, false},
		{`{"ip":["10.0.0.1",{"cidr":"10.1.0.0/16"}]}`, "ip", []Value{s("10.0.0.1")}, false},
		{`{"kind":["exec"]}`, "other", nil, false},
		{`{"$or":[{"kind":["exec"]},{"kind":["open","exec"]}]}`, "kind", []Value{s("exec"), s("open")}, true},
		{`{"$or":[{"kind":["exec"]},{"x":[1]}]}`, "kind", []Value{s("exec")}, false},
		{`{"kind":["open"],"$or":[{"y":[1]},{"x":[1]}]}`, "kind", []Value{s("open")}, true},
	} {
		p, err := Parse([]byte(c.pattern))
		if err != nil {
			t.Fatal(err)
		}
		exact, complete := p.Values(c.path)
		if complete != c.complete || !cmp.Equal(exact, c.exact) {
			t.Errorf("%s at %s: %v %t", c.pattern, c.path, exact, complete)
		}
	}
}
