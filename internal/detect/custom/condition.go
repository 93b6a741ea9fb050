package custom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/pattern"
)

// condition is one pattern over events.
type condition struct {
	text  string // JSON, as a detect.Rule wants it
	kinds event.Kinds
}

// maxPattern bounds the JSON of one pattern.
const maxPattern = 64 << 10

// condition reads a pattern. broad allows one that matches every event of a kind.
func (d *document) condition(n *yaml.Node, field string, broad bool) (*condition, bool) {
	before := len(d.problems)
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, field, "want keys and values, such as {kind: [exec], process: {name: [nc]}}, got %s", describe(n))
		return nil, false
	}
	w := jsonWriter{document: d, field: field}
	w.value(n, 0)
	if len(d.problems) > before {
		return nil, false
	}
	d.names(n, field, "", 0)
	if len(d.problems) > before {
		return nil, false
	}
	text := w.b.String()
	p, err := pattern.Parse([]byte(text))
	if err != nil {
		at, reason := n, err.Error()
		if syntax, ok := err.(*pattern.SyntaxError); ok {
			reason = syntax.Reason
			if i := syntax.Line - 1; i >= 0 && i < len(w.nodes) {
				at = w.nodes[i]
			}
		}
		d.fail(at, field, "%s", reason)
		return nil, false
	}
	c := &condition{text: compact(text)}
	kinds, named := d.kinds(n, field)
	switch {
	case len(d.problems) > before:
		return nil, false
	case !named:
		d.fail(n, field, "does not say which kinds of event it is about, so that agents would have to send everything: add kind: [exec] or another of %s",
			strings.Join(kindNames(), ", "))
		return nil, false
	case kinds == 0:
		d.fail(n, field, "no kind of event is left that it could match")
		return nil, false
	}
	c.kinds = kinds
	if !broad {
		if k, all := matchesAll(p, kinds); all {
			d.fail(n, field, "matches every %s event, which makes a finding of all ordinary work: add a condition, or a threshold", k)
			return nil, false
		}
	}
	return c, true
}

func compact(text string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text)) != nil {
		return text
	}
	return b.String()
}

// jsonWriter turns a node into JSON with one token a line, and remembers which node a line came from: that is how a mistake
// that the pattern parser finds gets its place.
type jsonWriter struct {
	document *document
	field    string
	b        strings.Builder
	nodes    []*yaml.Node
	comma    bool
}

func (w *jsonWriter) token(n *yaml.Node, s string) {
	if w.comma {
		w.b.WriteByte(',')
		w.comma = false
	}
	w.b.WriteString(s)
	w.b.WriteByte('\n')
	w.nodes = append(w.nodes, n)
}

