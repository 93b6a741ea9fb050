package pattern

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A SyntaxError says why the text is not a valid pattern, in the words AWS uses.
type SyntaxError struct {
	Reason string
	Line   int // 1-based; 0 when AWS gives no position for this mistake
	Column int // 1-based, in UTF-16 units, the position after what was read last
	Source string
}

// Error returns the reason followed, where AWS gives one, by the position.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Reason
	}
	return e.Reason + "\n at " + location(e.Source, e.Line, e.Column)
}

// Reasons of rejected SNS filter policies on which callers branch, because SNS words the surrounding message differently.
const (
	ReasonNested      = "Filter policy scope MessageAttributes does not support nested filter policy"
	ReasonTooManyKeys = "Filter policy can not have more than 5 keys"
	ReasonTooComplex  = "Filter policy is too complex"
)

// An EventError says why an event cannot be matched: it is not a JSON object, not JSON, or its arrays cost too much.
type EventError struct {
	Reason string
	Offset int // in bytes
}

func (e *EventError) Error() string {
	return fmt.Sprintf("matching event: %s at offset %d", e.Reason, e.Offset)
}

// maxSnippet is how much of the source AWS repeats in a message.
const maxSnippet = 500

// location words a position as AWS does. Control characters other than line ends are escaped.
func location(source string, line, column int) string {
	var b strings.Builder
	b.WriteString("[Source: (String)\"")
	units, cut := 0, 0
	for _, r := range source {
		n := utf16.RuneLen(r)
		if n < 0 {
			n = 1
		}
		if units+n > maxSnippet {
			cut += n
			continue
		}
		units += n
		if (r < 0x20 && r != '\n' && r != '\r') || (r >= 0x7f && r < 0xa0) {
			fmt.Fprintf(&b, "\\u%04X", r)
			continue
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	if cut > 0 {
		fmt.Fprintf(&b, "[truncated %d chars]", cut)
	}
	fmt.Fprintf(&b, "; line: %d, column: %d]", line, column)
	return b.String()
}

// lineColumn turns a byte offset into a 1-based line and a 1-based column in UTF-16 units.
func lineColumn(source string, offset int) (line, column int) {
	line = 1
	start := 0
	for i := 0; i < offset && i < len(source); i++ {
		switch source[i] {
		case '\r':
			if i+1 < len(source) && source[i+1] == '\n' {
				continue
			}
			line, start = line+1, i+1
		case '\n':
			line, start = line+1, i+1
		}
	}
	column = 1
	for i := start; i < offset && i < len(source); {
		r, n := utf8.DecodeRuneInString(source[i:])
		i += n
		column++
		if r > 0xffff {
			column++
		}
	}
	return line, column
}
