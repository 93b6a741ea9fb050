package bus

import "fmt"

// Error refuses a request in AWS's words.
type Error struct {
	Code    string // e.g. ResourceNotFoundException
	Message string
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// The codes of an Error.
const (
	CodeAlreadyExists  = "ResourceAlreadyExistsException"
	CodeNotFound       = "ResourceNotFoundException"
	CodeLimitExceeded  = "LimitExceededException"
	CodeInvalidPattern = "InvalidEventPatternException"
	CodeValidation     = "ValidationException"
)

func refuse(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// DeliveryError is how a Target refuses an event: why, in the terms of a dead letter's ERROR_CODE, and whether trying again
// can help. Any other error of a Target is tried again.
type DeliveryError struct {
	Code      string // NO_RESOURCE, NO_PERMISSIONS, …
	Permanent bool
	Err       error
}

// Error returns the code and the cause.
func (e *DeliveryError) Error() string { return e.Code + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *DeliveryError) Unwrap() error { return e.Err }
