// Package awsapi is the AWS wire: one HTTP handler that answers the APIs of GuardDuty, EventBridge and SNS so that the aws
// command line and the SDKs work against it unchanged.
//
// A request goes through four steps: its form names the service and the operation, its signature (SigV4) is verified with
// the caller's secret key, its body is decoded and validated against the service's model, and the operation runs. Each
// service's operations are in the files of its name (guardduty*.go, eventbridge.go, sns.go), which implement the generated
// interface of the package of the same name below; sigv4 verifies signatures; wire has the protocols.
//
// The handler is safe for concurrent use and keeps nothing between requests. What comes from outside is bounded: bodies,
// nesting, parameters and lists. An operation that is not implemented is answered with the protocol's own error, never with
// an empty success. Errors of the server itself are logged with the request's id and answered without their text.
package awsapi

//go:generate go run ./gen
