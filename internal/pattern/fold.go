package pattern

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// foldElement is one character of a pattern that ignores case: the two spellings an event may use. upper is empty when both
// are the same.
type foldElement struct{ lower, upper string }

// foldElements returns the spellings of each character of s. They are the lower and the upper case of the character on its
// own, as in Java: ß is also written SS, and i is not also written İ or ı.
func foldElements(s string) []foldElement {
	out := make([]foldElement, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		c := s[i : i+n]
		i += n
		if r == utf8.RuneError && n == 1 {
			out = append(out, foldElement{lower: c})
			continue
		}
		lower, upper := string(unicode.ToLower(r)), string(unicode.ToUpper(r))
		if r == 'İ' {
			lower = "i\u0307"
		}
		if long, ok := longUpper[r]; ok {
			upper = long
		}
		if lower == upper {
			upper = ""
		}
		out = append(out, foldElement{lower, upper})
	}
	return out
}

// cutPrefix removes the element from the beginning of s. The two spellings never begin one another.
func (e foldElement) cutPrefix(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, e.lower); ok {
		return rest, true
	}
	if e.upper == "" {
		return s, false
	}
	return strings.CutPrefix(s, e.upper)
}

func (e foldElement) cutSuffix(s string) (string, bool) {
	if rest, ok := strings.CutSuffix(s, e.lower); ok {
		return rest, true
	}
	if e.upper == "" {
		return s, false
	}
	return strings.CutSuffix(s, e.upper)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendLowerASCII appends s with the letters A to Z in lower case.
func appendLowerASCII(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
