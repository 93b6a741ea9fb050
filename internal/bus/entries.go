package bus

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"vedette.dev/vedette/internal/pattern"
	"vedette.dev/vedette/internal/store"
)

// Entry is one event of a PutEvents request.
type Entry struct {
	Time         time.Time // zero: now
	Source       string
	Resources    []string
	DetailType   string
	Detail       string
	EventBusName string // name or ARN; empty: the default bus
}

// EntryResult is what became of an Entry: the id of its event, or an error.
type EntryResult struct {
	EventID   string
	ErrorCode string
	Message   string
}

// PutEvents sends the events of a user. An entry that is not valid fails alone.
func (b *Bus) PutEvents(tx *store.Tx, entries []Entry) ([]EntryResult, error) {
	if n := len(entries); n < 1 || n > 10 {
		return nil, refuse(CodeValidation, "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and 10")
	}
	size := 0
	for i := range entries {
		size += entries[i].size()
	}
	if size > maxEventsEntries {
		return nil, refuse(CodeValidation, "Total size of the entries in the request is over the limit.")
	}
	results := make([]EntryResult, len(entries))
	for i := range entries {
		e := &entries[i]
		if results[i] = e.check(); results[i].ErrorCode != "" {
			continue
		}
		ev := Event{ID: newID(), DetailType: e.DetailType, Source: e.Source, Time: e.Time, Resources: e.Resources, Detail: json.RawMessage(e.Detail)}
		if err := b.Put(tx, b.BusName(e.EventBusName), ev); err != nil {
			return nil, err
		}
		results[i].EventID = ev.ID
	}
	return results, nil
}

// size is what an entry counts for in the limit of a request.
func (e *Entry) size() int {
	n := len(e.Source) + len(e.DetailType) + len(e.Detail)
	if !e.Time.IsZero() {
		n += 14
	}
	for _, r := range e.Resources {
		n += len(r)
	}
	return n
}

// check reports what is wrong with an entry.
func (e *Entry) check() EntryResult {
	required := func(name string) EntryResult {
		return EntryResult{ErrorCode: "InvalidArgument", Message: "Parameter " + name + " is not valid. Reason: " + name + " is a required argument."}
	}
	switch {
	case e.Source == "":
		return required("Source")
	case e.DetailType == "":
		return required("DetailType")
	case e.Detail == "":
		return required("Detail")
	case len(e.DetailType) > 128:
		return EntryResult{ErrorCode: "InvalidArgument", Message: "Parameter DetailType is not valid. Reason: DetailType must be at most 128 characters long."}
	case strings.HasPrefix(e.Source, "aws."):
		return EntryResult{ErrorCode: "NotAuthorizedForSourceException", Message: "Not authorized for the source."}
	case !isObject(e.Detail):
		return EntryResult{ErrorCode: "MalformedDetail", Message: "Detail is malformed."}
	}
	return EntryResult{}
}

// maxDepth is how deep the JSON of a detail may nest, so that the event around it can still be matched.
const maxDepth = pattern.MaxDepth - 1

// isObject reports whether text is one JSON object that does not nest deeper than maxDepth.
func isObject(text string) bool {
	text = strings.TrimLeft(text, " \t\r\n")
	if !strings.HasPrefix(text, "{") || !json.Valid([]byte(text)) {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// TestEventPattern reports whether a pattern matches an event, both as JSON text.
func (b *Bus) TestEventPattern(patternText, event string) (bool, error) {
	p, err := parsePattern(patternText)
	if err != nil {
		return false, err
	}
	invalid := refuse(CodeValidation, "Parameter Event is not valid.")
	if !isObject(event) {
		return false, invalid
	}
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(event), &members) != nil {
		return false, invalid
	}
	for _, name := range []string{"id", "account", "source", "time", "region", "resources", "detail-type"} {
		if v, ok := members[name]; !ok || bytes.Equal(v, []byte("null")) {
			return false, invalid
		}
	}
	ids, err := pattern.Compile([]*pattern.Pattern{p}).NewMatcher().MatchJSON(nil, []byte(event))
	if err != nil {
		return false, invalid
	}
	return len(ids) > 0, nil
}

// newID returns a random UUID.
func newID() string {
	var u [16]byte
	rand.Read(u[:])
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
