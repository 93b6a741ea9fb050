package custom

import (
	"fmt"
	"strconv"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/pattern"
)

// template is a text with fields in it: "{process.name} asked for {dns.name}". Besides the fields of events it knows
// {who} and {where}, {count} of a threshold, and {2:process.name} for the event of an earlier step of a sequence. {{ and }}
// are braces.
type template struct {
	parts []part
}

// part is a text, or something that is filled in.
type part struct {
	text  string
	field int // number of a field, or one of the following
	step  int // of a sequence, from 0; -1 for the event at hand
	args  bool
}

const (
	partText = -1 - iota
	partWho
	partWhere
	partCount
)

const (
	maxTemplate = 2048 // bytes as written
	maxValue    = 256  // bytes of one field's value in a message
	maxMessage  = 4096
)

// parseTemplate parses a template for a rule with the given number of steps. The offset of an error is in bytes.
func parseTemplate(s string, steps int) (t template, offset int, err error) {
	text := ""
	flush := func() {
		if text != "" {
			t.parts = append(t.parts, part{text: text, field: partText, step: -1})
			text = ""
		}
	}
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "{{") || strings.HasPrefix(s[i:], "}}"):
			text += s[i : i+1]
			i += 2
		case s[i] == '}':
			return t, i, fmt.Errorf("} without {; write }} for a brace")
		case s[i] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return t, i, fmt.Errorf("{ without }; write {{ for a brace")
			}
			flush()
			p, err := parsePart(s[i+1:i+end], steps)
			if err != nil {
				return t, i, err
			}
			t.parts = append(t.parts, p)
			i += end + 1
		default:
			end := strings.IndexAny(s[i:], "{}")
			if end < 0 {
				end = len(s) - i
			}
			text += s[i : i+end]
			i += end
		}
	}
	flush()
	return t, 0, nil
}

func parsePart(name string, steps int) (part, error) {
	p := part{step: -1}
	switch name {
	case "who":
		p.field = partWho
		return p, nil
	case "where":
		p.field = partWhere
		return p, nil
	case "count":
		p.field = partCount
		return p, nil
	}
	if number, rest, ok := strings.Cut(name, ":"); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > steps || steps == 1 {
			if steps == 1 {
				return p, fmt.Errorf("{%s}: the rule has no sequence", event.PrintableN(name, 60))
			}
			return p, fmt.Errorf("{%s}: want the number of a step, from 1 to %d", event.PrintableN(name, 60), steps)
		}
		name = rest
		if n < steps {
			p.step = n - 1
		}
	}
	number, ok := detect.FieldByPath(name)
	if !ok {
		return p, fmt.Errorf("there is no field {%s}%s", event.PrintableN(name, 60), suggest(name, fieldNames()))
	}
	p.field, p.args = number, name == "process.args"
	return p, nil
}

// captures returns the fields of one step that the template needs when the sequence is complete.
func (t template) captures(step int) (fields []part) {
	for _, p := range t.parts {
		if p.step == step && step >= 0 {
			fields = append(fields, p)
		}
	}
	return fields
}

// render fills the template in. captured gives the values of a step's fields, in the order of captures.
func (t template) render(m *detect.Match, count int64, captured func(step, n int) string) string {
	var b strings.Builder
	var seen [maxSteps]int
	for _, p := range t.parts {
		switch {
		case p.field == partText:
			b.WriteString(p.text)
		case p.field == partWho:
			b.WriteString(m.Who(m.Process))
		case p.field == partWhere:
			b.WriteString(m.Where())
		case p.field == partCount:
			b.WriteString(strconv.FormatInt(count, 10))
		case p.step >= 0:
			b.WriteString(captured(p.step, seen[p.step]))
			seen[p.step]++
		default:
			b.WriteString(show(m.Facts, p))
		}
	}
	return event.PrintableN(b.String(), maxMessage)
}

// show returns the values of a field for a person. A field that the event does not have is a question mark.
func show(facts *detect.Facts, p part) string {
	values := facts.AppendValues(nil, p.field)
	if len(values) == 0 {
		return "?"
	}
	texts := make([]string, min(len(values), 64))
	for i := range texts {
		texts[i] = plain(values[i])
	}
	separator := ", "
	if p.args {
		separator = " "
	}
	return event.PrintableN(strings.Join(texts, separator), maxValue)
}

// plain returns a value as text.
func plain(v pattern.Value) string {
	switch v.Kind {
	case pattern.String:
		return v.Str
	case pattern.Number:
		return strconv.FormatFloat(v.Num, 'f', -1, 64)
	case pattern.True:
		return "true"
	case pattern.False:
		return "false"
	}
	return "null"
}
