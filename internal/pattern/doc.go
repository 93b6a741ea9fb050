// Package pattern is the event-pattern language of Amazon EventBridge: it parses patterns, compiles many of them into one
// structure, and tells which of them an event matches. Detection rules, bus rules, SNS filter policies and finding filters
// all use it; README.md beside this file states the language in full.
//
// What goes in is pattern text ([Parse], [ParseWith]) and then either JSON events ([Set.NewMatcher]) or events that are Go
// values ([Set.Bind]). What comes out is the indexes of the patterns that match. Both kinds of event run through the same
// compiled index, so a pattern means the same thing for both.
//
// A [Pattern], a [Set] and a [Bound] are immutable and safe for concurrent use. A [Matcher] or [BoundMatcher] holds the scratch
// memory of one goroutine; in steady state a match allocates nothing.
//
// # How matching works
//
// A pattern is brought into disjunctive form: each $or multiplies it into conjunctions, at most [MaxCombinations]. A
// conjunction needs one predicate per path, and a predicate is the list of alternatives written in one array. Equal
// predicates are stored once for the whole Set.
//
// Each conjunction is filed under only one of its predicates, the one that the compiler estimates to be satisfied least
// often; the index of that path then finds the conjunction from an event's value: hash tables for exact values, an automaton
// each for what begins and what ends a string, segment trees for numbers and addresses. The other predicates are evaluated only for
// conjunctions found that way, at most once per event each. So thousands of patterns that share a common condition and
// differ in a rare one cost about as much as one.
//
// The memory of a Set is linear in the text of its patterns times their combinations (times a logarithm for ranges); there is no
// construction that can explode. Time per event is bounded by the event's size times the automaton states that are alive at
// once, plus the candidates found; wildcards that keep many states alive are rejected by Parse as AWS does.
//
// The package never reads files, starts goroutines, logs, or keeps an event after the call that was given it.
package pattern
