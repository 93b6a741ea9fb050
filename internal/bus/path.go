package bus

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// A path is a parsed JSON path of the subset that EventBridge knows: $, .name, ['name'], [n], [*] and .*.
type path []step

type step struct {
	name  string
	index int // used if name is "" and all is false
	all   bool
}

var errPath = errors.New("not a JSON path")

const maxSteps = 64

func parsePath(s string) (path, error) {
	rest, ok := strings.CutPrefix(s, "$")
	if !ok {
		return nil, errPath
	}
	var p path
	for rest != "" {
		if len(p) == maxSteps {
			return nil, errPath
		}
		switch rest[0] {
		case '.':
			rest = rest[1:]
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			name := rest[:end]
			if name == "" || strings.ContainsAny(name, "'\"]<> \t\r\n") {
				return nil, errPath
			}
			rest = rest[end:]
			p = append(p, step{name: name, all: name == "*"})
		case '[':
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return nil, errPath
			}
			inside := rest[1:end]
			rest = rest[end+1:]
			switch {
			case inside == "*":
				p = append(p, step{all: true})
			case len(inside) > 2 && inside[0] == '\'' && inside[len(inside)-1] == '\'':
				p = append(p, step{name: inside[1 : len(inside)-1]})
			default:
				n, err := strconv.ParseUint(inside, 10, 31)
				if err != nil {
					return nil, errPath
				}
				p = append(p, step{index: int(n)})
			}
		default:
			return nil, errPath
		}
	}
	return p, nil
}

// find returns the JSON text of what the path means in doc, and whether it is there. A path with a star means the array of
// all it finds.
func (p path) find(doc json.RawMessage) (json.RawMessage, bool) {
	found := []json.RawMessage{doc}
	star := false
	for _, s := range p {
		var next []json.RawMessage
		for _, v := range found {
			next = s.follow(next, v)
		}
		star = star || s.all
		found = next
	}
	if star {
		if found == nil {
			found = []json.RawMessage{}
		}
		text, err := encode(found)
		return text, err == nil
	}
	if len(found) == 0 {
		return nil, false
	}
	return found[0], true
}

// follow appends what one step finds in v.
func (s step) follow(dst []json.RawMessage, v json.RawMessage) []json.RawMessage {
	if len(v) == 0 {
		return dst
	}
	switch v[0] {
	case '{':
		if s.name == "" && !s.all {
			return dst
		}
		if s.all {
			// In the order of the text, which a map would lose.
			dec := json.NewDecoder(strings.NewReader(string(v)))
			dec.Token()
			for dec.More() {
				var member json.RawMessage
				if _, err := dec.Token(); err != nil {
					return dst
				}
				if dec.Decode(&member) != nil {
					return dst
				}
				dst = append(dst, member)
			}
			return dst
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(v, &object) != nil {
			return dst
		}
		if member, ok := object[s.name]; ok {
			dst = append(dst, member)
		}
	case '[':
		if s.name != "" && !s.all {
			return dst
		}
		var array []json.RawMessage
		if json.Unmarshal(v, &array) != nil {
			return dst
		}
		if s.all {
			return append(dst, array...)
		}
		if s.index < len(array) {
			dst = append(dst, array[s.index])
		}
	}
	return dst
}
