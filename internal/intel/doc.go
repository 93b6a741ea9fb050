// Package intel answers which lists hold an address, a domain name or a file, and whether it is trusted.
//
// What goes in: the built-in list, the sets that users make through the API, and the feeds of the configuration; texts of
// addresses, prefixes, domain names and SHA-256 digests in several formats. What comes out: [Lists.Address], [Lists.Domain]
// and [Lists.File], which detection asks for every connection, DNS question and executed file. What is trusted is on no list.
//
// Lookups take no lock and allocate nothing: they read an immutable [List] through an atomic pointer, and a change replaces
// the whole slice of lists. [Sets] and [Feeds] load in the background, keep a copy of the last good content in the data folder
// so that a restart works while a source is away, and record what went wrong.
//
// A source is bounded in size and time, and a bad line of it is reported and skipped. Reports quote nothing of a source, and
// files are only read in folders that the configuration names, because who may use the API need not be allowed to read the
// server's files. The package resolves no names but those of its sources, asks no reputation service and never sends anything
// that the watched workloads did.
package intel
