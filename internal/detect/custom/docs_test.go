package custom

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/rules"
)

var example = regexp.MustCompile("(?ms)^```yaml (rules|tests)\n(.*?)^```$")

// TestDocs runs the examples of docs/rules.md: each block of tests with the rules before it.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	var own string
	tested := 0
	for _, at := range example.FindAllStringSubmatchIndex(string(text), -1) {
		kind, body := string(text[at[2]:at[3]]), string(text[at[4]:at[5]])
		// Lines count from the page's beginning.
		body = strings.Repeat("\n", strings.Count(string(text[:at[4]]), "\n")) + body
		if kind == "rules" {
			own = body
			continue
		}
		cases, err := ParseCases("docs/rules.md", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		tested++
		for _, c := range cases {
			t.Run(c.Name, func(t *testing.T) {
				s, err := Parse("docs/rules.md", []byte(own))
				if err != nil {
					t.Fatal(err)
				}
				var builtIn []detect.Rule
				if c.builtIn {
					builtIn = rules.All()
				}
				wrong, err := c.Run(s, builtIn)
				if err != nil {
					t.Fatal(err)
				}
				if wrong != "" {
					t.Error("\n" + wrong)
				}
			})
		}
	}
	if tested < 4 {
		t.Errorf("found only %d examples", tested)
	}
}
