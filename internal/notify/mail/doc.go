// Package mail writes the mails that people get: notifications, and the question whether they want them.
//
// In goes a notification of a topic, out comes a Message for package smtp. A notification whose text is the event of a
// GuardDuty finding or of a change of coverage becomes a report that can be read at a glance; any other text is the user's
// own and stays as it is. The package sends nothing, keeps nothing and may be used by many goroutines.
//
// Almost everything in an event was chosen by the watched workload and is hostile: it can neither end a line of its own
// accord nor reach a header, hide or reverse text, or be HTML, and it is cut to a length.
package mail
