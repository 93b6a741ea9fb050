// Package agent turns what the kernel saw into self-contained events and brings them to the server.
//
// # The path of a record
//
// The sensor's goroutine calls [Agent.sink] for each [sensor.Record]. There the process table is brought up to date and the
// record becomes an event, with the processes as they are at this moment, or one more occurrence of an event that waits: what
// the same process does to the same object again within a second is folded into one event with a count, after the first, which
// goes out at once. What must be looked up (the hash of a new executable, a user's name, the description of a new container) is
// started there and never waited for.
//
// The queue before the shipper is shared fairly between containers: one that floods loses only its own events and delays the
// others' by a turn. The shipper's goroutine holds an event until its lookups are done or its time is over (50 ms for a hash, the
// resolver's grace for a container), without holding those of other containers, and encodes it. The publisher's goroutine brings
// one batch after the other to the server and goes on when it is stored; when the server is away, batches go to the spool on
// the disk, which is sent first afterwards, also by the next start of the agent.
//
// # What can be lost
//
// Every loss is counted by its reason, and the counts travel in each heartbeat: in the kernel's rings (dropped.kernel.KIND), when
// the queue before the shipper is full (dropped.queue.KIND, and container.ID.dropped for those that lost most), when the spool
// is full and its oldest batches make room (dropped.spool, in events), when a batch can never be sent (dropped.unsendable), when
// an event cannot be encoded (dropped.invalid). The ledger adds up:
//
//	events.made + events.recovered = events.shipped + events.folded + events.spooled + dropped, all but the kernel's, + under way
//
// A loss is also an event of its own (alert), sent within a second while the server is there, and then every ten seconds while
// it goes on: a flood that is made to blind the agent is an attack. Memory is bounded everywhere: the process table, the folds,
// the queue, the held events, the lookup caches, the spool.
//
// The agent never reports itself, never waits in the sensor's goroutine, and never opens a path that a workload chose except
// within that workload's root and without following it elsewhere.
package agent
