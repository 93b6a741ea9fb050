// Package ingest turns the batches that agents send into findings.
//
// What goes in: the messages of the link, in the order of its stream. What comes out: findings in the store, and events
// about them on the default bus. Each message goes through the same steps: is it new, does it decode, what does detection
// say; and then, in one transaction, the findings are merged into those that are stored, the events are put on the bus, and
// the positions are written up to which everything is done: that of the stream, and that of each agent and epoch. So a
// message that comes twice, from the stream after a crash or from an agent that did not hear the answer, counts once.
//
// Handle is called by one goroutine. A message without a finding costs no transaction at once: having it again would change
// nothing, so its positions are written with the next finding, or within a second. While messages wait behind, findings
// of up to 64 messages share a transaction; otherwise each is stored before Handle returns.
//
// Users suppress findings in two ways. What is about an address or a name that they trust is no finding at all. What satisfies
// a filter with the action ARCHIVE is stored as archived and not published. Samples are made to be seen: nothing suppresses
// them.
//
// A batch that cannot be decoded is counted, logged at most once a minute for each agent, and skipped: it must not stop the
// stream. An error of the store is returned, and the link hands the message over again.
package ingest
