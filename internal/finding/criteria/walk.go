package criteria

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// node is a place in the tree of the members that are wanted.
type node struct {
	members        map[string]*node
	slots          []slot
	additionalInfo bool // its members stand as JSON in the text of the member value
}

// slot is where the values of a member go, and how they are read.
type slot struct {
	index int
	kind  Kind
}

func (n *node) insert(path string, s slot) {
	for _, name := range strings.Split(path, ".") {
		if n.members == nil {
			n.members = map[string]*node{}
		}
		next := n.members[name]
		if next == nil {
			next = &node{additionalInfo: name == "additionalInfo"}
			n.members[name] = next
		}
		n = next
	}
	n.slots = append(n.slots, s)
}

// walker reads JSON and keeps the values of wanted members; the elements of arrays count each, null counts as absent.
type walker struct {
	text   []byte
	at     int
	depth  int
	inside bool // the text is that of additionalInfo.value
	values [][]Value
}

// maxDepth bounds the arrays and wanted objects around a value.
const maxDepth = 64

var (
	errSyntax = errors.New("no JSON")
	errDeep   = errors.New("nested too deeply")
)

func (w *walker) walk(n *node) error {
	if err := w.value(n); err != nil {
		return err
	}
	if w.space(); w.at != len(w.text) {
		return errSyntax
	}
	return nil
}

func (w *walker) space() {
	for w.at < len(w.text) {
		switch w.text[w.at] {
		case ' ', '\t', '\n', '\r':
			w.at++
		default:
			return
		}
	}
}

// peek returns the next byte that is no space, 0 at the end.
func (w *walker) peek() byte {
	w.space()
	if w.at == len(w.text) {
		return 0
	}
	return w.text[w.at]
}

// take consumes one byte if it is c.
func (w *walker) take(c byte) bool {
	if w.peek() != c {
		return false
	}
	w.at++
	return true
}

// value consumes a value. Below n are the members that are wanted of it; nil if none.
func (w *walker) value(n *node) error {
	if w.depth++; w.depth > maxDepth {
		return errDeep
	}
	defer func() { w.depth-- }()
	switch c := w.peek(); {
	case n == nil:
		return w.skip()
	case c == '{' && n.members != nil:
		w.at++
		return w.object(n)
	case c == '{':
		return w.skip()
	case c == '[':
		w.at++
		for first := true; !w.take(']'); first = false {
			if !first && !w.take(',') {
				return errSyntax
			}
			if err := w.value(n); err != nil {
				return err
			}
		}
		return nil
	case c == '"':
		raw, err := w.quoted()
		if err != nil || len(n.slots) == 0 {
			return err
		}
		text, err := unquote(raw)
		if err != nil {
			return err
		}
		for _, s := range n.slots {
			if v, ok := parseValue(s.kind, text); ok {
				w.values[s.index] = append(w.values[s.index], v)
			}
		}
		return nil
	}
	raw := w.literal()
	if len(raw) == 0 {
		return errSyntax
	}
	for _, s := range n.slots {
		var v Value
		ok := true
		switch c := raw[0]; {
		case c == 'n':
			ok = false
		case c == 't', c == 'f':
			v = Value{Text: string(raw)}
		default:
			v, ok = number(s.kind, raw)
		}
		if ok {
			w.values[s.index] = append(w.values[s.index], v)
		}
	}
	return nil
}

// object consumes the members of an object, whose brace is consumed.
func (w *walker) object(n *node) error {
	for first := true; !w.take('}'); first = false {
		if !first && !w.take(',') {
			return errSyntax
		}
		if w.peek() != '"' {
			return errSyntax
		}
		name, err := w.quoted()
		if err != nil || !w.take(':') {
			return errSyntax
		}
		name = name[1 : len(name)-1]
		next := n.members[string(name)] // the names that are wanted have nothing to escape
		if w.inside && (string(name) == "value" || string(name) == "type") {
			next = nil
		}
		if n.additionalInfo && !w.inside && string(name) == "value" && w.peek() == '"' {
			w.more(n)
		}
		if err := w.value(next); err != nil {
			return err
		}
	}
	return nil
}

// more looks for wanted members in the text that comes next, and leaves it there. What is no JSON has none.
func (w *walker) more(n *node) {
	ahead := walker{text: w.text, at: w.at}
	raw, err := ahead.quoted()
	if err != nil {
		return
	}
	text, err := unquote(raw)
	if err != nil || !json.Valid([]byte(text)) {
		return
	}
	in := walker{text: []byte(text), depth: w.depth, inside: true, values: w.values}
	in.walk(n)
}

// quoted consumes a string and returns it with its quotes.
func (w *walker) quoted() ([]byte, error) {
	for i := w.at + 1; i < len(w.text); i++ {
		switch w.text[i] {
		case '"':
			raw := w.text[w.at : i+1]
			w.at = i + 1
			return raw, nil
		case '\\':
			i++
		}
	}
	return nil, errSyntax
}

// literal consumes a number, true, false or null.
func (w *walker) literal() []byte {
	from := w.at
	for w.at < len(w.text) {
		c := w.text[w.at]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'E') {
			break
		}
		w.at++
	}
	return w.text[from:w.at]
}

// skip consumes a value that nobody wants, without a look at its grammar.
func (w *walker) skip() error {
	for depth := 0; ; {
		switch c := w.peek(); c {
		case 0:
			return errSyntax
		case '"':
			if _, err := w.quoted(); err != nil {
				return err
			}
		case '{', '[':
			depth++
			w.at++
		case '}', ']':
			depth--
			w.at++
		case ',', ':':
			if depth == 0 {
				return errSyntax
			}
			w.at++
		default:
			if len(w.literal()) == 0 {
				return errSyntax
			}
		}
		if depth < 0 {
			return errSyntax
		}
		if depth == 0 {
			return nil
		}
	}
}

// unquote decodes a string with its quotes.
func unquote(raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errSyntax
	}
	return s, nil
}
