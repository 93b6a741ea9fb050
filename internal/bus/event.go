package bus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Event is an event in its envelope. Its JSON has AWS's keys in AWS's order.
type Event struct {
	Version    string
	ID         string
	DetailType string
	Source     string
	Account    string
	Time       time.Time // whole seconds on the wire
	Region     string
	Resources  []string
	Detail     json.RawMessage // an object
}

// envelope is the wire form of an Event.
type envelope struct {
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"`
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
}

// MarshalJSON returns the envelope.
func (e Event) MarshalJSON() ([]byte, error) {
	resources := e.Resources
	if resources == nil {
		resources = []string{}
	}
	return encode(envelope{e.Version, e.ID, e.DetailType, e.Source, e.Account, e.Time.UTC().Format(time.RFC3339), e.Region, resources, e.Detail})
}

// UnmarshalJSON reads an envelope.
func (e *Event) UnmarshalJSON(text []byte) error {
	var w envelope
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, w.Time)
	if err != nil {
		return fmt.Errorf("the event's time: %w", err)
	}
	*e = Event{w.Version, w.ID, w.DetailType, w.Source, w.Account, at, w.Region, w.Resources, w.Detail}
	return nil
}

// encode is json.Marshal without the escapes that only HTML needs: the text that targets get is the text that came in.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
