package main

import (
	"fmt"
	"slices"
)

// model is the part of a service model that the generator reads; everything else, the documentation text first, is lost in
// trimming.
type model struct {
	Metadata   metadata              `json:"metadata"`
	Operations map[string]*operation `json:"operations"`
	Shapes     map[string]*shape     `json:"shapes"`
}

type metadata struct {
	APIVersion   string `json:"apiVersion"`
	Protocol     string `json:"protocol"`
	ServiceID    string `json:"serviceId"`
	SigningName  string `json:"signingName,omitempty"`
	Endpoint     string `json:"endpointPrefix"`
	TargetPrefix string `json:"targetPrefix,omitempty"`
	XMLNamespace string `json:"xmlNamespace,omitempty"`
}

type operation struct {
	HTTP   binding `json:"http"`
	Input  *ref    `json:"input,omitempty"`
	Output *ref    `json:"output,omitempty"`
	Kept   bool    `json:"kept,omitempty"` // ours: shapes are present and the operation is part of the interface
}

type binding struct {
	Method       string `json:"method"`
	RequestURI   string `json:"requestUri"`
	ResponseCode int    `json:"responseCode,omitempty"`
}

type ref struct {
	Shape        string `json:"shape"`
	Location     string `json:"location,omitempty"`
	LocationName string `json:"locationName,omitempty"`
	Wrapper      string `json:"resultWrapper,omitempty"`
}

type shape struct {
	Type      string         `json:"type"`
	Members   map[string]ref `json:"members,omitempty"`
	Required  []string       `json:"required,omitempty"`
	Member    *ref           `json:"member,omitempty"`
	Key       *ref           `json:"key,omitempty"`
	Value     *ref           `json:"value,omitempty"`
	Flattened bool           `json:"flattened,omitempty"`
	Min       *float64       `json:"min,omitempty"`
	Max       *float64       `json:"max,omitempty"`
	Pattern   string         `json:"pattern,omitempty"`
	Enum      []string       `json:"enum,omitempty"`
	Sensitive bool           `json:"sensitive,omitempty"`
	Exception bool           `json:"exception,omitempty"`
	Fault     bool           `json:"fault,omitempty"`
	Error     *errorTrait    `json:"error,omitempty"`

	// Ours: passed through as JSON; what is known of it are its leaves, the types of its dotted paths.
	Opaque bool              `json:"opaque,omitempty"`
	Leaves map[string]string `json:"leaves,omitempty"`
}

type errorTrait struct {
	Code   string `json:"code,omitempty"`
	Status int    `json:"httpStatusCode,omitempty"`
}

// trim reduces a full model to the kept operations and what they reach, the errors, and the other operations' names.
func (s service) trim(m *model) error {
	for _, name := range s.operations {
		if m.Operations[name] == nil {
			return fmt.Errorf("the model has no operation %s", name)
		}
	}
	keep := map[string]bool{}
	var reach func(name string) error
	reach = func(name string) error {
		if keep[name] {
			return nil
		}
		keep[name] = true
		sh := m.Shapes[name]
		if sh == nil {
			return fmt.Errorf("the model has no shape %s", name)
		}
		if slices.Contains(s.opaque, name) {
			leaves := map[string]string{}
			m.leaves(leaves, "", name, 0)
			*sh = shape{Type: "structure", Opaque: true, Leaves: leaves}
			return nil
		}
		for _, r := range []*ref{sh.Member, sh.Key, sh.Value} {
			if r != nil {
				if err := reach(r.Shape); err != nil {
					return err
				}
			}
		}
		for _, member := range sh.Members {
			if err := reach(member.Shape); err != nil {
				return err
			}
		}
		return nil
	}
	for name, op := range m.Operations {
		if !slices.Contains(s.operations, name) {
			op.Input, op.Output = nil, nil
			continue
		}
		op.Kept = true
		for _, r := range []*ref{op.Input, op.Output} {
			if r != nil {
				if err := reach(r.Shape); err != nil {
					return err
				}
			}
		}
	}
	for name, sh := range m.Shapes {
		switch {
		case keep[name]:
		case sh.Exception:
			sh.Members, sh.Required = nil, nil
		default:
			delete(m.Shapes, name)
		}
	}
	return nil
}

// leaves adds the dotted paths below a shape, with the types of what is there. Lists add nothing to a path, as in event
// patterns; a map is a leaf.
func (m *model) leaves(dst map[string]string, path, name string, depth int) {
	sh := m.Shapes[name]
	switch {
	case depth > 32: // a recursive shape
	case sh.Type == "list":
		m.leaves(dst, path, sh.Member.Shape, depth+1)
	case sh.Type == "structure":
		for member, r := range sh.Members {
			below := wireName(member, r)
			if path != "" {
				below = path + "." + below
			}
			m.leaves(dst, below, r.Shape, depth+1)
		}
	default:
		dst[path] = sh.Type
	}
}
