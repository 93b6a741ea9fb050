package awsapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"

	"vedette.dev/vedette/internal/store"
)

// defaultPage is the size of a page when the input names none; it is also GuardDuty's largest.
const defaultPage = 50

func pageSize(n *int64) int {
	if n == nil {
		return defaultPage
	}
	return int(*n)
}

// token is where the next page of a listing begins. It is bound to the listing (its scope: operation, criteria and order), so
// that it cannot be used for another. What it holds is no secret and is checked when it comes back.
type token[T any] struct {
	Scope string `json:"s"`
	After T      `json:"a"`
}

func (t token[T]) String() string {
	text, _ := json.Marshal(t) // plain data always marshals
	return base64.RawURLEncoding.EncodeToString(text)
}

// parseToken returns where a page begins; false means at the beginning. An empty token is what the last page answered with.
func parseToken[T any](text *string, scope string) (after T, ok bool, err error) {
	if text == nil || *text == "" {
		return after, false, nil
	}
	var t token[T]
	raw, err := base64.RawURLEncoding.DecodeString(*text)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	if err != nil || t.Scope != scope {
		return after, false, invalidInput("The request is rejected because the input nextToken is invalid.")
	}
	return t.After, true, nil
}

// digest identifies a listing by what was asked.
func digest(parts ...any) string {
	text, _ := json.Marshal(parts) // inputs are plain data
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// page returns one page of the documents under a prefix, and the token of the next one: "" after the last.
func page[T any](tx *store.Tx, docs store.Documents[T], prefix, scope string, text *string, size *int64) ([]store.Entry[T], string, error) {
	after, _, err := parseToken[string](text, scope)
	if err != nil {
		return nil, "", err
	}
	n := pageSize(size)
	entries, err := docs.List(tx, prefix, after, n+1)
	if err != nil || len(entries) <= n {
		return entries, "", err
	}
	return entries[:n], token[string]{scope, entries[n-1].Key}.String(), nil
}

func clearDocuments[T any](tx *store.Tx, docs store.Documents[T], prefix string) error {
	entries, err := docs.List(tx, prefix, "", 0)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := docs.Delete(tx, e.Key); err != nil {
			return err
		}
	}
	return nil
}

// madeBy remembers what a request with a client token made, so that the SDK's retry of a request whose answer was lost
// does not fail or make a second one.
type madeBy struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

const clientTokens store.Documents[madeBy] = "guardduty-client-token"

// clientTokenLife is how long a client token is remembered.
const clientTokenLife = 8 * time.Hour

// once returns the id that an earlier request of the same operation with the same client token made, if what it made still
// exists; otherwise it remembers newID for this one.
func (g *GuardDuty) once(tx *store.Tx, operation string, text *string, newID string,
	exists func(*store.Tx, string) (bool, error)) (id string, again bool, err error) {
	id, again, err = g.earlier(tx, operation, text, exists)
	if err != nil || again {
		return id, again, err
	}
	return newID, false, g.remember(tx, operation, text, newID)
}

// earlier is the first half of once.
func (g *GuardDuty) earlier(tx *store.Tx, operation string, text *string, exists func(*store.Tx, string) (bool, error)) (string, bool, error) {
	if deref(text) == "" {
		return "", false, nil
	}
	made, ok, err := clientTokens.Get(tx, operation+"/"+*text)
	if err != nil || !ok || g.now().Sub(made.At) >= clientTokenLife {
		return "", false, err
	}
	ok, err = exists(tx, made.ID)
	return made.ID, ok, err
}

// remember is the second half of once. It forgets what is too old.
func (g *GuardDuty) remember(tx *store.Tx, operation string, text *string, id string) error {
	if deref(text) == "" {
		return nil
	}
	now := g.now()
	entries, err := clientTokens.List(tx, "", "", 0)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if now.Sub(e.Value.At) < clientTokenLife {
			continue
		}
		if _, err := clientTokens.Delete(tx, e.Key); err != nil {
			return err
		}
	}
	return clientTokens.Put(tx, operation+"/"+*text, madeBy{id, now})
}
