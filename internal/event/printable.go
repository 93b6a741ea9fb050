package event

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxPrintable is the length in bytes at which [Printable] cuts a text.
const MaxPrintable = 4096

// maxMarks is how many combining marks may follow each other before they are escaped: enough for every living script, too
// few to smear a line over its neighbours.
const maxMarks = 4

// Printable returns s in a form that is safe to show in a terminal, a log, a mail or a page: whatever could move a cursor,
// change the direction of the text, end the line, or be there without being seen, is written as an escape (\x1b, \u202e),
// and so is every byte that is not UTF-8. Text longer than MaxPrintable bytes is cut and ends in "…".
//
// The result is for people. A backslash stays a single backslash, so the text cannot be turned back into s for certain.
// It is not escaped for HTML or for a shell.
func Printable(s string) string { return PrintableN(s, MaxPrintable) }

// PrintableN is Printable with a bound of max bytes, the ellipsis not counted. An escape is never cut in the middle.
func PrintableN(s string, max int) string {
	if len(s) <= max && plain(s) {
		return s
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.Grow(min(len(s), max) + 16)
	marks := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		var esc [10]byte
		out := s[i : i+size]
		switch {
		case r == utf8.RuneError && size == 1, r < 0x100 && !unicode.IsPrint(r):
			// C1 controls are written as a code point; bytes that are no UTF-8 as a byte. Both fit two digits, and which
			// of the two it was does not matter to a reader.
			c := byte(r)
			if size == 1 {
				c = s[i]
			}
			esc = [10]byte{'\\', 'x', digits[c>>4], digits[c&15]}
			out = string(esc[:4])
		case !unicode.IsPrint(r) || invisible(r) || marks > maxMarks:
			n := 4
			esc[0], esc[1] = '\\', 'u'
			if r > 0xffff {
				n, esc[1] = 8, 'U'
			}
			for k := range n {
				esc[2+k] = digits[r>>(4*(n-1-k))&15]
			}
			out = string(esc[:2+n])
		}
		if b.Len()+len(out) > max {
			b.WriteString("…")
			break
		}
		b.WriteString(out)
		i += size
	}
	return b.String()
}

// plain reports whether s consists of printable ASCII only.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// invisible reports whether r takes no ink although [unicode.IsPrint] calls it printable.
func invisible(r rune) bool {
	switch {
	case r == 0x034f, // combining grapheme joiner
		r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, // Hangul fillers
		r == 0x17b4, r == 0x17b5, // Khmer inherent vowels
		r == 0x2800,                // blank Braille pattern
		r >= 0x180b && r <= 0x180f, // Mongolian selectors
		r >= 0xfe00 && r <= 0xfe0f, // variation selectors
		r >= 0xe0100 && r <= 0xe01ef:
		return true
	}
	return false
}
