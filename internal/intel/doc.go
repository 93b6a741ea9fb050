// Package intel answers which threat lists hold an address or a domain name.
//
// What goes in: the built-in list and the threat intelligence sets that users make with CreateThreatIntelSet, text files of
// addresses, prefixes and domain names. What comes out: [Lists.Address] and [Lists.Domain], which detection asks for every
// connection and DNS question.
//
// Lookups take no lock and allocate nothing: they read an immutable [List] through an atomic pointer, and a change replaces
// the whole slice of lists. [Sets] keeps the sets: it loads each in the background, keeps a copy of the last good content in
// the data folder so that a restart works while the source is away, and records what went wrong.
//
// A source is bounded in size and time, and a bad line of it is reported and skipped. The package resolves no names, asks no
// reputation service and never sends anything that the watched workloads did.
package intel
