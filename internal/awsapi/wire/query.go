package wire

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a Query request. PublishBatch with ten entries of ten attributes each needs some 330 parameters, three levels
// of lists and maps deep.
const (
	maxParameters = 4096
	maxParts      = 16
)

// Form is the parameters of a Query request: those of the query string or the body, each name once.
type Form map[string]string

// ParseForm reads application/x-www-form-urlencoded text. The first of several equal names wins.
func ParseForm(text string) (Form, error) {
	form := Form{}
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, serializationErrorf("A parameter name is not correctly encoded.")
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, serializationErrorf("The value of parameter '%s' is not correctly encoded.", truncate(name, 64))
		}
		if _, ok := form[name]; ok {
			continue
		}
		if len(form) == maxParameters {
			return nil, serializationErrorf("The request has more than %d parameters.", maxParameters)
		}
		form[name] = value
	}
	return form, nil
}

// node is a parameter name's parts as a tree: A.member.1 and A.member.2 share A and member.
type node struct {
	value    string
	hasValue bool
	children map[string]*node
}

func (n *node) child(name string) *node {
	if n == nil {
		return nil
	}
	return n.children[name]
}

// ParseQuery returns the tree of a Query request's parameters in the form that Decode takes: lists from X.member.N, maps
// from X.entry.N.key and X.entry.N.value.
func ParseQuery(shape *Shape, form Form) (map[string]any, error) {
	root := &node{}
	for name, value := range form {
		if strings.Count(name, ".") >= maxParts {
			return nil, serializationErrorf("The parameter '%s' has too many parts.", truncate(name, 64))
		}
		n := root
		for part := range strings.SplitSeq(name, ".") {
			if n.children == nil {
				n.children = map[string]*node{}
			}
			if n.children[part] == nil {
				n.children[part] = &node{}
			}
			n = n.children[part]
		}
		n.value, n.hasValue = value, true
	}
	tree, err := root.structure(shape)
	if err != nil {
		return nil, err
	}
	return tree, nil
}

func (n *node) structure(s *Shape) (map[string]any, error) {
	tree := make(map[string]any, len(s.Members))
	for i := range s.Members {
		m := &s.Members[i]
		child := n.children[m.Wire]
		if child == nil {
			continue
		}
		v, err := child.tree(m.Shape)
		if err != nil {
			return nil, err
		}
		if v != nil {
			tree[m.Wire] = v
		}
	}
	return tree, nil
}

// tree returns nil where the parameters give no value at all.
func (n *node) tree(s *Shape) (any, error) {
	switch s.Kind {
	case Structure:
		if n.children == nil {
			return nil, nil
		}
		return n.structure(s)
	case List:
		return n.list(s)
	case Map:
		return n.mapping(s)
	}
	if !n.hasValue {
		return nil, nil
	}
	return Text(n.value), nil
}

func (n *node) list(s *Shape) (any, error) {
	holder := n
	if !s.Flattened {
		holder = n.child(or(s.ElementName, "member"))
	}
	items, err := holder.items()
	if err != nil {
		return nil, err
	}
	if items == nil {
		if n.hasValue && n.value == "" {
			return []any{}, nil // botocore spells an empty list as "X="
		}
		return nil, nil
	}
	list := make([]any, len(items))
	for i, item := range items {
		if list[i], err = item.tree(s.Element); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (n *node) mapping(s *Shape) (any, error) {
	holder := n
	if !s.Flattened {
		holder = n.child("entry")
	}
	items, err := holder.items()
	if err != nil {
		return nil, err
	}
	if items == nil {
		if n.hasValue && n.value == "" {
			return map[string]any{}, nil
		}
		return nil, nil
	}
	tree := make(map[string]any, len(items))
	for _, item := range items {
		key := item.child(or(s.KeyName, "key"))
		if key == nil || !key.hasValue {
			return nil, serializationErrorf("A map entry has no key.")
		}
		if _, twice := tree[key.value]; twice {
			return nil, serializationErrorf("The map key '%s' is given twice.", truncate(key.value, 64))
		}
		value := item.child(or(s.ValueName, "value"))
		switch {
		case value == nil && s.Element.Kind == Structure:
			tree[key.value] = map[string]any{}
		case value == nil:
			return nil, serializationErrorf("The map entry '%s' has no value.", truncate(key.value, 64))
		default:
			v, err := value.tree(s.Element)
			if err != nil {
				return nil, err
			}
			if v == nil && s.Element.Kind == Structure {
				v = map[string]any{}
			}
			tree[key.value] = v
		}
	}
	return tree, nil
}

// items returns the children named by numbers from 1, in their order; gaps close up.
func (n *node) items() ([]*node, error) {
	if n == nil || len(n.children) == 0 {
		return nil, nil
	}
	type numbered struct {
		number int
		node   *node
	}
	all := make([]numbered, 0, len(n.children))
	for name, child := range n.children {
		number, err := strconv.Atoi(name)
		if err != nil || number < 0 || number > 1<<20 || strconv.Itoa(number) != name {
			return nil, serializationErrorf("'%s' is not an index of a list.", truncate(name, 64))
		}
		all = append(all, numbered{number, child})
	}
	slices.SortFunc(all, func(a, b numbered) int { return a.number - b.number })
	items := make([]*node, len(all))
	for i := range all {
		items[i] = all[i].node
	}
	return items, nil
}

func or(name, fallback string) string {
	if name == "" {
		return fallback
	}
	return name
}
