package event

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"vedette.dev/vedette/internal/pattern"
)

// MarshalJSON writes the event for people and programs: an object with exactly the fields that patterns name, nested as
// their paths are, and the time. A field with several values is a list. It is not the form that travels (see Encoder).
func (e *Event) MarshalJSON() ([]byte, error) {
	object := map[string]any{"time": time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano)}
	var values []pattern.Value
	for i, f := range fields {
		if values = e.AppendValues(values[:0], i); len(values) > 0 {
			set(object, strings.Split(f.Path, "."), jsonValue(values))
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// set puts v at the path below object.
func set(object map[string]any, path []string, v any) {
	for _, name := range path[:len(path)-1] {
		below, ok := object[name].(map[string]any)
		if !ok {
			below = map[string]any{}
			object[name] = below
		}
		object = below
	}
	object[path[len(path)-1]] = v
}

// jsonValue returns one value, or a list of several, as encoding/json takes them.
func jsonValue(values []pattern.Value) any {
	list := make([]any, len(values))
	for i, v := range values {
		switch v.Kind {
		case pattern.String:
			list[i] = strings.ToValidUTF8(v.Str, "\uFFFD")
		case pattern.Number:
			list[i] = v.Num
		case pattern.True, pattern.False:
			list[i] = v.Kind == pattern.True
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return slices.Clip(list)
}
