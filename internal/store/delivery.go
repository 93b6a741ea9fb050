package store

import (
	"database/sql"
	"fmt"
	"time"
)

// Delivery is one thing that has to be handed to one receiver: an entry of the outbox. It is written in the transaction of
// its cause, so it exists if and only if the cause does; it is gone once it was handed over, and stays as a dead letter
// when that was given up.
type Delivery struct {
	ID        int64
	Queue     string    // whose work it is
	Lane      string    // deliveries of one lane wait for each other, those of different lanes do not
	Subject   string    // what it is about, for people: an ARN
	Payload   []byte    // private to the queue
	CreatedAt time.Time // when it was enqueued
	RunAt     time.Time // not before
	Attempts  int       // how many have failed
	ErrorCode string    // of the last failure
	Error     string    // of the last failure
	Dead      bool      // given up

	lease string
}

const (
	statePending = 0
	stateDead    = 1

	maxErrorText = 2000 // bytes of an error that are kept
)

const deliveryColumns = "id, queue, lane, subject, payload, created_at, run_at, attempts, error_code, error, state, lease"

// Enqueue adds a delivery and returns its id. ID, Attempts, Error, ErrorCode and Dead of the argument are not looked at;
// CreatedAt must be set, and a zero RunAt means at once.
func (tx *Tx) Enqueue(d Delivery) (int64, error) {
	if d.RunAt.IsZero() {
		d.RunAt = d.CreatedAt
	}
	if d.Payload == nil {
		d.Payload = []byte{}
	}
	var id int64
	_, err := tx.scanOne("INSERT INTO delivery (queue, lane, state, run_at, created_at, attempts, lease, subject, payload, error_code, error)"+
		" VALUES (?, ?, ?, ?, ?, 0, '', ?, ?, '', '') RETURNING id",
		[]any{d.Queue, d.Lane, statePending, stamp(d.RunAt), stamp(d.CreatedAt), d.Subject, d.Payload}, &id)
	return id, wrap(err, "enqueuing a delivery of %s", d.Queue)
}

// Lane is one lane of a queue and when the first of its pending deliveries is due.
type Lane struct {
	Name string
	Due  time.Time
}

// Lanes returns the lanes of a queue that have pending deliveries, in their order. It reads two index entries per lane,
// however many deliveries wait.
func (tx *Tx) Lanes(queue string) ([]Lane, error) {
	rows, err := tx.query("WITH RECURSIVE t(lane) AS ("+
		" SELECT MIN(lane) FROM delivery WHERE queue = ? AND state = ?"+
		" UNION ALL SELECT (SELECT MIN(d.lane) FROM delivery d WHERE d.queue = ? AND d.state = ? AND d.lane > t.lane) FROM t WHERE t.lane IS NOT NULL)"+
		" SELECT lane, (SELECT MIN(d.run_at) FROM delivery d WHERE d.queue = ? AND d.state = ? AND d.lane = t.lane) FROM t WHERE lane IS NOT NULL",
		queue, statePending, queue, statePending, queue, statePending)
	if err != nil {
		return nil, wrap(err, "listing the lanes of %s", queue)
	}
	defer rows.Close()
	var lanes []Lane
	for rows.Next() {
		var lane Lane
		var due int64
		if err := rows.Scan(&lane.Name, &due); err != nil {
			return nil, wrap(err, "listing the lanes of %s", queue)
		}
		lane.Due = unstamp(due)
		lanes = append(lanes, lane)
	}
	return lanes, wrap(rows.Err(), "listing the lanes of %s", queue)
}

