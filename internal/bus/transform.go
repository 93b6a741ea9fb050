package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The reserved variables of input templates.
const (
	varRuleARN   = "aws.events.rule-arn"
	varRuleName  = "aws.events.rule-name"
	varIngestion = "aws.events.event.ingestion-time"
	varEventJSON = "aws.events.event.json"
	varEvent     = "aws.events.event"
)

var (
	placeholder = regexp.MustCompile(`<([A-Za-z0-9_.\-]+)>`)
	atStart     = regexp.MustCompile(`^<([A-Za-z0-9_.\-]+)>`)
	variable    = regexp.MustCompile(`^[A-Za-z0-9_\-]{1,256}$`)
)

// occasion is what a target's input is made of.
type occasion struct {
	event    json.RawMessage // the envelope, compact
	ruleARN  string
	ruleName string
	ingested time.Time
}

// render makes the input of a target.
func render(t *Target, o occasion) ([]byte, error) {
	switch {
	case t.Input != nil:
		return []byte(*t.Input), nil
	case t.InputPath != nil:
		p, err := parsePath(*t.InputPath)
		if err != nil {
			return nil, err
		}
		v, ok := p.find(o.event)
		if !ok {
			return []byte("null"), nil
		}
		return compact(v), nil
	case t.InputTransformer != nil:
		return t.InputTransformer.render(o)
	}
	return o.event, nil
}

// checkTransformer reports a mistake in an input transformer.
func checkTransformer(id string, t *InputTransformer) error {
	if len(t.InputTemplate) == 0 || len(t.InputTemplate) > maxInput || len(t.InputPathsMap) > maxInputPaths {
		return refuse(CodeValidation, "InputTransformer for target %s is too large or empty.", id)
	}
	for name, p := range t.InputPathsMap {
		if !variable.MatchString(name) || strings.HasPrefix(name, "AWS.") {
			return refuse(CodeValidation, "InputPathsMap for target %s contains invalid key %s.", id, name)
		}
		if len(p) > maxInputPath {
			return refuse(CodeValidation, "InputPathsMap for target %s contains invalid path for key %s.", id, name)
		}
	}
	for _, m := range placeholder.FindAllStringSubmatch(t.InputTemplate, -1) {
		if _, ok := t.InputPathsMap[m[1]]; !ok && !reserved(m[1]) {
			return refuse(CodeValidation, "InputTemplate for target %s contains invalid placeholder %s.", id, m[1])
		}
	}
	// The template is tried with values that are allowed wherever a variable is, so not as a key. A template that does not
	// give JSON then can never be delivered.
	text := substitute(t.InputTemplate, func(_ string, quoted bool) string {
		if quoted {
			return "x"
		}
		return "null"
	})
	if !json.Valid([]byte(text)) && !quotedLines(text) {
		return refuse(CodeValidation, "Invalid InputTemplate for target %s : it must be a JSON object, or one or more strings in double quotes, each on a line of its own.", id)
	}
	return nil
}

func reserved(name string) bool {
	switch name {
	case varRuleARN, varRuleName, varIngestion, varEventJSON, varEvent:
		return true
	}
	return false
}

var errNotJSON = errors.New("the input template does not give JSON with this event")

// render fills in the template. The rules were measured on AWS; there is one exception, see inString.
func (t *InputTransformer) render(o occasion) ([]byte, error) {
	object := strings.HasPrefix(strings.TrimLeft(t.InputTemplate, " \t\r\n"), "{")
	text := substitute(t.InputTemplate, func(name string, quoted bool) string {
		value := t.value(name, o)
		if !quoted {
			if value == nil {
				return `""`
			}
			return string(value)
		}
		return inString(value, object)
	})
	if object && !json.Valid([]byte(text)) {
		return nil, errNotJSON
	}
	return []byte(text), nil
}

// inString is how a value appears inside the quotes of a template. Strings appear as they are and without quotes; objects
// and arrays as compact JSON, in a template of strings without any quotes.
//
// Where AWS writes a string into a JSON object without escaping it, Vedette escapes what would end the string or not be
// allowed in it. There AWS loses the event, or lets the value add members of its own: whoever names a process with a quote
// could silence the alert about it.
func inString(value json.RawMessage, object bool) string {
	switch {
	case len(value) == 0:
		return ""
	case value[0] == '"':
		if object {
			return string(value[1 : len(value)-1])
		}
		var s string
		if json.Unmarshal(value, &s) != nil {
			return ""
		}
		return s
	case value[0] == '{' || value[0] == '[':
		if object {
			return string(value)
		}
		return strings.ReplaceAll(string(value), `"`, "")
	}
	return string(value)
}

// value returns the JSON text of a variable, nil if the event does not have it.
func (t *InputTransformer) value(name string, o occasion) json.RawMessage {
	if p, ok := t.InputPathsMap[name]; ok {
		parsed, err := parsePath(p)
		if err != nil {
			return nil
		}
		v, ok := parsed.find(o.event)
		if !ok {
			return nil
		}
		return compact(v)
	}
	ingested := o.ingested.UTC().Format(time.RFC3339)
	switch name {
	case varRuleARN:
		return quote(o.ruleARN)
	case varRuleName:
		return quote(o.ruleName)
	case varIngestion:
		return quote(ingested)
	case varEventJSON:
		return o.event
	case varEvent:
		var e envelope
		if json.Unmarshal(o.event, &e) != nil {
			return nil
		}
		text, err := encode(struct {
			ID         string   `json:"id"`
			Account    string   `json:"account"`
			DetailType string   `json:"detailType"`
			Time       string   `json:"time"`
			Source     string   `json:"source"`
			Region     string   `json:"region"`
			Resources  []string `json:"resources"`
			Version    string   `json:"version"`
		}{e.ID, e.Account, e.DetailType, ingested, e.Source, e.Region, e.Resources, e.Version})
		if err != nil {
			return nil
		}
		return text
	}
	return nil
}

// substitute replaces the placeholders of a template; quoted says whether one stands inside double quotes.
func substitute(template string, value func(name string, quoted bool) string) string {
	var out strings.Builder
	quoted := false
	for i := 0; i < len(template); {
		c := template[i]
		if c == '<' {
			if m := atStart.FindStringSubmatch(template[i:]); m != nil {
				out.WriteString(value(m[1], quoted))
				i += len(m[0])
				continue
			}
		}
		if quoted && c == '\\' && i+1 < len(template) {
			out.WriteString(template[i : i+2])
			i += 2
			continue
		}
		if c == '"' {
			quoted = !quoted
		}
		out.WriteByte(c)
		i++
	}
	return out.String()
}

// quotedLines reports whether text is one or more JSON strings or nulls, separated by white space.
func quotedLines(text string) bool {
	dec := json.NewDecoder(strings.NewReader(text))
	for n := 0; ; n++ {
		token, err := dec.Token()
		if err != nil {
			return n > 0 && dec.InputOffset() >= int64(len(strings.TrimRight(text, " \t\r\n")))
		}
		if _, ok := token.(string); !ok && token != nil {
			return false
		}
	}
}

func quote(s string) json.RawMessage {
	text, err := encode(s)
	if err != nil {
		panic(fmt.Sprintf("encoding a string: %v", err)) // cannot happen
	}
	return text
}

// compact returns JSON text without the white space between tokens.
func compact(v json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return v
	}
	return b.Bytes()
}
