// Package coverage answers which clusters are watched, and says so when one stops being.
//
// What goes in: what should be watched (the inventory: tasks and their containers) and who reports (the agents'
// heartbeats with the workloads they see). What comes out: one [Row] per cluster with a status and its issues, in the shape
// of GuardDuty's ListCoverage, and an event on the default bus for each change of status, written in the same transaction
// as the row.
//
// One goroutine decides: it wakes for a heartbeat that changes something, for a change of the inventory, and for the next
// time at which silence could turn into an issue. Heartbeats arrive from any goroutine and never block it. Without an inventory, or while an
// inventory cannot tell, what an agent reported last stands for what should be watched, so that an agent that falls silent is noticed.
//
// Times are measured with the monotonic clock and only shown with the wall clock, so that a clock that jumps makes
// nobody unhealthy. The package never asks agents anything and never starts or stops one.
package coverage