// Claim takes up to limit due deliveries of a lane, the longest due first, and leases them to the caller until now+lease:
// until then no other Claim returns them. The caller ends each lease with Finish, Retry or Bury; a lease that runs out, or
// whose process dies, makes the delivery due again with no attempt counted.
func (tx *Tx) Claim(queue, lane string, now time.Time, lease time.Duration, limit int) ([]Delivery, error) {
	if limit <= 0 {
		return nil, nil
	}
	list, err := tx.deliveries("SELECT "+deliveryColumns+" FROM delivery WHERE queue = ? AND state = ? AND lane = ? AND run_at <= ?"+
		" ORDER BY run_at, id LIMIT ?", queue, statePending, lane, stamp(now), limit)
	if err != nil {
		return nil, wrap(err, "claiming deliveries of %s", queue)
	}
	until := stamp(now.Add(lease))
	for i := range list {
		list[i].lease = fmt.Sprintf("%s/%d", tx.db.owner, until)
		if _, err := tx.exec("UPDATE delivery SET run_at = ?, lease = ? WHERE id = ?", until, list[i].lease, list[i].ID); err != nil {
			return nil, wrap(err, "claiming deliveries of %s", queue)
		}
	}
	return list, nil
}

// Finish removes a claimed delivery that was handed over. It reports false when the lease is no longer the caller's.
func (tx *Tx) Finish(d Delivery) (bool, error) {
	return tx.endLease(d, "DELETE FROM delivery WHERE id = ? AND lease = ?", d.ID, d.lease)
}

// Retry gives a claimed delivery back after a failed attempt, to be tried again at the given time. It reports false when
// the lease is no longer the caller's.
func (tx *Tx) Retry(d Delivery, at time.Time, code, reason string) (bool, error) {
	return tx.endLease(d, "UPDATE delivery SET run_at = ?, attempts = attempts + 1, lease = '', error_code = ?, error = ? WHERE id = ? AND lease = ?",
		stamp(at), code, cut(reason), d.ID, d.lease)
}

// Release gives a claimed delivery back untried, due at the given time. It reports false when the lease is no longer the
// caller's.
func (tx *Tx) Release(d Delivery, at time.Time) (bool, error) {
	return tx.endLease(d, "UPDATE delivery SET run_at = ?, lease = '' WHERE id = ? AND lease = ?", stamp(at), d.ID, d.lease)
}

// Bury makes a claimed delivery a dead letter. It reports false when the lease is no longer the caller's.
func (tx *Tx) Bury(d Delivery, at time.Time, code, reason string) (bool, error) {
	return tx.endLease(d, "UPDATE delivery SET state = ?, run_at = ?, attempts = attempts + 1, lease = '', error_code = ?, error = ? WHERE id = ? AND lease = ?",
		stateDead, stamp(at), code, cut(reason), d.ID, d.lease)
}

