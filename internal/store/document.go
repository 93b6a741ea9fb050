package store

import (
	"encoding/json"
	"fmt"
)

// Documents is a typed collection of JSON documents, each under a key that is unique in the collection. Its value is the
// collection's name:
//
//	const rules store.Documents[Rule] = "rule"
type Documents[T any] string

// Entry is one document of a collection.
type Entry[T any] struct {
	Key   string
	Value T
}

// Get returns the document with the given key, and whether there is one.
func (d Documents[T]) Get(tx *Tx, key string) (T, bool, error) {
	var v T
	var text []byte
	ok, err := tx.scanOne("SELECT json FROM document WHERE kind = ? AND key = ?", []any{string(d), key}, &text)
	if err != nil || !ok {
		return v, false, wrap(err, "reading %s %q", string(d), key)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, false, fmt.Errorf("decoding %s %q: %w", string(d), key, err)
	}
	return v, true, nil
}

// Put stores v under key, replacing what was there.
func (d Documents[T]) Put(tx *Tx, key string, v T) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s %q: %w", string(d), key, err)
	}
	_, err = tx.exec("INSERT INTO document (kind, key, json) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET json = excluded.json", string(d), key, text)
	return wrap(err, "storing %s %q", string(d), key)
}

// Delete removes the document with the given key, and reports whether there was one.
func (d Documents[T]) Delete(tx *Tx, key string) (bool, error) {
	r, err := tx.exec("DELETE FROM document WHERE kind = ? AND key = ?", string(d), key)
	if err != nil {
		return false, wrap(err, "deleting %s %q", string(d), key)
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// List returns the documents whose key begins with prefix and is greater than after, in the order of the keys' bytes, at
// most limit of them; limit 0 means all.
func (d Documents[T]) List(tx *Tx, prefix, after string, limit int) ([]Entry[T], error) {
	query := "SELECT key, json FROM document WHERE kind = ? AND key >= ?"
	args := []any{string(d), prefix}
	if end, ok := prefixEnd(prefix); ok {
		query += " AND key < ?"
		args = append(args, end)
	}
	if after != "" {
		query += " AND key > ?"
		args = append(args, after)
	}
	query += " ORDER BY key"
	if limit > 0 {
		query += " LIMIT ?"
		args = append(args, limit)
	}
	rows, err := tx.query(query, args...)
	if err != nil {
		return nil, wrap(err, "listing %s", string(d))
	}
	defer rows.Close()
	var list []Entry[T]
	for rows.Next() {
		var e Entry[T]
		var text []byte
		if err := rows.Scan(&e.Key, &text); err != nil {
			return nil, wrap(err, "listing %s", string(d))
		}
		if err := json.Unmarshal(text, &e.Value); err != nil {
			return nil, fmt.Errorf("decoding %s %q: %w", string(d), e.Key, err)
		}
		list = append(list, e)
	}
	return list, wrap(rows.Err(), "listing %s", string(d))
}

// prefixEnd returns the smallest string greater than every string that begins with prefix, and whether there is one.
func prefixEnd(prefix string) (string, bool) {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1]), true
		}
	}
	return "", false
}

// wrap adds context to an error; nil stays nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
