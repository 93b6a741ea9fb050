package pattern

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// A Matcher matches JSON events. It is for one goroutine at a time; [Set.NewMatcher] is cheap enough to have one per
// goroutine, not per event.
type Matcher struct {
	matcher
	data     []byte
	pos      int
	problem  EventError
	kinds    []uint64 // which open brackets of a skipped value are square, a bit each
	text     []byte   // strings with their escapes resolved
	name     []byte   // a key with its escapes resolved
	resolved string   // what scalar read last
}

// NewMatcher returns a matcher for JSON events.
func (s *Set) NewMatcher() *Matcher {
	return &Matcher{matcher: newMatcher(s)}
}

// MatchJSON appends the indexes of the patterns that match the event to dst, in ascending order. The event must be a JSON
// object; the error is an *EventError otherwise, and dst is returned as it was.
//
// What patterns name, and every object and array on the way there, must be valid JSON, except that invalid UTF-8 in
// strings is compared byte by byte. In values that no pattern names only strings are checked, and that brackets
// close each other; their bare words are skipped unread. A repeated key counts each time, wherever it is.
func (m *Matcher) MatchJSON(dst []int, event []byte) ([]int, error) {
	m.reset()
	m.data, m.pos = event, 0
	m.text = m.text[:0]
	ok := m.wholeEvent()
	if ok {
		for _, f := range m.touched {
			m.probe(f)
		}
		m.probeAbsent()
		ok = !m.gaveUp || m.fail("its arrays need too many comparisons")
	}
	m.data = nil
	if !ok {
		m.release()
		problem := m.problem
		return dst, &problem
	}
	return m.finish(dst), nil
}

func (m *Matcher) fail(reason string) bool {
	m.problem = EventError{Reason: reason, Offset: min(m.pos, len(m.data))}
	return false
}

// wholeEvent reads the whole event.
func (m *Matcher) wholeEvent() bool {
	if m.space() != '{' {
		return m.fail("an event must be a JSON object")
	}
	m.pos++
	if !m.object(m.set.root, 0, 1) {
		return false
	}
	if m.space() != 0 || m.pos < len(m.data) {
		return m.fail("data after the event")
	}
	return true
}

// space skips white space and returns the byte that follows, 0 at the end.
func (m *Matcher) space() byte {
	data, i := m.data, m.pos
	for i < len(data) {
		c := data[i]
		if c > ' ' || (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
			m.pos = i
			return c
		}
		i++
	}
	m.pos = i
	return 0
}

// object reads an object whose opening brace has been read.
func (m *Matcher) object(n *node, context int32, depth int) bool {
	if depth > MaxDepth {
		return m.fail("nested too deeply")
	}
	if m.space() == '}' {
		m.pos++
		return true
	}
	for {
		if m.space() != '"' {
			return m.fail("expected a key")
		}
		start := m.pos + 1
		end, escaped := m.quoted()
		if end < 0 {
			return false
		}
		name := m.data[start:end]
		if escaped {
			if m.name, escaped = unescape(m.name[:0], name); !escaped {
				return m.fail("invalid escape in a key")
			}
			name = m.name
		}
		child := n.child(name)
		if m.space() != ':' {
			return m.fail("expected a colon")
		}
		m.pos++
		c := m.space()
		if child == nil {
			if !m.skip(c, depth) {
				return false
			}
		} else if !m.value(c, child, context, depth) {
			return false
		}
		switch m.space() {
		case ',':
			m.pos++
		case '}':
			m.pos++
			return true
		default:
			return m.fail("expected a comma or the end of the object")
		}
	}
}

// value reads a value that some pattern names, or names something in; c is its first byte.
func (m *Matcher) value(c byte, n *node, context int32, depth int) bool {
	switch c {
	case '{':
		if len(n.children) == 0 {
			return m.skip(c, depth)
		}
		m.pos++
		return m.object(n, context, depth+1)
	case '[':
		m.pos++
		return m.array(n, context, depth+1)
	}
	start := m.pos
	kind, ok := m.scalar(c, n.field >= 0)
	if !ok || n.field < 0 {
		return ok
	}
	v := Value{Kind: kind}
	switch kind {
	case String:
		v.Str = m.resolved
	case Number:
		v.Str = stringOf(m.data[start:m.pos])
	}
	m.add(n.field, v, context)
	return true
}

// array reads an array whose opening bracket has been read.
func (m *Matcher) array(n *node, around int32, depth int) bool {
	if depth > MaxDepth {
		return m.fail("nested too deeply")
	}
	// Elements matter only where two fields may come from different ones.
	track := m.set.contexts && n.below > 1
	id := int32(len(m.arrays))
	if track {
		m.arrays = append(m.arrays, array{})
	}
	if m.space() == ']' {
		m.pos++
		return true
	}
	for {
		c := m.space()
		context := around
		if track && (c == '{' || c == '[') {
			context = int32(len(m.contexts))
			m.contexts = append(m.contexts, newContext(around, id))
		}
		if !m.value(c, n, context, depth) {
			return false
		}
		switch m.space() {
		case ',':
			m.pos++
		case ']':
			m.pos++
			if track {
				m.arrays[id].end = int32(len(m.contexts))
			}
			return true
		default:
			return m.fail("expected a comma or the end of the array")
		}
	}
}

func newContext(parent, array int32) context { return context{parent: parent, array: array} }

