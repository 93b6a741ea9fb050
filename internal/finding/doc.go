// Package finding holds the finding in the exact shape in which Amazon GuardDuty puts it on the wire, the table of the
// runtime finding types, and the rules by which repeated occurrences become one finding with a count.
//
// What goes in: an [Occurrence], which detection builds from one runtime event. What comes out: a [Finding], which renders
// itself in two ways: plain JSON for the API, and [Finding.Detail] for the event bus, where
// additionalInfo carries its expanded keys as well.
//
// The package is a leaf: plain data and pure functions, safe for concurrent use as long as no two goroutines change the
// same Finding. It never stores, publishes or looks anything up, and it never reads a clock: the caller says what time it is.
//
// Text inside a finding comes from the watched workload. Structured members (paths, names) hold it as it was, with invalid
// UTF-8 replaced; prose (title, description) holds it only after [Quote] made it printable and short.
package finding
