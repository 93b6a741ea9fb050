package awsapi

import (
	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/wire"
)

// outOfRange is GuardDuty's text for an input that its model does not allow.
const outOfRange = "The request is rejected because an invalid or out-of-range value is specified as an input parameter."

// invalidInput returns GuardDuty's answer to nearly everything it refuses.
func invalidInput(format string, args ...any) *wire.Error {
	e := guardduty.BadRequestException(format, args...)
	e.Type = "InvalidInputException"
	return e
}
