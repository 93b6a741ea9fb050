package store

// Cursor returns the position stored under name, and whether there is one. Positions make effects happen once: what was
// done up to a position and the position itself are written in one transaction.
func (tx *Tx) Cursor(name string) (uint64, bool, error) {
	var v int64
	ok, err := tx.scanOne("SELECT value FROM position WHERE name = ?", []any{name}, &v)
	return uint64(v), ok, wrap(err, "reading cursor %q", name)
}

// SetCursor stores the position under name.
func (tx *Tx) SetCursor(name string, v uint64) error {
	_, err := tx.exec("INSERT INTO position (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, int64(v))
	return wrap(err, "storing cursor %q", name)
}

// DeleteCursors removes every position whose name begins with prefix, and returns how many there were.
func (tx *Tx) DeleteCursors(prefix string) (int64, error) {
	query, args := "DELETE FROM position WHERE name >= ?", []any{prefix}
	if end, ok := prefixEnd(prefix); ok {
		query += " AND name < ?"
		args = append(args, end)
	}
	r, err := tx.exec(query, args...)
	if err != nil {
		return 0, wrap(err, "deleting cursors %q", prefix)
	}
	return r.RowsAffected()
}