func (tx *Tx) endLease(d Delivery, query string, args ...any) (bool, error) {
	r, err := tx.exec(query, args...)
	if err != nil {
		return false, wrap(err, "ending the lease of delivery %d", d.ID)
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// NextDelivery returns when the next pending delivery of a queue is due, and whether there is one.
func (tx *Tx) NextDelivery(queue string) (time.Time, bool, error) {
	var at sql.NullInt64
	_, err := tx.scanOne("SELECT MIN(run_at) FROM delivery WHERE queue = ? AND state = ?", []any{queue, statePending}, &at)
	return unstamp(at.Int64), at.Valid, wrap(err, "reading the next delivery of %s", queue)
}

// NextInLane returns when the next pending delivery of a lane is due, and whether there is one.
func (tx *Tx) NextInLane(queue, lane string) (time.Time, bool, error) {
	var at sql.NullInt64
	_, err := tx.scanOne("SELECT MIN(run_at) FROM delivery WHERE queue = ? AND state = ? AND lane = ?", []any{queue, statePending, lane}, &at)
	return unstamp(at.Int64), at.Valid, wrap(err, "reading the next delivery of %s", queue)
}

// QueueStats counts the deliveries of one queue.
type QueueStats struct {
	Pending int64
	Dead    int64
	Oldest  time.Time // CreatedAt of the oldest pending one; zero if there is none
}

// QueueStats counts the deliveries of a queue.
func (tx *Tx) QueueStats(queue string) (QueueStats, error) {
	var s QueueStats
	var oldest sql.NullInt64
	if _, err := tx.scanOne("SELECT COUNT(*), MIN(created_at) FROM delivery WHERE queue = ? AND state = ?", []any{queue, statePending}, &s.Pending, &oldest); err != nil {
		return s, wrap(err, "counting the deliveries of %s", queue)
	}
	s.Oldest = unstamp(oldest.Int64)
	_, err := tx.scanOne("SELECT COUNT(*) FROM delivery WHERE queue = ? AND state = ?", []any{queue, stateDead}, &s.Dead)
	return s, wrap(err, "counting the dead letters of %s", queue)
}

// DeadLetters returns dead letters of a queue with an id greater than after, in the order of their ids, at most limit of
// them; limit 0 means all. RunAt is when they were given up.
func (tx *Tx) DeadLetters(queue string, after int64, limit int) ([]Delivery, error) {
	return tx.listDeliveries(queue, stateDead, after, limit)
}

// PendingDeliveries returns deliveries of a queue that were not handed over yet, like [Tx.DeadLetters].
func (tx *Tx) PendingDeliveries(queue string, after int64, limit int) ([]Delivery, error) {
	return tx.listDeliveries(queue, statePending, after, limit)
}

func (tx *Tx) listDeliveries(queue string, state int, after int64, limit int) ([]Delivery, error) {
	query, args := "SELECT "+deliveryColumns+" FROM delivery WHERE queue = ? AND state = ? AND id > ? ORDER BY id", []any{queue, state, after}
	if limit > 0 {
		query += " LIMIT ?"
		args = append(args, limit)
	}
	list, err := tx.deliveries(query, args...)
	return list, wrap(err, "listing the deliveries of %s", queue)
}

// Redrive makes a dead letter of a queue pending again, as if it were new at the given time, and reports whether there was such a one.
func (tx *Tx) Redrive(queue string, id int64, now time.Time) (bool, error) {
	r, err := tx.exec("UPDATE delivery SET state = ?, run_at = ?, created_at = ?, attempts = 0 WHERE id = ? AND queue = ? AND state = ?",
		statePending, stamp(now), stamp(now), id, queue, stateDead)
	if err != nil {
		return false, wrap(err, "redriving delivery %d", id)
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// TrimDeadLetters removes the oldest dead letters of a queue so that at most keep remain, and returns how many went.
func (tx *Tx) TrimDeadLetters(queue string, keep int) (int64, error) {
	r, err := tx.exec("DELETE FROM delivery WHERE queue = ? AND state = ? AND id <= ("+
		"SELECT id FROM delivery WHERE queue = ? AND state = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
		queue, stateDead, queue, stateDead, keep)
	if err != nil {
		return 0, wrap(err, "trimming the dead letters of %s", queue)
	}
	return r.RowsAffected()
}

// releaseAll makes every leased delivery due: the processes that held them are gone.
func (tx *Tx) releaseAll() error {
	_, err := tx.exec("UPDATE delivery SET run_at = created_at, lease = '' WHERE lease <> ''")
	return wrap(err, "releasing leases")
}

func (tx *Tx) deliveries(query string, args ...any) ([]Delivery, error) {
	rows, err := tx.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Delivery
	for rows.Next() {
		var d Delivery
		var created, run, state int64
		if err := rows.Scan(&d.ID, &d.Queue, &d.Lane, &d.Subject, &d.Payload, &created, &run, &d.Attempts, &d.ErrorCode, &d.Error, &state, &d.lease); err != nil {
			return nil, err
		}
		d.CreatedAt, d.RunAt, d.Dead = unstamp(created), unstamp(run), state == stateDead
		list = append(list, d)
	}
	return list, rows.Err()
}

// cut bounds an error's text.
func cut(s string) string {
	if len(s) > maxErrorText {
		return s[:maxErrorText] + " …"
	}
	return s
}
