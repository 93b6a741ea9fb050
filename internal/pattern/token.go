package pattern

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind is what the tokenizer read last.
type tokenKind uint8

const (
	tokEnd tokenKind = iota // the end of the input, at the root only
	tokObject
	tokObjectEnd
	tokArray
	tokArrayEnd
	tokName
	tokString
	tokNumber
	tokTrue
	tokFalse
	tokNull
)

// MaxDepth is how deeply patterns and events may nest.
const MaxDepth = 1000

// tokenizer reads JSON the way the parser behind AWS's rule compiler does, because the positions and words of its error
// messages show: it stands behind the opening quote of a string until the string is asked for, and when it returns a name
// it has already begun to read the value. A mistake is kept as a *SyntaxError and thrown with panic; Parse catches it.
type tokenizer struct {
	src   string
	pos   int
	kind  tokenKind
	name  string
	text  string
	stack []container

	pending    tokenKind // the value after a name, read ahead
	hasPending bool
	unread     bool // kind is tokString and its text is still to be read
	tokenStart int  // offset of the current token's first byte
}

type container struct {
	array bool
	start int // offset of the bracket
	count int // values or names begun so far
}

// fail throws a mistake located at the current position.
func (t *tokenizer) fail(format string, args ...any) {
	t.failAt(t.pos, format, args...)
}

func (t *tokenizer) failAt(offset int, format string, args ...any) {
	line, column := lineColumn(t.src, offset)
	panic(&SyntaxError{Reason: fmt.Sprintf(format, args...), Line: line, Column: column, Source: t.src})
}

func (t *tokenizer) unexpected(offset int, expected string) {
	r, _ := utf8.DecodeRuneInString(t.src[offset:])
	t.failAt(offset, "Unexpected character (%s): %s", describe(r), expected)
}

func describe(r rune) string {
	switch {
	case r < 0x20 || (r >= 0x7f && r < 0xa0):
		return fmt.Sprintf("(CTRL-CHAR, code %d)", r)
	case r > 255:
		return fmt.Sprintf("'%c' (code %d / 0x%x)", r, r, r)
	default:
		return fmt.Sprintf("'%c' (code %d)", r, r)
	}
}

// space skips white space and reports whether anything is left.
func (t *tokenizer) space() bool {
	for t.pos < len(t.src) {
		switch c := t.src[t.pos]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			t.pos++
		case c < 0x20:
			t.pos++
			t.fail("Illegal character (%s): only regular white space (\\r, \\n, \\t) is allowed between tokens", describe(rune(c)))
		default:
			return true
		}
	}
	return false
}

// next reads the next token.
func (t *tokenizer) next() tokenKind {
	if t.unread {
		t.readString()
	}
	if t.hasPending {
		t.hasPending = false
		t.enter(t.pending)
		return t.kind
	}
	if len(t.stack) == 0 {
		if !t.space() {
			t.kind = tokEnd
			return t.kind
		}
		t.enter(t.value())
		return t.kind
	}
	top := &t.stack[len(t.stack)-1]
	t.need(top)
	if c := t.src[t.pos]; c == ']' || c == '}' {
		t.close(c)
		return t.kind
	}
	if top.count > 0 {
		if t.src[t.pos] != ',' {
			t.unexpected(t.pos, "was expecting comma to separate "+top.word()+" entries")
		}
		t.pos++
		if !t.space() {
			t.fail("Unexpected end-of-input within/between %s entries", top.word())
		}
	}
	top.count++
	if top.array {
		t.enter(t.value())
		return t.kind
	}
	if t.src[t.pos] != '"' {
		t.unexpected(t.pos, "was expecting double-quote to start field name")
	}
	t.pos++
	t.name = t.stringBody("name")
	if !t.space() {
		t.fail("Unexpected end-of-input within/between Object entries")
	}
	if t.src[t.pos] != ':' {
		t.unexpected(t.pos, "was expecting a colon to separate field name and value")
	}
	t.pos++
	if !t.space() {
		t.fail("Unexpected end-of-input within/between Object entries")
	}
	t.pending, t.hasPending = t.value(), true
	t.kind = tokName
	return t.kind
}

func (c *container) word() string {
	if c.array {
		return "Array"
	}
	return "Object"
}

func (t *tokenizer) need(top *container) {
	if !t.space() {
		line, column := lineColumn(t.src, top.start)
		t.fail("Unexpected end-of-input: expected close marker for %s (start marker at %s)", top.word(), location(t.src, line, column))
	}
}

func (t *tokenizer) close(c byte) {
	top := &t.stack[len(t.stack)-1]
	want := byte('}')
	if top.array {
		want = ']'
	}
	t.pos++
	if c != want {
		line, column := lineColumn(t.src, top.start)
		t.fail("Unexpected close marker '%c': expected '%c' (for %s starting at %s)", c, want, top.word(), location(t.src, line, column))
	}
	t.stack = t.stack[:len(t.stack)-1]
	t.kind = tokObjectEnd
	if c == ']' {
		t.kind = tokArrayEnd
	}
	t.text = string(c)
}

// enter makes k, which value has read, the current token.
func (t *tokenizer) enter(k tokenKind) {
	t.kind = k
	if k == tokObject || k == tokArray {
		if len(t.stack) >= MaxDepth {
			t.fail("Document nesting depth (%d) exceeds the maximum allowed (%d)", MaxDepth+1, MaxDepth)
		}
		t.stack = append(t.stack, container{array: k == tokArray, start: t.tokenStart})
	}
	t.unread = k == tokString
}

const validValues = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"

