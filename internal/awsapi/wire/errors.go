package wire

import (
	"fmt"
	"net/http"
)

// Error is an error in AWS's form. Operations return it to refuse a request; any other error is answered as an internal
// failure without its text.
type Error struct {
	Code    string // e.g. ResourceNotFoundException
	Message string
	Status  int    // HTTP status; 0 means 400
	Type    string // GuardDuty's second classification, e.g. InvalidInputException; usually empty
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// HTTPStatus returns the status of the answer.
func (e *Error) HTTPStatus() int {
	if e.Status == 0 {
		return http.StatusBadRequest
	}
	return e.Status
}

// Errorf returns an error with the given code and HTTP status.
func Errorf(code string, status int, format string, args ...any) *Error {
	return &Error{Code: code, Status: status, Message: fmt.Sprintf(format, args...)}
}

// ValidationError lists how an input violates the constraints of its model.
type ValidationError struct {
	Violations []string
}

// Error returns AWS's text, e.g. "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member
// must not be null".
func (e *ValidationError) Error() string {
	noun := "errors"
	if len(e.Violations) == 1 {
		noun = "error"
	}
	text := fmt.Sprintf("%d validation %s detected: ", len(e.Violations), noun)
	for i, v := range e.Violations {
		if i > 0 {
			text += "; "
		}
		text += v
	}
	return text
}

// SerializationError says that a request does not have the form of its protocol or a value not the type of its member.
type SerializationError struct {
	Message string
}

func (e *SerializationError) Error() string { return e.Message }

func serializationErrorf(format string, args ...any) error {
	return &SerializationError{Message: fmt.Sprintf(format, args...)}
}

// NotImplemented returns the error of an operation that the service's model has and this server has not. Its code is
// replaced by the protocol's own.
func NotImplemented(operation string) *Error {
	return &Error{Code: notImplemented, Message: "The operation " + operation + " is not implemented by this server."}
}

// notImplemented is the code of AWS's own for an operation that an endpoint does not know.
const notImplemented = "UnknownOperationException"

// IsNotImplemented reports whether err says that the operation is not implemented.
func IsNotImplemented(err *Error) bool { return err.Code == notImplemented }
