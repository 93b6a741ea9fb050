package sns

import "fmt"

// Error refuses a request in AWS's words.
type Error struct {
	Code    string // e.g. InvalidParameter
	Status  int    // HTTP status
	Message string
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func invalid(format string, args ...any) error {
	return &Error{"InvalidParameter", 400, "Invalid parameter: " + fmt.Sprintf(format, args...)}
}

func notFound(what string) error { return &Error{"NotFound", 404, what + " does not exist"} }

var errUnauthorised = &Error{"AuthorizationError", 403, "Unsubscribing from this subscription needs a signed request."}