func (w *jsonWriter) value(n *yaml.Node, depth int) {
	d := w.document
	at := n
	if n = d.visit(n, w.field); n == nil {
		return
	}
	if depth > maxDepth {
		d.fail(at, w.field, "is nested more than %d deep", maxDepth)
		return
	}
	if w.b.Len() > maxPattern {
		if w.b.Len() < maxPattern<<4 { // once
			d.fail(at, w.field, "has more than %d bytes", maxPattern)
			w.b.WriteString(strings.Repeat(" ", maxPattern<<4))
		}
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		w.token(at, "{")
		for i := 0; i+1 < len(n.Content); i += 2 {
			w.comma = i > 0
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
				d.fail(key, w.field, "want a name as the key")
				return
			}
			w.token(key, quote(key.Value)+":")
			w.value(n.Content[i+1], depth+1)
		}
		w.comma = false
		w.token(at, "}")
	case yaml.SequenceNode:
		w.token(at, "[")
		for i, c := range n.Content {
			w.comma = i > 0
			w.value(c, depth+1)
		}
		w.comma = false
		w.token(at, "]")
	case yaml.ScalarNode:
		if s, ok := scalar(n); ok {
			w.token(at, s)
		} else {
			d.fail(at, w.field, "%s cannot be written in JSON: put it in quotes if it is a text", describe(n))
		}
	default:
		d.fail(at, w.field, "want a value")
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// scalar returns a value in JSON.
func scalar(n *yaml.Node) (string, bool) {
	switch n.ShortTag() {
	case "!!null":
		return "null", true
	case "!!bool":
		return strings.ToLower(n.Value), true
	case "!!int":
		if jsonNumber.MatchString(n.Value) {
			return n.Value, true
		}
		var v int64 // hexadecimal, octal, or with a sign
		if n.Decode(&v) != nil {
			return "", false
		}
		return fmt.Sprint(v), true
	case "!!float":
		return n.Value, jsonNumber.MatchString(n.Value)
	case "!!str", "!!timestamp":
		return quote(n.Value), true
	}
	return "", false
}

func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// names checks that a pattern names fields that exist, with values of their type: anything else would match nothing for ever,
// silently.
func (d *document) names(n *yaml.Node, field, path string, depth int) {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode || depth > maxDepth {
		return // the pattern parser complains
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode && value.Alias != nil {
			value = value.Alias
		}
		if key.Value == "$or" && value.Kind == yaml.SequenceNode {
			for _, c := range value.Content {
				d.names(c, field, path, depth+1)
			}
			continue
		}
		at := key.Value
		if path != "" {
			at = path + "." + key.Value
		}
		typ, known := fieldTypes()[at]
		switch {
		case known && value.Kind == yaml.MappingNode:
			d.fail(value, field, "%s: the conditions of a field stand in a list: [{…}]", at)
		case known && value.Kind == yaml.SequenceNode:
			for _, c := range value.Content {
				d.fits(c, field, at, typ, depth)
			}
		case known:
		case value.Kind == yaml.MappingNode && len(below(at)) > 0:
			d.names(value, field, at, depth+1)
		case len(below(at)) > 0:
			d.fail(key, field, "%s is not a field: did you mean one below it, such as %s?", at, below(at)[0])
		default:
			d.fail(key, field, "there is no field %s%s", event.PrintableN(at, 100), suggest(at, fieldNames()))
		}
	}
}

// below returns the fields whose path begins with the given one.
func below(path string) (names []string) {
	for _, name := range fieldNames() {
		if strings.HasPrefix(name, path+".") {
			names = append(names, name)
		}
	}
	return names
}

// fits checks a value, or the operand of an operator, against the type of its field.
func (d *document) fits(n *yaml.Node, field, path, typ string, depth int) {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if depth > maxDepth {
		return
	}
	switch n.Kind {
	case yaml.SequenceNode: // of anything-but
		for _, c := range n.Content {
			d.fits(c, field, path, typ, depth+1)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			operator, operand := n.Content[i], n.Content[i+1]
			switch operator.Value {
			case "anything-but":
				d.fits(operand, field, path, typ, depth+1)
			case "prefix", "suffix", "wildcard", "equals-ignore-case", "cidr":
				if typ != "string" {
					d.fail(operator, field, "%s is a %s: %s is for texts", path, typ, operator.Value)
				}
			case "numeric":
				if typ != "number" {
					d.fail(operator, field, "%s is a %s: numeric is for numbers", path, typ)
				}
			}
		}
	case yaml.ScalarNode:
		tag := n.ShortTag()
		switch {
		case tag == "!!null":
			d.fail(n, field, "%s is never null: use {exists: false}", path)
		case typ == "number" && tag != "!!int" && tag != "!!float":
			d.fail(n, field, "%s is a number: %s can never match", path, describe(n))
		case typ == "boolean" && tag != "!!bool":
			d.fail(n, field, "%s is true or false: %s can never match", path, describe(n))
		case typ == "string" && (tag == "!!int" || tag == "!!float" || tag == "!!bool"):
			d.fail(n, field, "%s is a text: put %s in quotes", path, n.Value)
		}
	}
}

// kinds returns the kinds of event that a pattern can match, and whether it says so in every one of its branches.
func (d *document) kinds(n *yaml.Node, field string) (kinds event.Kinds, named bool) {
	kinds = event.AllKinds
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode && value.Alias != nil {
			value = value.Alias
		}
		switch key.Value {
		case "kind":
			var own event.Kinds
			for _, c := range value.Content {
				k, ok := event.ParseKind(c.Value)
				switch {
				case c.Kind != yaml.ScalarNode:
					d.fail(c, field, "kind: want names, such as [exec, connect]: operators would make agents send everything")
				case !ok || !event.AllKinds.Has(k):
					d.fail(c, field, "kind: there is no kind of event named %s%s", describe(c), suggest(c.Value, kindNames()))
				default:
					own = own.With(k)
				}
			}
			kinds &= own
			named = true
		case "$or":
			var any event.Kinds
			all := true
			for _, c := range value.Content {
				k, ok := d.kinds(c, field)
				any |= k
				all = all && ok
			}
			kinds &= any
			named = named || all
		}
	}
	return kinds, named
}

// busyKinds are the kinds of event that ordinary work makes all day. Of the others, such as module, each may be news.
var busyKinds = func() (set event.Kinds) {
	for _, k := range []event.Kind{
		event.KindExec, event.KindExit, event.KindOpen, event.KindConnect, event.KindBind, event.KindDNS, event.KindRename, event.KindLink,
		event.KindSymlink, event.KindUnlink, event.KindChmod, event.KindMmap, event.KindMprotect, event.KindSocket, event.KindAccept, event.KindDup,
		event.KindSetuid, event.KindMemfd,
	} {
		set = set.With(k)
	}
	return set
}()

// matchesAll reports whether a pattern matches the events of a busy kind whatever they are about, in containers or on hosts,
// and of which kind.
func matchesAll(p *pattern.Pattern, kinds event.Kinds) (event.Kind, bool) {
	matcher, err := matcherOf(p)
	if err != nil {
		return 0, false // names has checked the fields
	}
	matches := func(e event.Event) bool {
		return len(matcher.Match(nil, detect.Inspect(&e, probeHost, nil))) > 0
	}
	for k := event.Kind(1); k < event.KindCount; k++ {
		if !kinds.Has(k) || !busyKinds.Has(k) {
			continue
		}
		all := probes(k)
		if !slices.ContainsFunc(all, func(e event.Event) bool { return !matches(e) }) {
			return k, true
		}
		if !slices.ContainsFunc(all, func(e event.Event) bool { e.Container = nil; return !matches(e) }) {
			return k, true
		}
	}
	return 0, false
}

func matcherOf(patterns ...*pattern.Pattern) (*pattern.BoundMatcher, error) {
	bound, err := pattern.Compile(patterns).Bind(detect.FieldByPath)
	if err != nil {
		return nil, err
	}
	return bound.NewMatcher(), nil
}
