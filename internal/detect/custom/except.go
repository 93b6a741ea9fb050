package custom

import (
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/pattern"
)

// exceptions are patterns over events whose occurrences are not wanted.
type exceptions struct {
	rows    []exception
	matcher *pattern.BoundMatcher
	hits    []int
}

type exception struct {
	typ     string // the finding type, or the beginning of one followed by *; "" for any
	pattern *pattern.Pattern
}

// match reports whether an occurrence of the given type is excepted.
func (x *exceptions) match(typ string, facts *detect.Facts) bool {
	if x == nil {
		return false
	}
	x.hits = x.matcher.Match(x.hits[:0], facts)
	for _, i := range x.hits {
		if x.rows[i].covers(typ) {
			return true
		}
	}
	return false
}

func (x *exception) covers(typ string) bool {
	if prefix, ok := strings.CutSuffix(x.typ, "*"); ok {
		return strings.HasPrefix(typ, prefix)
	}
	return x.typ == "" || x.typ == typ
}

// exceptions reads a list of exceptions. Those of a whole file name the finding type that they are about.
func (d *document) exceptions(n *yaml.Node, field string, typed bool) *exceptions {
	x := &exceptions{}
	d.list(n, field, maxExcept, func(n *yaml.Node, field string) {
		if row, ok := d.exception(n, field, typed); ok {
			x.rows = append(x.rows, row)
		}
	})
	return x.compile()
}

func (x *exceptions) compile() *exceptions {
	if len(x.rows) == 0 {
		return nil
	}
	patterns := make([]*pattern.Pattern, len(x.rows))
	for i, r := range x.rows {
		patterns[i] = r.pattern
	}
	matcher, err := matcherOf(patterns...)
	if err != nil {
		return nil // exception has checked the fields
	}
	x.matcher = matcher
	return x
}

func (d *document) exception(n *yaml.Node, field string, typed bool) (x exception, ok bool) {
	before := len(d.problems)
	conditions := map[string]any{}
	var own string
	texts := func(set func(values []any)) func(n *yaml.Node, field string) {
		return func(n *yaml.Node, field string) {
			var values []any
			for _, t := range d.texts(n, field, maxExcept, maxExceptText) {
				if strings.Contains(t.text, "*") {
					values = append(values, map[string]any{"wildcard": strings.ReplaceAll(t.text, `\`, `\\`)})
				} else {
					values = append(values, t.text)
				}
			}
			if len(values) > 0 {
				set(values)
			}
		}
	}
	members := []member{
		{"image", false, texts(func(v []any) { conditions["container"] = map[string]any{"image": v} })},
		{"path", false, texts(func(v []any) {
			conditions["$or"] = []any{
				map[string]any{"process": map[string]any{"executablePath": v}}, map[string]any{"process": map[string]any{"scriptPath": v}},
			}
		})},
		{"service", false, texts(func(v []any) { conditions["service"] = v })},
		{"pattern", false, func(n *yaml.Node, field string) { own = d.loose(n, field) }},
		{"reason", false, func(n *yaml.Node, field string) { d.text(n, field, maxExceptText) }},
	}
	if typed {
		members = append(members, member{"type", true, func(n *yaml.Node, field string) {
			if x.typ, _ = d.text(n, field, 200); x.typ != "" && !knownType(x.typ) {
				d.fail(n, field, "there is no finding type %s; * may stand at its end", describe(n))
			}
		}})
	}
	d.object(n, field, members...)
	if len(d.problems) > before {
		return x, false
	}
	switch {
	case own != "" && len(conditions) > 0:
		d.fail(n, field, "has a pattern and other conditions: say it all in the pattern")
		return x, false
	case own == "" && len(conditions) == 0:
		d.fail(n, field, "has no condition: name an image, a path, a service or a pattern")
		return x, false
	case own == "":
		text, _ := json.Marshal(conditions) // texts and maps always marshal
		own = string(text)
	}
	p, err := pattern.Parse([]byte(own))
	if err != nil {
		d.fail(n, field, "%s", strings.TrimSpace(firstLine(err.Error())))
		return x, false
	}
	x.pattern = p
	return x, true
}

// loose reads a pattern that need not name kinds of event: exceptions are looked at only after a rule has matched.
func (d *document) loose(n *yaml.Node, field string) string {
	before := len(d.problems)
	w := jsonWriter{document: d, field: field}
	w.value(n, 0)
	if len(d.problems) > before {
		return "" // what is nested without end must not be walked
	}
	d.names(n, field, "", 0)
	if len(d.problems) > before {
		return ""
	}
	return compact(w.b.String())
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return event.PrintableN(s, 300)
}

// knownType reports whether there is a built-in or custom finding type of the given name, in which a final * stands for
// anything.
func knownType(name string) bool {
	prefix, open := strings.CutSuffix(name, "*")
	if !open {
		_, ok := finding.Lookup(name)
		return ok || finding.IsCustom(name)
	}
	if strings.HasPrefix(finding.CustomPrefix, prefix) || finding.IsCustom(strings.TrimRight(prefix, "-_.")) || prefix == finding.CustomPrefix {
		return true
	}
	for _, t := range finding.Types() {
		if strings.HasPrefix(t.Name, prefix) {
			return true
		}
	}
	return false
}
