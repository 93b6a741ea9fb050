package link

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// identityFile is the name of the file with the agent's key, in its state folder.
const identityFile = "identity.json"

// identity is who an agent is. The seed is its secret.
type identity struct {
	ID        string `json:"id"`
	PublicKey string `json:"publicKey"`
	Seed      string `json:"seed"`
	Enrolled  bool   `json:"enrolled"` // some server has known the agent
	keys      nkeys.KeyPair
}

// loadIdentity returns the identity in a folder, which is made with a new one at the first start.
func loadIdentity(dir string) (*identity, error) {
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return newIdentity(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the agent's identity: %w", err)
	}
	id := new(identity)
	if err := json.Unmarshal(text, id); err != nil {
		return nil, fmt.Errorf("reading the agent's identity %s: %w; remove the file to enrol anew", path, err)
	}
	id.keys, err = nkeys.FromSeed([]byte(id.Seed))
	if err != nil {
		return nil, fmt.Errorf("reading the agent's identity %s: %w; remove the file to enrol anew", path, err)
	}
	public, err := id.keys.PublicKey()
	if err != nil || public != id.PublicKey || AgentID(public) != id.ID {
		return nil, fmt.Errorf("reading the agent's identity %s: key and id do not belong together; remove the file to enrol anew", path)
	}
	return id, nil
}

func newIdentity(dir string) (*identity, error) {
	keys, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("making the agent's key: %w", err)
	}
	public, err := keys.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("making the agent's key: %w", err)
	}
	seed, err := keys.Seed()
	if err != nil {
		return nil, fmt.Errorf("making the agent's key: %w", err)
	}
	id := &identity{ID: AgentID(public), PublicKey: public, Seed: string(seed), keys: keys}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keeping the agent's identity: %w", err)
	}
	return id, id.save(dir)
}

// save writes the identity so that a crash leaves the old file or the new one.
func (id *identity) save(dir string) error {
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the agent's identity: %w", err)
	}
	if err := writeFile(filepath.Join(dir, identityFile), append(text, '\n')); err != nil {
		return fmt.Errorf("keeping the agent's identity: %w", err)
	}
	return nil
}
