package app

import (
	"context"
	"fmt"

	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/store"
)

// agents keeps the enrolled agents in the store, under their ids.
type agents struct{ db *store.DB }

const agentDocuments store.Documents[link.Agent] = "agent"

// maxAgents bounds how many agents may enrol: with a leaked token somebody could otherwise fill the store.
const maxAgents = 20_000

// Agent implements link.Agents.
func (a agents) Agent(ctx context.Context, id string) (found link.Agent, ok bool, err error) {
	err = a.db.View(ctx, func(tx *store.Tx) error {
		found, ok, err = agentDocuments.Get(tx, id)
		return err
	})
	return found, ok, err
}

// PutAgent implements link.Agents.
func (a agents) PutAgent(ctx context.Context, agent link.Agent) error {
	return a.db.Update(ctx, func(tx *store.Tx) error {
		known, err := agentDocuments.List(tx, "", "", maxAgents)
		if err != nil {
			return err
		}
		if len(known) >= maxAgents {
			return fmt.Errorf("%d agents are enrolled, which is the most this server takes", maxAgents)
		}
		return agentDocuments.Put(tx, agent.ID, agent)
	})
}
