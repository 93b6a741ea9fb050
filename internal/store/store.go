package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// ErrUnsupported is the error of Open for a URL whose scheme no adapter knows.
var ErrUnsupported = errors.New("unsupported database")

// A dialect is everything that differs between the databases.
type dialect struct {
	name      string                    // folder of migrations
	goose     goose.Dialect             // what goose calls it
	rebind    func(query string) string // turns ? into the database's placeholders; nil: they are ?
	explain   func(err error) error     // adds what an operator should do about an error of the driver; nil: nothing
	close     func() error              // releases what Open took besides the connections; nil: nothing
	exclusive bool                      // no other process can use the database, so any lease found at Open is dead
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	log    *slog.Logger
	d      dialect
	writer *sql.DB       // one connection
	reader *sql.DB       // a few
	turn   chan struct{} // holds one token: the right to write
	owner  string        // names this process in leases
}

// Open opens the database at url, creates it if there is none, and brings its tables up to date. The only scheme so far is
// sqlite:PATH. A database that another process holds, that is not a database, or that may not be written is an error that
// says so; nothing is repaired or deleted.
func Open(ctx context.Context, url string, log *slog.Logger) (*DB, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	var db *DB
	var err error
	switch scheme {
	case "sqlite":
		db, err = openSQLite(ctx, rest)
	default:
		return nil, fmt.Errorf("%w %q: write sqlite:/path/to/vedette.db", ErrUnsupported, scheme)
	}
	if err != nil {
		return nil, err
	}
	db.log = log
	db.turn = make(chan struct{}, 1)
	db.turn <- struct{}{}
	db.owner = rand.Text()
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// prepare migrates the tables and clears the leases of a process that is gone.
func (db *DB) prepare(ctx context.Context) error {
	folder, err := fs.Sub(migrations, "migrations/"+db.d.name)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(db.d.goose, db.writer, folder, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	if current, target, err := provider.GetVersions(ctx); err != nil {
		return db.explain(fmt.Errorf("reading the database's version: %w", err))
	} else if current > target {
		return fmt.Errorf("the database was written by a newer version of Vedette (its tables are at version %d, this binary knows %d)", current, target)
	}
	if _, err := provider.Up(ctx); err != nil {
		return db.explain(fmt.Errorf("migrating the database: %w", err))
	}
	if !db.d.exclusive {
		return nil
	}
	return db.Update(ctx, func(tx *Tx) error { return tx.releaseAll() })
}

// Close ends every connection. Transactions that still run fail.
func (db *DB) Close() error {
	err := errors.Join(db.reader.Close(), db.writer.Close())
	if db.d.close != nil {
		err = errors.Join(err, db.d.close())
	}
	return err
}

func (db *DB) explain(err error) error {
	if err == nil || db.d.explain == nil {
		return err
	}
	return db.d.explain(err)
}

// Update runs fn in a transaction that may write, after all earlier ones have ended. It commits when fn returns nil and
// rolls back when fn returns an error (which Update returns as it is) or panics. The functions given to [Tx.AfterCommit]
// have run when Update returns.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	select {
	case <-db.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { db.turn <- struct{}{} }()
	tx, err := db.run(ctx, db.writer, fn)
	if err != nil {
		return err
	}
	for _, f := range tx.after {
		f()
	}
	return nil
}

// View runs fn in a transaction that sees one snapshot of the database and cannot write.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	_, err := db.run(ctx, db.reader, fn)
	return err
}

func (db *DB) run(ctx context.Context, pool *sql.DB, fn func(tx *Tx) error) (*Tx, error) {
	sqlTx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, db.explain(fmt.Errorf("beginning a transaction: %w", err))
	}
	committed := false
	defer func() {
		if !committed {
			sqlTx.Rollback()
		}
	}()
	tx := &Tx{ctx: ctx, tx: sqlTx, db: db}
	if err := fn(tx); err != nil {
		return nil, err
	}
	if err := sqlTx.Commit(); err != nil {
		return nil, db.explain(fmt.Errorf("committing: %w", err))
	}
	committed = true
	return tx, nil
}

// Tx is one transaction. It is used by one goroutine and only until the function that got it returns.
type Tx struct {
	ctx   context.Context
	tx    *sql.Tx
	db    *DB
	after []func()
	depth int
}

// Context returns the context of the transaction.
func (tx *Tx) Context() context.Context { return tx.ctx }

// AfterCommit runs f once the transaction has committed, and never if it rolls back. f runs while no other Update does, so
// it must not call Update and should only wake someone up.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Nested runs fn so that its writes vanish when it returns an error, while those made before stay. The error is returned.
func (tx *Tx) Nested(fn func() error) (err error) {
	tx.depth++
	name := fmt.Sprintf("nested%d", tx.depth)
	after := len(tx.after)
	if _, err := tx.exec("SAVEPOINT " + name); err != nil {
		return err
	}
	done := false
	defer func() {
		tx.depth--
		if !done { // error or panic
			tx.after = tx.after[:after]
			if _, undo := tx.exec("ROLLBACK TO SAVEPOINT " + name); undo != nil {
				err = errors.Join(err, undo)
			}
		}
		if _, release := tx.exec("RELEASE SAVEPOINT " + name); release != nil {
			err = errors.Join(err, release)
		}
	}()
	err = fn()
	done = err == nil
	return err
}

func (tx *Tx) sql(query string) string {
	if tx.db.d.rebind == nil {
		return query
	}
	return tx.db.d.rebind(query)
}

func (tx *Tx) exec(query string, args ...any) (sql.Result, error) {
	r, err := tx.tx.ExecContext(tx.ctx, tx.sql(query), args...)
	return r, tx.db.explain(err)
}

func (tx *Tx) query(query string, args ...any) (*sql.Rows, error) {
	r, err := tx.tx.QueryContext(tx.ctx, tx.sql(query), args...)
	return r, tx.db.explain(err)
}

// scanOne reads the only row of a query, and reports whether there was one.
func (tx *Tx) scanOne(query string, args []any, dest ...any) (bool, error) {
	err := tx.tx.QueryRowContext(tx.ctx, tx.sql(query), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, tx.db.explain(err)
}

// stamp is the stored form of a time.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// unstamp is the time of a stored form, in UTC.
func unstamp(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