// scalar reads a string, number or bare word; c is its first byte. The text of a string that is wanted is left in resolved.
func (m *Matcher) scalar(c byte, wanted bool) (ValueKind, bool) {
	switch {
	case c == '"':
		start := m.pos + 1
		end, escaped := m.quoted()
		if end < 0 {
			return String, false
		}
		switch {
		case !wanted:
		case !escaped:
			m.resolved = stringOf(m.data[start:end])
		default:
			from := len(m.text)
			var ok bool
			if m.text, ok = unescape(m.text, m.data[start:end]); !ok {
				return String, m.fail("invalid escape in a string")
			}
			m.resolved = stringOf(m.text[from:])
		}
		return String, true
	case c == '-' || (c >= '0' && c <= '9'):
		return Number, m.number()
	case c == 't':
		return True, m.word("true")
	case c == 'f':
		return False, m.word("false")
	case c == 'n':
		return Null, m.word("null")
	}
	return Null, m.fail("expected a value")
}

func (m *Matcher) word(w string) bool {
	if end := m.pos + len(w); end <= len(m.data) && string(m.data[m.pos:end]) == w {
		m.pos = end
		return true
	}
	return m.fail("expected a value")
}

// number reads a JSON number.
func (m *Matcher) number() bool {
	data, i := m.data, m.pos
	if data[i] == '-' {
		i++
	}
	first := i
	for i < len(data) && data[i]-'0' <= 9 {
		i++
	}
	if i == first || (data[first] == '0' && i > first+1) {
		return m.fail("invalid number")
	}
	if i < len(data) && data[i] == '.' {
		i++
		first = i
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
		if i == first {
			return m.fail("invalid number")
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		first = i
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
		if i == first {
			return m.fail("invalid number")
		}
	}
	m.pos = i
	return true
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// quoted reads the string that begins at pos, and returns the offset of its closing quote, -1 for a mistake, and whether
// there are escapes before it.
func (m *Matcher) quoted() (end int, escaped bool) {
	data, i := m.data, m.pos+1
	for {
		if i+8 <= len(data) {
			// Find the first quote, backslash or control character among eight bytes at once.
			w := binary.LittleEndian.Uint64(data[i:])
			quote, back := w^'"'*ones, w^'\\'*ones
			hit := ((quote-ones)&^quote | (back-ones)&^back | (w-' '*ones)&^w) & highs
			if hit == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(hit) >> 3
		} else {
			for i < len(data) && data[i] != '"' && data[i] != '\\' && data[i] >= ' ' {
				i++
			}
			if i >= len(data) {
				m.pos = i
				m.fail("a string does not end")
				return -1, false
			}
		}
		switch data[i] {
		case '"':
			m.pos = i + 1
			return i, escaped
		case '\\':
			escaped = true
			i += 2
		default:
			m.pos = i
			m.fail("a control character in a string")
			return -1, false
		}
	}
}

// unescape appends a string with its escapes resolved.
func unescape(dst, s []byte) ([]byte, bool) {
	for len(s) > 0 {
		if s[0] != '\\' {
			i := 1
			for i < len(s) && s[i] != '\\' {
				i++
			}
			dst = append(dst, s[:i]...)
			s = s[i:]
			continue
		}
		var n int
		if dst, n = appendEscape(dst, s); n == 0 {
			return dst, false
		}
		s = s[n:]
	}
	return dst, true
}

// skip reads a value that no pattern names; c is its first byte.
func (m *Matcher) skip(c byte, depth int) bool {
	if c != '{' && c != '[' {
		_, ok := m.scalar(c, false)
		return ok
	}
	data, i := m.data, m.pos
	m.kinds = m.kinds[:0]
	kinds := uint64(0) // of the innermost brackets, a bit each; those around 64 others are in m.kinds
	open := 0          // brackets
words:
	for {
		// Find the quotes and brackets among eight bytes. A bracket, square or curly, is 0x7f when the bits 1, 2 and 5 are set.
		var hit uint64
		if i+8 <= len(data) {
			w := binary.LittleEndian.Uint64(data[i:])
			quote, bracket := w^'"'*ones, (w|0x26*ones)^0x7f*ones
			if hit = ((quote-ones)&^quote | (bracket-ones)&^bracket) & highs; hit == 0 {
				i += 8
				continue
			}
		} else {
			hit = highs >> (8 * (i + 8 - len(data))) // look at each byte that is left
			if i >= len(data) {
				m.pos = i
				return m.fail("the event does not end")
			}
		}
		// What follows the first hit may be a hit by mistake; the switch looks at the byte itself.
		base := i
		for ; hit != 0; hit &= hit - 1 {
			i = base + bits.TrailingZeros64(hit)>>3
			switch c := data[i]; c {
			case '"':
				m.pos = i
				if end, _ := m.quoted(); end < 0 {
					return false
				}
				i = m.pos
				continue words
			case '{', '[':
				if open > 0 && open%64 == 0 {
					m.kinds = append(m.kinds, kinds)
				}
				kinds <<= 1
				if c == '[' {
					kinds |= 1
				}
				if open++; depth+open > MaxDepth {
					m.pos = i
					return m.fail("nested too deeply")
				}
			case '}', ']':
				if (kinds&1 == 1) != (c == ']') {
					m.pos = i
					return m.fail("brackets do not match")
				}
				kinds >>= 1
				if open--; open == 0 {
					m.pos = i + 1
					return true
				}
				if open%64 == 0 {
					kinds = m.kinds[len(m.kinds)-1]
					m.kinds = m.kinds[:len(m.kinds)-1]
				}
			}
		}
		i = min(base+8, len(data))
	}
}

// stringOf returns b as a string without copying. The strings made here live in leaves, which are dropped before the next
// event is read; the event is not written to while it is being matched, and m.text only ever grows during a match.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
