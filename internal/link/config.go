package link

import (
	"encoding/json"
	"fmt"
	"time"

	"vedette.dev/vedette/internal/event"
)

// AgentConfig is what the server tells all agents. The zero value means that nothing was said yet.
type AgentConfig struct {
	// Kinds are the kinds of event that some enabled rule can need. Agents drop the others as early as they can.
	Kinds event.Kinds
	// HeartbeatInterval is how often agents report; 0 leaves it to them.
	HeartbeatInterval time.Duration
}

// agentConfigWire is the form of an AgentConfig on the wire. Kinds travel by name, so that agents of another version drop
// only what they do not know.
type agentConfigWire struct {
	Type      string   `json:"type"` // always configType: nothing else that may arrive on the subject looks like it
	Kinds     []string `json:"kinds"`
	Heartbeat string   `json:"heartbeat,omitempty"`
}

const configType = "vedette.config/1"

// MarshalJSON implements [json.Marshaler].
func (c AgentConfig) MarshalJSON() ([]byte, error) {
	w := agentConfigWire{Type: configType, Kinds: []string{}}
	for k := event.KindFork; k < event.KindCount; k++ {
		if c.Kinds.Has(k) {
			w.Kinds = append(w.Kinds, k.String())
		}
	}
	if c.HeartbeatInterval > 0 {
		w.Heartbeat = c.HeartbeatInterval.String()
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (c *AgentConfig) UnmarshalJSON(data []byte) error {
	var w agentConfigWire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	if w.Type != configType {
		return fmt.Errorf("configuration of type %q, want %q", w.Type, configType)
	}
	got := AgentConfig{}
	for _, name := range w.Kinds {
		if k, ok := event.ParseKind(name); ok {
			got.Kinds = got.Kinds.With(k)
		}
	}
	if w.Heartbeat != "" {
		d, err := time.ParseDuration(w.Heartbeat)
		if err != nil || d < 100*time.Millisecond || d > time.Hour {
			return fmt.Errorf("heartbeat interval %q", w.Heartbeat)
		}
		got.HeartbeatInterval = d
	}
	*c = got
	return nil
}
