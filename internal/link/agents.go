package link

import (
	"context"
	"sync"
	"time"
)

// Agent is an agent that the server knows.
type Agent struct {
	ID        string    `json:"id"`
	PublicKey string    `json:"publicKey"`
	Hostname  string    `json:"hostname"` // as the agent gave it: hostile
	CreatedAt time.Time `json:"createdAt"`
	Revoked   bool      `json:"revoked"`
}

// Agents is where the server keeps the agents that have enrolled. Its methods are called while an agent connects.
type Agents interface {
	// Agent returns the agent with the given id, and whether there is one.
	Agent(ctx context.Context, id string) (Agent, bool, error)
	// PutAgent stores an agent under its id. An error refuses the enrolment, and its text reaches the agent.
	PutAgent(ctx context.Context, a Agent) error
}

// MemoryAgents keeps agents in memory, for a server that forgets them when it ends.
type MemoryAgents struct {
	mu     sync.Mutex
	agents map[string]Agent
}

// Agent implements [Agents].
func (m *MemoryAgents) Agent(_ context.Context, id string) (Agent, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.agents[id]
	return a, ok, nil
}

// PutAgent implements [Agents].
func (m *MemoryAgents) PutAgent(_ context.Context, a Agent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agents == nil {
		m.agents = make(map[string]Agent)
	}
	m.agents[a.ID] = a
	return nil
}
