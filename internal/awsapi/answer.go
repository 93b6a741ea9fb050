package awsapi

import (
	"errors"
	"net/http"
	"strconv"

	"vedette.dev/vedette/internal/awsapi/sigv4"
	"vedette.dev/vedette/internal/awsapi/wire"
)

// describe turns any error into the one that the service's protocol has for it.
func (c *call) describe(err error) *wire.Error {
	var (
		known         *wire.Error
		invalid       *wire.ValidationError
		malformed     *wire.SerializationError
		unauthorised  *sigv4.Error
		guardDuty     = c.service.Protocol == wire.RESTJSON
		isQuery       = c.service.Protocol == wire.Query
		badRequest    = func(message string) *wire.Error { return invalidInput("%s", message) }
		withCode      = func(code, text string) *wire.Error { return &wire.Error{Code: code, Message: text} }
		notRecognised = func(e *wire.Error) *wire.Error {
			switch {
			case guardDuty:
				return badRequest(e.Message)
			case isQuery:
				return withCode("InvalidAction", e.Message)
			}
			return e
		}
	)
	switch {
	case errors.As(err, &known):
		if wire.IsNotImplemented(known) && c.op != nil {
			return notRecognised(known)
		}
		return known
	case errors.As(err, &unauthorised):
		return c.unauthorised(unauthorised)
	case errors.As(err, &invalid):
		switch {
		case guardDuty:
			return badRequest(outOfRange + " " + invalid.Error())
		case isQuery:
			return withCode("ValidationError", invalid.Error())
		}
		return withCode("ValidationException", invalid.Error())
	case errors.As(err, &malformed):
		switch {
		case guardDuty:
			return badRequest(outOfRange + " " + malformed.Message)
		case isQuery:
			return withCode("MalformedInput", malformed.Message)
		}
		return withCode("SerializationException", malformed.Message)
	}
	return wire.Errorf(c.service.InternalError, http.StatusInternalServerError, "The request failed because of an internal error.")
}

// unauthorised names the refusal as the service's protocol does. The JSON protocol answers it with status 400.
func (c *call) unauthorised(e *sigv4.Error) *wire.Error {
	names := map[sigv4.Reason][2]string{ // Query, the JSON protocols
		sigv4.Missing:    {"MissingAuthenticationToken", "MissingAuthenticationTokenException"},
		sigv4.Incomplete: {"IncompleteSignature", "IncompleteSignatureException"},
		sigv4.UnknownKey: {"InvalidClientTokenId", "UnrecognizedClientException"},
		sigv4.Mismatch:   {"SignatureDoesNotMatch", "InvalidSignatureException"},
		sigv4.Expired:    {"RequestExpired", "InvalidSignatureException"},
	}[e.Reason]
	switch c.service.Protocol {
	case wire.Query:
		return &wire.Error{Code: names[0], Status: http.StatusForbidden, Message: e.Message}
	case wire.JSON11:
		return &wire.Error{Code: names[1], Status: http.StatusBadRequest, Message: e.Message}
	}
	return &wire.Error{Code: names[1], Status: http.StatusForbidden, Message: e.Message}
}

func (c *call) writeOutput(w http.ResponseWriter, out any) {
	var body []byte
	switch {
	case c.service.Protocol == wire.Query:
		body = wire.AppendXML(nil, c.service, c.op, out, c.id)
	case c.op.Status == http.StatusNoContent:
	case c.service.Protocol == wire.JSON11 && c.op.Output.Members == nil:
		// Operations that return nothing answer with no body at all.
	default:
		body = wire.AppendJSON(nil, c.op.Output, out)
	}
	c.write(w, c.op.Status, body)
}

func (c *call) writeError(w http.ResponseWriter, e *wire.Error) {
	var body []byte
	status := e.HTTPStatus()
	if c.service.Protocol == wire.Query {
		body = wire.AppendXMLError(nil, c.service, e.Code, e.Message, status < 500, c.id)
	} else {
		kind := e.Code
		if e.Type != "" {
			kind = e.Type
		}
		body = append(body, `{"__type":`...)
		body = wire.AppendString(body, kind)
		body = append(body, `,"message":`...)
		body = wire.AppendString(body, e.Message)
		if e.Type != "" {
			body = append(body, `,"type":`...)
			body = wire.AppendString(body, e.Type)
		}
		body = append(body, '}')
		w.Header().Set("X-Amzn-ErrorType", e.Code)
	}
	c.write(w, status, body)
}

func (c *call) write(w http.ResponseWriter, status int, body []byte) {
	contentType := map[wire.Protocol]string{
		wire.RESTJSON: "application/json",
		wire.JSON11:   "application/x-amz-json-1.1",
		wire.Query:    "text/xml",
	}[c.service.Protocol]
	header := w.Header()
	header.Set("X-Amzn-RequestId", c.id)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if status != http.StatusNoContent {
		header.Set("Content-Type", contentType)
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	// A client that went away does not concern the server.
	_, _ = w.Write(body)
}
