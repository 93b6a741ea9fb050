package pattern

// Value is one leaf value of an event. The zero Value is JSON null.
type Value struct {
	Kind ValueKind
	Str  string  // String; for Number the literal text, may be empty when Num is set from Go
	Num  float64 // Number
}

// ValueKind is the JSON type of a Value.
type ValueKind uint8

// The kinds of a Value.
const (
	Null ValueKind = iota
	String
	Number
	True
	False
)

// StringValue returns a string value.
func StringValue(s string) Value { return Value{Kind: String, Str: s} }

// NumberValue returns a numeric value.
func NumberValue(n float64) Value { return Value{Kind: Number, Num: n} }

// BoolValue returns true or false.
func BoolValue(b bool) Value {
	if b {
		return Value{Kind: True}
	}
	return Value{Kind: False}
}

// Record is an event that is not JSON text: it gives the values at a path. A Set asks only for the paths that its patterns
// name, each at most once per match.
type Record interface {
	// AppendValues appends the leaf values at the field with the given number (as resolved by the FieldResolver that the
	// Set was bound with) and returns the extended slice; nothing appended means the field is absent.
	AppendValues(dst []Value, field int) []Value
}
