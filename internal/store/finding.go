package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// FindingRow is a finding as it is stored: the finding itself in JSON, and the members that queries need as columns.
type FindingRow struct {
	ID          string
	DetectorID  string
	Type        string
	ResourceKey string // what repeats of the same finding have in common, besides the type
	Severity    float64
	Archived    bool
	Sample      bool
	CreatedAt   time.Time
	UpdatedAt   time.Time
	FirstSeen   time.Time
	LastSeen    time.Time
	Count       int64
	NextPublish time.Time // when an event about it is due; zero: nothing pending
	JSON        []byte    // the finding in its AWS shape
	State       []byte    // private to whoever merges and publishes findings; may be empty
}

// FindingOrder is what a query orders findings by. Equal values are ordered by id.
type FindingOrder string

// The orders of findings.
const (
	OrderUpdatedAt FindingOrder = "updated_at" // the default
	OrderCreatedAt FindingOrder = "created_at"
	OrderSeverity  FindingOrder = "severity"
	OrderID        FindingOrder = "id"
)

// FindingQuery selects findings. The zero value of a member selects all.
type FindingQuery struct {
	DetectorID   string
	ResourceKey  string
	Archived     *bool
	Sample       *bool
	Types        []string
	MinSeverity  float64
	UpdatedSince time.Time // updated at or after

	Order      FindingOrder
	Descending bool
	After      string // a [FindingRow.Position] in the same order: what follows it is returned
	Limit      int    // 0 means all
}

// Position returns a text that, as After of a query in the same order, continues behind this row.
func (r FindingRow) Position(order FindingOrder) string {
	p := position{ID: r.ID}
	switch order {
	case OrderCreatedAt:
		p.Time = stamp(r.CreatedAt)
	case OrderSeverity:
		p.Severity = r.Severity
	case OrderID:
	default:
		p.Time = stamp(r.UpdatedAt)
	}
	text, _ := json.Marshal(p) // cannot fail: two numbers and a string
	return string(text)
}

type position struct {
	Time     int64   `json:"t,omitempty"`
	Severity float64 `json:"s,omitempty"`
	ID       string  `json:"id"`
}

const findingColumns = "id, detector_id, type, resource_key, severity, archived, sample, created_at, updated_at, first_seen, last_seen, count, next_publish, json, state"

// Finding returns the finding with the given id, and whether there is one.
func (tx *Tx) Finding(id string) (FindingRow, bool, error) {
	rows, err := tx.findings("SELECT "+findingColumns+" FROM finding WHERE id = ?", id)
	if err != nil || len(rows) == 0 {
		return FindingRow{}, false, wrap(err, "reading finding %q", id)
	}
	return rows[0], true, nil
}

// PutFinding stores the finding under its id, replacing what was there.
func (tx *Tx) PutFinding(r FindingRow) error {
	if r.JSON == nil {
		r.JSON = []byte{}
	}
	if r.State == nil {
		r.State = []byte{}
	}
	_, err := tx.exec("INSERT INTO finding ("+findingColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"+
		" ON CONFLICT (id) DO UPDATE SET detector_id = excluded.detector_id, type = excluded.type, resource_key = excluded.resource_key,"+
		" severity = excluded.severity, archived = excluded.archived, sample = excluded.sample, created_at = excluded.created_at,"+
		" updated_at = excluded.updated_at, first_seen = excluded.first_seen, last_seen = excluded.last_seen, count = excluded.count,"+
		" next_publish = excluded.next_publish, json = excluded.json, state = excluded.state",
		r.ID, r.DetectorID, r.Type, r.ResourceKey, r.Severity, flag(r.Archived), flag(r.Sample), stamp(r.CreatedAt), stamp(r.UpdatedAt),
		stamp(r.FirstSeen), stamp(r.LastSeen), r.Count, stamp(r.NextPublish), r.JSON, r.State)
	return wrap(err, "storing finding %q", r.ID)
}

