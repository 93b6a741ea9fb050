package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxViolations bounds how many violated constraints one answer lists.
const maxViolations = 32

// maxShown bounds how much of an offending value an error message repeats, in bytes.
const maxShown = 512

// Decode fills the struct that dst points to from a tree of map[string]any, []any and scalars, as ParseJSON and ParseQuery
// return it. Members that the shape does not know are ignored, as AWS does; null means absent. It returns a
// *SerializationError when a value has not the type of its member, and a *ValidationError when one violates a constraint.
func Decode(shape *Shape, dst any, tree map[string]any) error {
	d := &decoder{}
	if err := d.structure(reflect.ValueOf(dst).Elem(), shape, tree); err != nil {
		return err
	}
	if len(d.violations) > 0 {
		return &ValidationError{Violations: d.violations}
	}
	return nil
}

// Text is a scalar of a protocol that spells all of them as text: Query, and paths, query strings and headers.
type Text string

type decoder struct {
	path       []string
	violations []string
}

func (d *decoder) violate(value, constraint string) {
	if len(d.violations) < maxViolations {
		d.violations = append(d.violations, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s",
			value, strings.Join(d.path, "."), constraint))
	}
}

func (d *decoder) push(parts ...string) { d.path = append(d.path, parts...) }
func (d *decoder) pop(n int)            { d.path = d.path[:len(d.path)-n] }

func (d *decoder) structure(dst reflect.Value, s *Shape, tree map[string]any) error {
	for i := range s.Members {
		m := &s.Members[i]
		d.push(lowerFirst(m.Name))
		src, ok := tree[m.Wire]
		var err error
		switch {
		case ok && src != nil:
			field := dst.Field(i)
			if field.Kind() == reflect.Pointer {
				field.Set(reflect.New(field.Type().Elem()))
				field = field.Elem()
			}
			err = d.value(field, m.Shape, src)
		case m.Required:
			d.violate("null", "Member must not be null")
		}
		d.pop(1)
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) value(dst reflect.Value, s *Shape, src any) error {
	switch s.Kind {
	case String:
		text, err := d.text(src)
		if err != nil {
			return err
		}
		dst.SetString(text)
		d.checkString(s, text)
	case Boolean:
		b, err := d.boolean(src)
		if err != nil {
			return err
		}
		dst.SetBool(b)
	case Integer, Long:
		n, err := d.integer(s, src)
		if err != nil {
			return err
		}
		dst.SetInt(n)
		d.checkRange(s, strconv.FormatInt(n, 10), "value", n)
	case Double:
		f, err := d.float(src)
		if err != nil {
			return err
		}
		dst.SetFloat(f)
	case Timestamp:
		t, err := d.timestamp(src)
		if err != nil {
			return err
		}
		dst.Set(reflect.ValueOf(t))
	case Blob:
		text, err := d.text(src)
		if err != nil {
			return err
		}
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return d.mismatch("base64 text")
		}
		dst.SetBytes(data)
		d.checkRange(s, "'"+show(s, text)+"'", "length", int64(len(data)))
	case List:
		return d.list(dst, s, src)
	case Map:
		return d.mapping(dst, s, src)
	case Structure:
		tree, ok := src.(map[string]any)
		if !ok {
			return d.mismatch("a structure")
		}
		return d.structure(dst, s, tree)
	case Document:
		data, err := json.Marshal(src)
		if err != nil {
			return d.mismatch("a document")
		}
		dst.SetBytes(data)
	}
	return nil
}

func (d *decoder) list(dst reflect.Value, s *Shape, src any) error {
	items, ok := src.([]any)
	if !ok {
		return d.mismatch("a list")
	}
	d.checkRange(s, "'"+show(s, src)+"'", "length", int64(len(items)))
	// A list that is far too long is not worth converting: the request is refused anyway.
	if s.HasMax && int64(len(items)) > s.Max && len(items) > 1000 {
		return nil
	}
	out := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		d.push(strconv.Itoa(i+1), "member")
		var err error
		if item == nil {
			d.violate("null", "Member must not be null")
		} else {
			err = d.value(out.Index(i), s.Element, item)
		}
		d.pop(2)
		if err != nil {
			return err
		}
	}
	dst.Set(out)
	return nil
}

func (d *decoder) mapping(dst reflect.Value, s *Shape, src any) error {
	tree, ok := src.(map[string]any)
	if !ok {
		return d.mismatch("a map")
	}
	d.checkRange(s, "'"+show(s, src)+"'", "length", int64(len(tree)))
	out := reflect.MakeMapWithSize(dst.Type(), len(tree))
	elem := dst.Type().Elem()
	keys := make([]string, 0, len(tree))
	for key := range tree {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if tree[key] == nil {
			continue
		}
		for _, constraint := range constraints(s.Key, key) {
			d.violate("'"+show(s, src)+"'", "Map keys must satisfy constraint: ["+constraint+"]")
		}
		d.push(truncate(key, 64), "member")
		value := reflect.New(elem).Elem()
		err := d.value(value, s.Element, tree[key])
		d.pop(2)
		if err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(key), value)
	}
	dst.Set(out)
	return nil
}

func (d *decoder) mismatch(want string) error {
	return serializationErrorf("The value of '%s' is not %s.", strings.Join(d.path, "."), want)
}

