package wire

import (
	"net/url"
	"strings"
)

// route is one node of the tree of REST paths: a literal segment is preferred to a label.
type route struct {
	literal map[string]*route
	label   *route
	methods map[string]*Operation
}

func (r *route) add(op *Operation) {
	for _, segment := range strings.Split(strings.TrimPrefix(op.URI, "/"), "/") {
		if strings.HasPrefix(segment, "{") {
			if r.label == nil {
				r.label = &route{}
			}
			r = r.label
			continue
		}
		if r.literal == nil {
			r.literal = map[string]*route{}
		}
		if r.literal[segment] == nil {
			r.literal[segment] = &route{}
		}
		r = r.literal[segment]
	}
	if r.methods == nil {
		r.methods = map[string]*Operation{}
	}
	if r.methods[op.Method] != nil {
		panic("two operations at " + op.Method + " " + op.URI)
	}
	r.methods[op.Method] = op
}

// Route returns the operation at a method and an escaped path, with the values of the path's labels by their names. known
// tells whether any operation has this path, whatever the method.
func (s *Service) Route(method, escapedPath string) (op *Operation, labels map[string]string, known bool) {
	segments := strings.Split(strings.TrimPrefix(escapedPath, "/"), "/")
	if len(segments) > 8 {
		return nil, nil, false
	}
	var values []string
	node := s.routes
	for _, segment := range segments {
		if next := node.literal[segment]; next != nil {
			node = next
			continue
		}
		value, err := url.PathUnescape(segment)
		if node.label == nil || err != nil || segment == "" {
			return nil, nil, false
		}
		values = append(values, value)
		node = node.label
	}
	op = node.methods[method]
	if op == nil {
		return nil, nil, node.methods != nil
	}
	labels = make(map[string]string, len(values))
	i := 0
	for _, segment := range strings.Split(op.URI, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			labels[strings.TrimSuffix(name, "}")] = values[i]
			i++
		}
	}
	return op, labels, true
}

// Owns reports whether the first segment of a path belongs to the service.
func (s *Service) Owns(escapedPath string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(escapedPath, "/"), "/")
	return s.routes != nil && s.routes.literal[first] != nil
}
