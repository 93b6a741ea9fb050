package pattern

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestOracle runs recorded cases: patterns and events with what AWS's own rule engine makes of them. The file is not part of
// the project; VEDETTE_PATTERN_CASES names it. A line is a JSON object: kind ("match" or "validate"), pattern, valid, and where
// known event, expected and error.
func TestOracle(t *testing.T) {
	path := os.Getenv("VEDETTE_PATTERN_CASES")
	if path == "" {
		t.Skip("VEDETTE_PATTERN_CASES does not name a file of recorded cases")
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	total, matches, messages, wordings := 0, 0, 0, 0
	for n := 1; lines.Scan(); n++ {
		var c struct {
			Kind, Pattern, Event, Error string
			Valid                       bool
			Expected                    *bool
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		total++
		p, err := Parse([]byte(c.Pattern))
		if (err == nil) != c.Valid {
			t.Errorf("line %d: %s\nvalid %t, got error %v", n, c.Pattern, c.Valid, err)
			continue
		}
		if err != nil {
			wordings++
			if reason, _, _ := strings.Cut(err.(*SyntaxError).Reason, "\n at "); reason == c.Error {
				messages++
			} else {
				t.Errorf("line %d: %s\nerror %q\nwant  %q", n, c.Pattern, reason, c.Error)
			}
			continue
		}
		if c.Kind != "match" {
			continue
		}
		got, err := Compile([]*Pattern{p}).NewMatcher().MatchJSON(nil, []byte(c.Event))
		if c.Expected == nil {
			if err == nil {
				t.Errorf("line %d: no error for event %s", n, c.Event)
			}
			continue
		}
		matches++
		if err != nil {
			t.Errorf("line %d: event %s: %v", n, c.Event, err)
		} else if (len(got) == 1) != *c.Expected {
			t.Errorf("line %d: pattern %s\nevent %s\nwant %t", n, c.Pattern, c.Event, *c.Expected)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if total == 0 {
		t.Fatal("no cases")
	}
	t.Logf("%d cases: %d matched, %d of %d messages the same", total, matches, messages, wordings)
}