func (d *decoder) text(src any) (string, error) {
	switch v := src.(type) {
	case string:
		return v, nil
	case Text:
		return string(v), nil
	}
	return "", d.mismatch("a string")
}

func (d *decoder) boolean(src any) (bool, error) {
	switch v := src.(type) {
	case bool:
		return v, nil
	case Text:
		switch strings.ToLower(string(v)) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return false, d.mismatch("a boolean")
}

func (d *decoder) integer(s *Shape, src any) (int64, error) {
	var text string
	switch v := src.(type) {
	case json.Number:
		text = string(v)
	case Text:
		text = string(v)
	default:
		return 0, d.mismatch("a number")
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		// 10.0 and 1e3 are integers too.
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, d.mismatch("an integer")
		}
		n = int64(f)
	}
	if s.Kind == Integer && (n > math.MaxInt32 || n < math.MinInt32) {
		return 0, d.mismatch("a 32-bit integer")
	}
	return n, nil
}

func (d *decoder) float(src any) (float64, error) {
	var text string
	switch v := src.(type) {
	case json.Number:
		text = string(v)
	case Text:
		text = string(v)
	default:
		return 0, d.mismatch("a number")
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, d.mismatch("a finite number")
	}
	return f, nil
}

// timestamp accepts seconds since 1970 and ISO 8601 text in every protocol, as AWS's own front ends do.
func (d *decoder) timestamp(src any) (time.Time, error) {
	var text string
	switch v := src.(type) {
	case json.Number:
		text = string(v)
	case string:
		text = v
	case Text:
		text = string(v)
	default:
		return time.Time{}, d.mismatch("a timestamp")
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	// The years 1 to 9999: what RFC 3339 can spell.
	if err != nil || !(f >= -62135596800 && f < 253402300800) {
		return time.Time{}, d.mismatch("a timestamp")
	}
	whole, fraction := math.Modf(f)
	return time.Unix(int64(whole), int64(math.Round(fraction*1e6))*1e3).UTC(), nil
}

func (d *decoder) checkString(s *Shape, value string) {
	for _, constraint := range constraints(s, value) {
		if s.Sensitive {
			d.violate("", constraint)
			continue
		}
		d.violate("'"+truncate(value, maxShown)+"'", constraint)
	}
}

// constraints returns those that a string violates, in the order in which AWS lists them.
func constraints(s *Shape, value string) []string {
	var out []string
	if s.Pattern != nil && !s.Pattern.Match(value) {
		out = append(out, "Member must satisfy regular expression pattern: "+s.Pattern.String())
	}
	if s.HasMin || s.HasMax {
		n := int64(utf8.RuneCountInString(value))
		if s.HasMax && n > s.Max {
			out = append(out, "Member must have length less than or equal to "+strconv.FormatInt(s.Max, 10))
		}
		if s.HasMin && n < s.Min {
			out = append(out, "Member must have length greater than or equal to "+strconv.FormatInt(s.Min, 10))
		}
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		out = append(out, "Member must satisfy enum value set: ["+strings.Join(s.Enum, ", ")+"]")
	}
	return out
}

func (d *decoder) checkRange(s *Shape, shown, what string, n int64) {
	if s.HasMax && n > s.Max {
		d.violate(shown, "Member must have "+what+" less than or equal to "+strconv.FormatInt(s.Max, 10))
	}
	if s.HasMin && n < s.Min {
		d.violate(shown, "Member must have "+what+" greater than or equal to "+strconv.FormatInt(s.Min, 10))
	}
}

// show spells a value for an error message, within bounds and without sensitive parts.
func show(s *Shape, src any) string {
	var b strings.Builder
	appendShown(&b, s, src)
	return truncate(b.String(), maxShown)
}

func appendShown(b *strings.Builder, s *Shape, src any) {
	if b.Len() > maxShown {
		return
	}
	if s.Sensitive {
		b.WriteString("***Sensitive Data Redacted***")
		return
	}
	switch v := src.(type) {
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			if b.Len() > maxShown {
				return
			}
			if s.Element != nil {
				appendShown(b, s.Element, item)
			}
		}
		b.WriteByte(']')
	case map[string]any:
		appendShownMap(b, s, v)
	case nil:
		b.WriteString("null")
	case string:
		b.WriteString(truncate(v, maxShown))
	default:
		fmt.Fprint(b, v)
	}
}

func appendShownMap(b *strings.Builder, s *Shape, tree map[string]any) {
	if s.Kind == Structure {
		b.WriteString(s.Name + "(")
		for i := range s.Members {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(lowerFirst(s.Members[i].Name) + "=")
			appendShown(b, s.Members[i].Shape, tree[s.Members[i].Wire])
		}
		b.WriteByte(')')
		return
	}
	b.WriteByte('{')
	keys := make([]string, 0, len(tree))
	for key := range tree {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i, key := range keys {
		if b.Len() > maxShown {
			return
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(truncate(key, 64) + "=")
		if s.Element != nil {
			appendShown(b, s.Element, tree[key])
		}
	}
	b.WriteByte('}')
}

// truncate cuts s to at most n bytes at a character's boundary.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func lowerFirst(s string) string {
	if s == "" || s[0] < 'A' || s[0] > 'Z' {
		return s
	}
	return string(s[0]|0x20) + s[1:]
}
