// Package link carries what agents see to the server, over NATS JetStream: embedded in the server by default, an external
// NATS by URL.
//
// # Subjects
//
//	vedette.events.<agent>      batches, kept in the stream VEDETTE_EVENTS until they are too old or too many
//	vedette.heartbeat.<agent>   heartbeats, not kept
//	vedette.config              configuration for all agents, pushed when it changes
//	vedette.config.get          asked by an agent when it (re)connects
//	vedette.enrol.<key>         asked by an agent that the server does not know yet
//
// # Who may do what
//
// Everyone who connects proves that they hold a key, by signing the server's nonce. An agent makes its key at its first
// start; its id is a hash of the public key, so that nobody can take another's. A key that the server does not know may
// enrol if it comes with the enrolment token, and do nothing else. A known agent may publish only its own events and
// heartbeats, and read only its own inbox and the configuration. The local administrator's secret, which the server writes
// into its data folder, allows to watch the events and nothing else. All others are refused.
//
// # What is promised
//
// [Client.Publish] returns nil only after the stream has stored the batch in its file; killing the server then loses nothing.
// (A loss of power can lose the last ServerOptions.SyncInterval.) A batch may be delivered twice, so batches carry their
// agent's epoch and sequence. [Server.Consume] delivers in the stream's order and never passes a batch whose handler
// fails. Batches are dropped in one place only: when the stream is over its bound of bytes or age, the oldest go, and the
// consumer counts those it had not seen. While the server's disk is full, batches are refused, and agents spool; the embedded
// server takes them again when there is room. Heartbeats are lost when nobody listens; a later one says the same.
//
// All types here may be used from several goroutines.
package link
