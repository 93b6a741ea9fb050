package wire

import (
	"context"
	"fmt"
)

// Protocol is one of AWS's wire protocols.
type Protocol uint8

// The protocols.
const (
	RESTJSON Protocol = iota // path and method name the operation
	JSON11                   // X-Amz-Target names it
	Query                    // the form parameter Action names it, answers are XML
)

// Service is one AWS API: its names, its protocol and its operations.
type Service struct {
	ID            string // for people, e.g. EventBridge
	SigningName   string // the service in a signature's scope, e.g. events
	Version       string // API version, e.g. 2015-10-07
	Protocol      Protocol
	TargetPrefix  string // JSON11: what precedes the operation in X-Amz-Target
	Namespace     string // Query: the XML name space
	InternalError string // code of a failure that is the server's fault
	Operations    []Operation

	byName map[string]*Operation
	routes *route
}

// Operation is one operation of a Service. Those that the model knows but nobody implements have no Call.
type Operation struct {
	Name      string
	Method    string // RESTJSON
	URI       string // RESTJSON, e.g. /detector/{DetectorId}
	Status    int    // status of a success
	Anonymous bool   // may be called without a signature
	Wrapper   string // Query: the element around the result, "" when the operation returns nothing
	Input     *Shape
	Output    *Shape

	New  func() any                                     // a new input, a pointer to the struct of Input
	Call func(ctx context.Context, in any) (any, error) // takes what New made, returns a pointer to the struct of Output
}

// Index prepares the look-up of operations; the generated constructors call it. It panics on a contradiction in the model.
func (s *Service) Index() *Service {
	s.byName = make(map[string]*Operation, len(s.Operations))
	s.routes = &route{}
	for i := range s.Operations {
		op := &s.Operations[i]
		if s.byName[op.Name] != nil {
			panic(fmt.Sprintf("%s: operation %s is defined twice", s.ID, op.Name))
		}
		s.byName[op.Name] = op
		if s.Protocol == RESTJSON {
			s.routes.add(op)
		}
	}
	return s
}

// Operation returns the operation with the given name, or nil.
func (s *Service) Operation(name string) *Operation { return s.byName[name] }

// Bind returns op implemented by f. A nil output stands for an empty one.
func Bind[In, Out any](op Operation, f func(context.Context, *In) (*Out, error)) Operation {
	op.New = func() any { return new(In) }
	op.Call = func(ctx context.Context, in any) (any, error) {
		out, err := f(ctx, in.(*In))
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = new(Out)
		}
		return out, nil
	}
	return op
}
