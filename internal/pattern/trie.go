package pattern

import (
	"bytes"
	"strings"
)

// node is one segment of the paths that a Set names. A path is the names on the way to its value joined by dots, so the
// event {"a":{"b":1}} and the event {"a.b":1} have the same path.
type node struct {
	field    int32 // the field with this path, -1 for none
	below    int32 // fields at this path and below it
	first    [4]uint64
	empty    bool // a child's name is empty
	names    []string
	children []*node
	table    map[string]*node // when there are many children
}

// manyChildren is from how many children on a node uses a hash table.
const manyChildren = 6

func newNode() *node { return &node{field: -1} }

// insert adds a path and returns its node.
func (n *node) insert(path string) *node {
	n.below++
	for segment := range strings.SplitSeq(path, ".") {
		next := n.lookup([]byte(segment))
		if next == nil {
			next = newNode()
			n.names = append(n.names, segment)
			n.children = append(n.children, next)
			if segment == "" {
				n.empty = true
			} else {
				n.first[segment[0]>>6] |= 1 << (segment[0] & 63)
			}
			if len(n.names) >= manyChildren {
				n.table = make(map[string]*node, len(n.names))
				for i, name := range n.names {
					n.table[name] = n.children[i]
				}
			}
		}
		n = next
		n.below++
	}
	return n
}

func (n *node) lookup(segment []byte) *node {
	if n.table != nil {
		return n.table[string(segment)]
	}
	for i, name := range n.names {
		if name == string(segment) {
			return n.children[i]
		}
	}
	return nil
}

// child returns the node that an event's key leads to, nil when no pattern names anything there. A key with dots is several
// segments.
func (n *node) child(name []byte) *node {
	if len(name) == 0 || n.first[name[0]>>6]&(1<<(name[0]&63)) == 0 {
		if !n.empty || (len(name) > 0 && name[0] != '.') {
			return nil
		}
	}
	if c := n.lookup(name); c != nil {
		return c
	}
	for {
		dot := bytes.IndexByte(name, '.')
		if dot < 0 {
			return n.lookup(name)
		}
		if n = n.lookup(name[:dot]); n == nil {
			return nil
		}
		name = name[dot+1:]
	}
}
