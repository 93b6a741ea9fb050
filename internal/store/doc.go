// Package store keeps Vedette's state in one SQL database: documents of low volume, findings, cursors and the outbox of
// deliveries.
//
// What goes in and what comes out: callers run functions inside a transaction. [DB.Update] runs them one after another in
// one writer, so that an Update sees everything that earlier ones committed and two Updates never conflict; [DB.View] runs
// any number of them beside it, each on its own snapshot. Nothing is cached here and nothing is dropped: a call either
// commits entirely or returns an error and leaves no trace.
//
// Durability: a committed Update survives kill -9 and a power cut. SQLite runs in WAL mode with synchronous=FULL, so each
// commit costs one fsync of the log; NORMAL would be faster but may lose the last commits when the power fails, and an
// event is acknowledged to the agent because of a commit here.
//
// A *Tx belongs to the goroutine that it was given to and dies when the function returns. Calling Update or View from
// inside an Update deadlocks: pass the *Tx on instead.
//
// The SQL is the common subset of SQLite and PostgreSQL. What differs lives in sqlite.go and in the folder of migrations
// of that name. Times are stored as nanoseconds since 1970 in 64-bit integers, 0 standing for the zero time.
package store
