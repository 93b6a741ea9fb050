package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// openSQLite opens the file at path. The file belongs to one process at a time, which a lock on path+".lock" ensures: the
// kernel drops it when the process dies, however it dies.
func openSQLite(ctx context.Context, path string) (*DB, error) {
	if path == "" {
		return nil, errors.New("the database's path is empty: write sqlite:/path/to/vedette.db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("the database's path: %w", err)
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	// The file is created here, so that only its owner can read it: it holds tokens and a private key.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	f.Close()

	db := &DB{d: dialect{
		name:      "sqlite",
		goose:     goose.DialectSQLite3,
		explain:   func(err error) error { return explainSQLite(path, err) },
		close:     lock.Close,
		exclusive: true,
	}}
	if db.writer, err = sql.Open("sqlite", dataSource(path, "immediate", false)); err != nil {
		lock.Close()
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if db.reader, err = sql.Open("sqlite", dataSource(path, "deferred", true)); err != nil {
		db.writer.Close()
		lock.Close()
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	db.writer.SetMaxOpenConns(1)
	readers := max(4, runtime.GOMAXPROCS(0))
	db.reader.SetMaxOpenConns(readers)
	db.reader.SetMaxIdleConns(readers)

	var mode string
	if err := db.writer.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return nil, errors.Join(db.explain(fmt.Errorf("opening the database: %w", err)), db.Close())
	}
	if mode != "wal" {
		return nil, errors.Join(fmt.Errorf("the database %s cannot use a write-ahead log (journal mode is %s): is it on a network file system?", path, mode), db.Close())
	}
	return db, nil
}

// dataSource is the connection string of one pool.
func dataSource(path, lock string, readOnly bool) string {
	q := url.Values{}
	q.Set("_txlock", lock)
	q.Set("_dqs", "0")
	q.Set("_defensive", "1")
	q.Set("_busy_timeout", "10000")
	if readOnly {
		q.Set("_query_only", "1")
	} else {
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "FULL")
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

// lockFile takes the lock that makes the caller the only process to use the database.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("opening the database: the folder %s does not exist", filepath.Dir(path))
		}
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("the database %s is in use by another process: stop that server or give this one a data folder of its own", path)
		}
		return nil, fmt.Errorf("locking %s.lock: %w", path, err)
	}
	return f, nil
}

// explainSQLite turns the errors that an operator can do something about into a sentence.
func explainSQLite(path string, err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("the database %s is damaged or not a database: restore it from a backup or move it away: %w", path, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return fmt.Errorf("the database %s cannot be written: check its owner and that the file system is not read-only: %w", path, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("the database %s is locked by another program: %w", path, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk of the database %s is full: %w", path, err)
	}
	return err
}