// value reads the beginning of a value: of a string or a container no more than its first character.
func (t *tokenizer) value() tokenKind {
	t.tokenStart = t.pos
	switch c := t.src[t.pos]; {
	case c == '"':
		t.pos++
		return tokString
	case c == '{' || c == '[':
		t.pos++
		t.text = string(c)
		if c == '{' {
			return tokObject
		}
		return tokArray
	case c == 't':
		return t.literal("true", tokTrue)
	case c == 'f':
		return t.literal("false", tokFalse)
	case c == 'n':
		return t.literal("null", tokNull)
	case c == '-' || (c >= '0' && c <= '9'):
		return t.number()
	case c == '}':
		t.unexpected(t.pos, "expected a value")
	}
	r, _ := utf8.DecodeRuneInString(t.src[t.pos:])
	if identifierPart(r) {
		t.invalidToken()
	}
	t.unexpected(t.pos, "expected a valid value "+validValues)
	return 0
}

func identifierPart(r rune) bool {
	return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

func (t *tokenizer) literal(word string, k tokenKind) tokenKind {
	rest := t.src[t.pos:]
	if !strings.HasPrefix(rest, word) {
		t.invalidToken()
	}
	if r, _ := utf8.DecodeRuneInString(rest[len(word):]); len(rest) > len(word) && identifierPart(r) {
		t.invalidToken()
	}
	t.pos += len(word)
	t.text = word
	return k
}

// invalidToken throws the mistake of a bare word.
func (t *tokenizer) invalidToken() {
	start := t.pos
	for t.pos < len(t.src) && t.pos-start < 256 {
		r, n := utf8.DecodeRuneInString(t.src[t.pos:])
		if !identifierPart(r) {
			break
		}
		t.pos += n
	}
	t.fail("Unrecognized token '%s': was expecting %s", t.src[start:t.pos], validValues)
}

func (t *tokenizer) number() tokenKind {
	start := t.pos
	digits := func() int {
		n := 0
		for t.pos < len(t.src) && t.src[t.pos] >= '0' && t.src[t.pos] <= '9' {
			t.pos++
			n++
		}
		return n
	}
	bad := func(what string) {
		if t.pos >= len(t.src) {
			t.fail("Unexpected end-of-input in a Number value")
		}
		r, _ := utf8.DecodeRuneInString(t.src[t.pos:])
		t.failAt(t.pos, "Unexpected character (%s) in numeric value: %s", describe(r), what)
	}
	if t.src[t.pos] == '-' {
		t.pos++
	}
	first := t.pos
	if digits() == 0 {
		bad("expected digit (0-9) to follow minus sign, for valid numeric value")
	}
	if t.src[first] == '0' && t.pos-first > 1 {
		t.failAt(first+1, "Invalid numeric value: Leading zeroes not allowed")
	}
	if t.pos < len(t.src) && t.src[t.pos] == '.' {
		t.pos++
		if digits() == 0 {
			bad("Decimal point not followed by a digit")
		}
	}
	if t.pos < len(t.src) && (t.src[t.pos] == 'e' || t.src[t.pos] == 'E') {
		t.pos++
		if t.pos < len(t.src) && (t.src[t.pos] == '+' || t.src[t.pos] == '-') {
			t.pos++
		}
		if digits() == 0 {
			bad("Exponent indicator not followed by a digit")
		}
	}
	t.text = t.src[start:t.pos]
	if len(t.text) > maxNumber {
		t.fail("Number value length (%d) exceeds the maximum allowed (%d)", len(t.text), maxNumber)
	}
	return tokNumber
}

// maxNumber is the most characters a number in a pattern may have.
const maxNumber = 1000

// getText returns the text of the current token, finishing a string.
func (t *tokenizer) getText() string {
	if t.unread {
		t.readString()
	}
	if t.kind == tokName {
		return t.name
	}
	return t.text
}

func (t *tokenizer) readString() {
	t.unread = false
	t.text = t.stringBody("string value")
}

// stringBody reads up to and including the closing quote; the opening one has been read.
func (t *tokenizer) stringBody(what string) string {
	start := t.pos
	var b []byte
	for {
		if t.pos >= len(t.src) {
			if what == "name" {
				t.fail("Unexpected end-of-input in field name")
			}
			t.fail("Unexpected end-of-input: was expecting closing quote for a string value")
		}
		switch c := t.src[t.pos]; {
		case c == '"':
			t.pos++
			if b == nil {
				return t.src[start : t.pos-1]
			}
			return string(b)
		case c < 0x20:
			t.pos++
			t.fail("Illegal unquoted character (%s): has to be escaped using backslash to be included in %s", describe(rune(c)), what)
		case c == '\\':
			if b == nil {
				b = append(make([]byte, 0, len(t.src[start:t.pos])+16), t.src[start:t.pos]...)
			}
			b = t.escape(b)
		default:
			if b != nil {
				b = append(b, c)
			}
			t.pos++
		}
	}
}

func (t *tokenizer) escape(b []byte) []byte {
	if t.pos+1 >= len(t.src) {
		t.pos = len(t.src)
		t.fail("Unexpected end-of-input in character escape sequence")
	}
	if t.src[t.pos+1] == 'u' {
		for i := t.pos + 2; i < t.pos+6; i++ {
			if i >= len(t.src) {
				t.pos = len(t.src)
				t.fail("Unexpected end-of-input in character escape sequence")
			}
			if hexDigit(t.src[i]) < 0 {
				t.unexpected(i, "expected a hex-digit for character escape sequence")
			}
		}
	}
	out, n := appendEscape(b, t.src[t.pos:])
	if n == 0 {
		r, size := utf8.DecodeRuneInString(t.src[t.pos+1:])
		t.pos += 1 + size
		t.fail("Unrecognized character escape %s", describe(r))
	}
	t.pos += n
	return out
}
