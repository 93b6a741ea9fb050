// Package bus is the event bus, as EventBridge defines it: buses, rules with event patterns, targets with input
// transformers, retries and dead letters. It knows JSON envelopes, not findings.
//
// What goes in: events, through [Bus.Put] inside the transaction of whoever made them, and through [Bus.PutEvents] from
// users. All enabled rules of the bus are matched at once, and for each target of each rule that matches a delivery is
// written in that same transaction: an event that is stored will be delivered, one that is rolled back never was. What
// comes out: [Bus.Run] takes the deliveries up as soon as the transaction commits and hands each to the Target that serves
// the service of its ARN.
//
// Delivery is at least once and in no promised order. A failed delivery is repeated with exponential back-off within the
// target's retry policy; then, or when trying again cannot help, it stays as a dead letter in the queue [Queue] of the store.
// Nothing is dropped without one, except events for a bus that does not exist, as AWS does.
//
// All methods are safe for concurrent use. The bus never looks at who may do what; that is decided before.
package bus
