package wire

import (
	"regexp"
	"sync"
)

// Kind is the type of a Shape.
type Kind uint8

// The kinds of a Shape and the Go types that hold them.
const (
	String    Kind = iota // string
	Boolean               // bool
	Integer               // int64, range of int32
	Long                  // int64
	Double                // float64
	Timestamp             // time.Time
	Blob                  // []byte
	List                  // []T
	Map                   // map[string]T
	Structure             // struct; field i holds member i
	Document              // json.RawMessage, passed through as it is
)

// Shape describes one type of a service's model: how it is spelled on the wire and what values it accepts. Shapes are
// generated, shared by all requests and never written to after start-up.
type Shape struct {
	Name      string
	Kind      Kind
	Sensitive bool // the value is left out of error messages

	Members []Member // Structure, in the order of the Go fields

	Element     *Shape // List and Map: the shape of the values
	ElementName string // List in a Query request: the name before the index, "" means "member"
	Flattened   bool   // List and Map: no name before the index
	Key         *Shape // Map
	KeyName     string // Map in a Query request, "" means "key"
	ValueName   string // Map in a Query request, "" means "value"

	Min, Max       int64 // length of a String, List or Map (and Blob), value of a number
	HasMin, HasMax bool
	Pattern        *Pattern
	Enum           []string
}

// Location says where a member of an input travels.
type Location uint8

// The locations of a member.
const (
	InBody Location = iota
	InPath
	InQuery
	InHeader
)

// Member is one field of a Structure.
type Member struct {
	Name     string // the name in the model, which error messages spell with a small first letter
	Wire     string // the name on the wire
	Location Location
	Required bool // held by value in Go; the others by pointer (scalars and structures), or nil slices and maps
	Shape    *Shape
}

// Pattern is a regular expression that a whole string must match, compiled at its first use.
type Pattern struct {
	text    string // as the model spells it
	compile func() (match, reject *regexp.Regexp)
}

// NewPattern returns the pattern that the model spells as text. The expression match must match the whole value, and
// reject (from a leading negative look-ahead, which Go does not have) must not match its beginning; "" means none.
func NewPattern(text, match, reject string) *Pattern {
	return &Pattern{text: text, compile: sync.OnceValues(func() (m, r *regexp.Regexp) {
		m = regexp.MustCompile(`\A(?:` + match + `)\z`)
		if reject != "" {
			r = regexp.MustCompile(`\A(?:` + reject + `)`)
		}
		return m, r
	})}
}

// String returns the expression as the model spells it.
func (p *Pattern) String() string { return p.text }

// Match reports whether s as a whole satisfies the pattern.
func (p *Pattern) Match(s string) bool {
	m, r := p.compile()
	return m.MatchString(s) && (r == nil || !r.MatchString(s))
}
