// Package detect finds the runtime events that deserve a finding.
//
// What goes in: batches of events, and the [Rule]s of the folder rules, one per finding type. A rule is a pattern over the
// fields of an event (see [event.Fields]) and over facts computed from it (see [Facts]), and a function that looks closer at
// the few events that the pattern lets through. What comes out: a [finding.Occurrence] for each event that is a finding.
//
// An [Engine] belongs to one goroutine, because rules remember things. It keeps nothing of a batch after Process returns:
// what a rule remembers it copies. An event that matches no pattern costs no allocation. All memory is bounded per place (a
// container, or a host outside its containers) and by the number of places; when a bound is reached the oldest is
// forgotten, never the new refused. One place cannot make an unbounded number of findings of one type: see MaxKeys.
//
// The package never stores or publishes anything and asks nobody: threat lists are looked up in memory.
package detect
