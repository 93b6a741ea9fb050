// Package sns keeps topics and subscriptions, as SNS defines them, and sends what is published to the subscribers.
//
// What goes in: messages, published by users or delivered by an event bus, inside a transaction. For every confirmed
// subscription whose filter policy lets the message pass, a delivery is written in that same transaction. What comes out:
// [Service.Run] takes the deliveries up as soon as the transaction commits, and sends mails through a Mailer and HTTP
// requests through a Poster. The two have queues and workers of their own, so that a mail relay that hangs holds up no web
// hook, and each HTTP host is a lane of its own.
//
// Delivery is at least once and in no promised order. Failures are repeated by SNS's schedules; what is given up stays as a
// dead letter in [MailQueue] or [HTTPQueue]. A delivery for a subscription that is gone is dropped.
//
// A subscription becomes active only when whoever reads the endpoint proves it with the token sent there. Tokens are stored
// as hashes only. All methods are safe for concurrent use. Who may do what is decided before.
package sns