// DeleteFinding removes the finding with the given id, and reports whether there was one.
func (tx *Tx) DeleteFinding(id string) (bool, error) {
	r, err := tx.exec("DELETE FROM finding WHERE id = ?", id)
	if err != nil {
		return false, wrap(err, "deleting finding %q", id)
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// DeleteFindings removes every finding of a detector, and returns how many there were.
func (tx *Tx) DeleteFindings(detectorID string) (int64, error) {
	r, err := tx.exec("DELETE FROM finding WHERE detector_id = ?", detectorID)
	if err != nil {
		return 0, wrap(err, "deleting the findings of detector %q", detectorID)
	}
	return r.RowsAffected()
}

// Findings returns the findings that a query selects, in its order.
func (tx *Tx) Findings(q FindingQuery) ([]FindingRow, error) {
	where, args, err := q.where()
	if err != nil {
		return nil, err
	}
	column, direction := q.order()
	query := "SELECT " + findingColumns + " FROM finding" + where + " ORDER BY " + column + direction
	if column != "id" {
		query += ", id" + direction
	}
	if q.Limit > 0 {
		query += " LIMIT ?"
		args = append(args, q.Limit)
	}
	rows, err := tx.findings(query, args...)
	return rows, wrap(err, "listing findings")
}

// CountFindings returns how many findings a query selects; its After and Limit do not count.
func (tx *Tx) CountFindings(q FindingQuery) (int64, error) {
	q.After = ""
	where, args, err := q.where()
	if err != nil {
		return 0, err
	}
	var n int64
	_, err = tx.scanOne("SELECT COUNT(*) FROM finding"+where, args, &n)
	return n, wrap(err, "counting findings")
}

// DueFindings returns the findings whose NextPublish is not after now, the longest due first, at most limit of them; limit
// 0 means all.
func (tx *Tx) DueFindings(now time.Time, limit int) ([]FindingRow, error) {
	query, args := "SELECT "+findingColumns+" FROM finding WHERE next_publish > 0 AND next_publish <= ? ORDER BY next_publish, id", []any{stamp(now)}
	if limit > 0 {
		query += " LIMIT ?"
		args = append(args, limit)
	}
	rows, err := tx.findings(query, args...)
	return rows, wrap(err, "listing due findings")
}

// NextPublish returns the earliest NextPublish of all findings, and whether any is pending.
func (tx *Tx) NextPublish() (time.Time, bool, error) {
	var at sql.NullInt64
	_, err := tx.scanOne("SELECT MIN(next_publish) FROM finding WHERE next_publish > 0", nil, &at)
	return unstamp(at.Int64), at.Valid, wrap(err, "reading the next publication")
}

func (q FindingQuery) order() (column, direction string) {
	column = "updated_at"
	switch q.Order {
	case OrderCreatedAt, OrderSeverity, OrderID:
		column = string(q.Order)
	}
	if q.Descending {
		return column, " DESC"
	}
	return column, " ASC"
}

// where is the WHERE clause of a query and its arguments.
func (q FindingQuery) where() (string, []any, error) {
	var terms []string
	var args []any
	add := func(term string, a ...any) {
		terms = append(terms, term)
		args = append(args, a...)
	}
	if q.DetectorID != "" {
		add("detector_id = ?", q.DetectorID)
	}
	if q.ResourceKey != "" {
		add("resource_key = ?", q.ResourceKey)
	}
	if q.Archived != nil {
		add("archived = ?", flag(*q.Archived))
	}
	if q.Sample != nil {
		add("sample = ?", flag(*q.Sample))
	}
	if len(q.Types) > 0 {
		terms = append(terms, "type IN (?"+strings.Repeat(", ?", len(q.Types)-1)+")")
		for _, t := range q.Types {
			args = append(args, t)
		}
	}
	if q.MinSeverity > 0 {
		add("severity >= ?", q.MinSeverity)
	}
	if !q.UpdatedSince.IsZero() {
		add("updated_at >= ?", stamp(q.UpdatedSince))
	}
	if q.After != "" {
		var p position
		if err := json.Unmarshal([]byte(q.After), &p); err != nil {
			return "", nil, fmt.Errorf("decoding a position: %w", err)
		}
		column, direction := q.order()
		than := ">"
		if direction == " DESC" {
			than = "<"
		}
		switch column {
		case "id":
			add("id "+than+" ?", p.ID)
		case "severity":
			add("(severity "+than+" ? OR (severity = ? AND id "+than+" ?))", p.Severity, p.Severity, p.ID)
		default:
			add("("+column+" "+than+" ? OR ("+column+" = ? AND id "+than+" ?))", p.Time, p.Time, p.ID)
		}
	}
	if len(terms) == 0 {
		return "", args, nil
	}
	return " WHERE " + strings.Join(terms, " AND "), args, nil
}

func (tx *Tx) findings(query string, args ...any) ([]FindingRow, error) {
	rows, err := tx.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []FindingRow
	for rows.Next() {
		var r FindingRow
		var archived, sample, created, updated, first, last, next int64
		if err := rows.Scan(&r.ID, &r.DetectorID, &r.Type, &r.ResourceKey, &r.Severity, &archived, &sample, &created, &updated,
			&first, &last, &r.Count, &next, &r.JSON, &r.State); err != nil {
			return nil, err
		}
		r.Archived, r.Sample = archived != 0, sample != 0
		r.CreatedAt, r.UpdatedAt = unstamp(created), unstamp(updated)
		r.FirstSeen, r.LastSeen = unstamp(first), unstamp(last)
		r.NextPublish = unstamp(next)
		list = append(list, r)
	}
	return list, rows.Err()
}

// flag is the stored form of a truth value.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
