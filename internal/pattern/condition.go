package pattern

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// operator says how an alternative compares a leaf value.
type operator uint8

const (
	opExact       operator = iota // the string text
	opNumber                      // the comparable number lo
	opLiteral                     // the number that is spelled text and cannot be compared by value
	opNull                        // null
	opTrue                        // true
	opFalse                       // false
	opPrefix                      // a string that begins with text
	opSuffix                      // a string that ends with text
	opEqualFold                   // a string equal to text but for case
	opPrefixFold                  // a string that begins with text but for case
	opSuffixFold                  // a string that ends with text but for case
	opWildcard                    // a string that matches glob
	opRange                       // a comparable number in [lo, hi]
	opAddress                     // an IP literal in [lo, hi]
	opExists                      // any leaf
	opAbsent                      // no leaf
	opAnythingBut                 // any leaf that none of not matches
)

// alternative is one element of the array that a pattern has at a path.
type alternative struct {
	op     operator
	text   string
	lo, hi key
	v6     bool
	fold   []foldElement
	glob   glob
	not    []alternative
}

// identity returns a string that two alternatives share exactly when they mean the same.
func (a *alternative) identity() string {
	var b strings.Builder
	a.identify(&b)
	return b.String()
}

func (a *alternative) identify(b *strings.Builder) {
	var n [42]byte
	n[0] = byte(a.op)
	if a.v6 {
		n[1] = 1
	}
	binary.BigEndian.PutUint64(n[2:], a.lo.hi)
	binary.BigEndian.PutUint64(n[10:], a.lo.lo)
	binary.BigEndian.PutUint64(n[18:], a.hi.hi)
	binary.BigEndian.PutUint64(n[26:], a.hi.lo)
	binary.BigEndian.PutUint32(n[34:], uint32(len(a.text)))
	binary.BigEndian.PutUint32(n[38:], uint32(len(a.not)))
	b.Write(n[:])
	b.WriteString(a.text)
	ids := make([]string, len(a.not))
	for i := range a.not {
		ids[i] = a.not[i].identity()
	}
	slices.Sort(ids)
	for _, id := range ids {
		b.WriteString(id)
	}
}

// leaf is one leaf value of the event being matched, with what was worked out about it so far.
type leaf struct {
	Value
	context int32 // the innermost array element that holds it, 0 for none
	order   int32 // array elements of the event that began before it

	parsed    leafState
	isNumber  bool // number holds its value
	precise   bool // its text stands for exactly that value
	isAddress bool // address holds its value
	number    key
	address   address
}

type leafState uint8

const (
	numberParsed leafState = 1 << iota
	precisionKnown
	addressParsed
)

// nearest returns the double nearest to a number. It is the number's value only if comparable says so, which costs more and
// is worth asking only when the value would match.
func (l *leaf) nearest() (key, bool) {
	if l.Kind != Number {
		return key{}, false
	}
	if l.parsed&numberParsed == 0 {
		l.parsed |= numberParsed
		f := l.Num
		if l.Str != "" {
			var err error
			if f, err = strconv.ParseFloat(l.Str, 64); err != nil {
				return key{}, false // too large, or a Record's mistake
			}
		}
		if l.isNumber = f-f == 0; l.isNumber { // neither NaN nor infinite
			l.number = numberKey(f + 0) // -0 + 0 is 0
		}
	}
	return l.number, l.isNumber
}

// comparable reports whether the number can be compared by value.
func (l *leaf) comparable() bool {
	if l.Str == "" {
		return true
	}
	if l.parsed&precisionKnown == 0 {
		l.parsed |= precisionKnown
		_, l.precise = comparableNumber(l.Str)
	}
	return l.precise
}

// ip returns the address that a string spells.
func (l *leaf) ip() (address, bool) {
	if l.Kind != String {
		return address{}, false
	}
	if l.parsed&addressParsed == 0 {
		l.parsed |= addressParsed
		l.address, l.isAddress = parseAddress(l.Str)
	}
	return l.address, l.isAddress
}

// matches reports whether the alternative accepts the leaf. opAbsent accepts none.
func (a *alternative) matches(l *leaf) bool {
	switch a.op {
	case opExact:
		return l.Kind == String && l.Str == a.text
	case opNumber:
		k, ok := l.nearest()
		return ok && k == a.lo && l.comparable()
	case opLiteral:
		return l.Kind == Number && l.Str == a.text
	case opNull:
		return l.Kind == Null
	case opTrue:
		return l.Kind == True
	case opFalse:
		return l.Kind == False
	case opPrefix:
		return l.Kind == String && strings.HasPrefix(l.Str, a.text)
	case opSuffix:
		return l.Kind == String && strings.HasSuffix(l.Str, a.text)
	case opEqualFold, opPrefixFold:
		if l.Kind != String {
			return false
		}
		rest, ok := l.Str, true
		for _, e := range a.fold {
			if rest, ok = e.cutPrefix(rest); !ok {
				return false
			}
		}
		return a.op == opPrefixFold || rest == ""
	case opSuffixFold:
		if l.Kind != String {
			return false
		}
		rest, ok := l.Str, true
		for _, e := range slices.Backward(a.fold) {
			if rest, ok = e.cutSuffix(rest); !ok {
				return false
			}
		}
		return true
	case opWildcard:
		return l.Kind == String && a.glob.matches(l.Str)
	case opRange:
		k, ok := l.nearest()
		return ok && !k.less(a.lo) && !a.hi.less(k) && l.comparable()
	case opAddress:
		ip, ok := l.ip()
		return ok && ip.v6 == a.v6 && !ip.key.less(a.lo) && !a.hi.less(ip.key)
	case opExists:
		return true
	case opAnythingBut:
		for i := range a.not {
			if a.not[i].matches(l) {
				return false
			}
		}
		return true
	}
	return false
}

// glob is a wildcard pattern: the literal pieces between its stars. One piece means that there is no star.
type glob []string

func (g glob) matches(s string) bool {
	if len(g) == 1 {
		return s == g[0]
	}
	rest, ok := strings.CutPrefix(s, g[0])
	if !ok {
		return false
	}
	for _, piece := range g[1 : len(g)-1] {
		i := strings.Index(rest, piece)
		if i < 0 {
			return false
		}
		rest = rest[i+len(piece):]
	}
	return strings.HasSuffix(rest, g[len(g)-1])
}
