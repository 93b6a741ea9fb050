package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxDepth bounds how deeply the arrays and objects of a request may nest. The deepest input of any model needs eight.
const maxDepth = 64

// ParseJSON returns the tree of a request's body, which must be one JSON object; an empty body is an empty object. Numbers
// keep their text (json.Number).
func ParseJSON(body []byte) (map[string]any, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return map[string]any{}, nil
	}
	if body[0] != '{' {
		return nil, serializationErrorf("The request body is not a JSON object.")
	}
	if !utf8.Valid(body) {
		return nil, serializationErrorf("The request body is not valid UTF-8.")
	}
	if tooDeep(body) {
		return nil, serializationErrorf("The request body is nested more than %d levels deep.", maxDepth)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var tree map[string]any
	if err := decoder.Decode(&tree); err != nil {
		return nil, serializationErrorf("The request body is not valid JSON: %v.", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, serializationErrorf("The request body has data after its JSON object.")
	}
	return tree, nil
}

// tooDeep reports whether brackets nest deeper than maxDepth, without building anything.
func tooDeep(text []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString:
			if c == '\\' {
				i++
			} else if c == '"' {
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// AppendJSON appends the struct that v points to, spelled as its shape says. Absent members are left out.
func AppendJSON(dst []byte, shape *Shape, v any) []byte {
	return appendJSON(dst, shape, reflect.ValueOf(v).Elem())
}

func appendJSON(dst []byte, s *Shape, v reflect.Value) []byte {
	switch s.Kind {
	case String:
		return AppendString(dst, v.String())
	case Boolean:
		return strconv.AppendBool(dst, v.Bool())
	case Integer, Long:
		return strconv.AppendInt(dst, v.Int(), 10)
	case Double:
		return appendFloat(dst, v.Float())
	case Timestamp:
		return appendSeconds(dst, v.Interface().(time.Time))
	case Blob:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
		return append(dst, '"')
	case Document:
		return append(dst, v.Bytes()...)
	case List:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, s.Element, v.Index(i))
		}
		return append(dst, ']')
	case Map:
		dst = append(dst, '{')
		for i, key := range sortedKeys(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(AppendString(dst, key), ':')
			dst = appendJSON(dst, s.Element, v.MapIndex(reflect.ValueOf(key)))
		}
		return append(dst, '}')
	case Structure:
		dst = append(dst, '{')
		first := true
		for i := range s.Members {
			field, ok := present(v.Field(i), &s.Members[i])
			if !ok {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(AppendString(dst, s.Members[i].Wire), ':')
			dst = appendJSON(dst, s.Members[i].Shape, field)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// present returns what a member's field holds, or false if it is absent. A required list or map is never absent: nil is
// answered as empty.
func present(field reflect.Value, m *Member) (reflect.Value, bool) {
	switch field.Kind() {
	case reflect.Pointer:
		if field.IsNil() {
			return field, false
		}
		return field.Elem(), true
	case reflect.Slice:
		return field, !field.IsNil() || m.Required && m.Shape.Kind == List
	case reflect.Map:
		return field, !field.IsNil() || m.Required
	}
	return field, true
}

func sortedKeys(v reflect.Value) []string {
	keys := make([]string, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		keys = append(keys, it.Key().String())
	}
	slices.Sort(keys)
	return keys
}

func appendFloat(dst []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(dst, "null"...)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendFloat(dst, f, 'f', 1, 64)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendSeconds appends a time as seconds since 1970 with at most three decimals.
func appendSeconds(dst []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	if ms%1000 == 0 {
		return strconv.AppendInt(dst, ms/1000, 10)
	}
	if ms < 0 {
		dst, ms = append(dst, '-'), -ms
	}
	dst = strconv.AppendInt(dst, ms/1000, 10)
	dst = append(dst, '.')
	fraction := ms % 1000
	dst = append(dst, byte('0'+fraction/100), byte('0'+fraction/10%10))
	if fraction%10 != 0 {
		return append(dst, byte('0'+fraction%10))
	}
	return dst
}

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
