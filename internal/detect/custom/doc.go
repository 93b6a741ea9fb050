// Package custom is the user's own rules: YAML files become rules that an engine runs beside the built-in ones, in the same
// pattern set, and exceptions that take occurrences of any rule away. docs/rules.md is the language's description.
//
// What goes in: the *.yaml files of a folder ([Load]), except those that end in _test.yaml, which hold tests ([Test]). What
// comes out: a [Set] and every mistake with its file, line, column and field. [Open] keeps an engine's extra rules equal to a
// folder while files change; after a mistake the last good set stays.
//
// A Set belongs to one engine: the rules made of it hold state and scratch memory of that engine's goroutine. State is bounded: a rule
// remembers at most a few thousand groups, the longest unused is forgotten first, and a rule that fires without end is muted
// until the minute is over (see maxPerMinute). Rules whose definition did not change keep their state when a folder is read
// again.
//
// A rule that names no kinds of event, or that matches ordinary events of a kind whatever they are about, is refused.
//
// The package never stores or publishes anything, and reads no file outside its folder.
package custom
