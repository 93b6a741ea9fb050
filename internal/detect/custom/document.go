package custom

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"vedette.dev/vedette/internal/event"
)

// Problem is one mistake in a file.
type Problem struct {
	File   string
	Line   int    // from 1; 0 where the whole file is meant
	Column int    // from 1
	Field  string // such as rules[2].threshold.within
	Text   string
}

// Error is file:line:column: field: text, as editors and people read it.
func (p *Problem) Error() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if p.Field != "" {
		s += ": " + p.Field
	}
	return s + ": " + p.Text
}

// Problems is every mistake that was found, at most maxProblems.
type Problems []*Problem

const maxProblems = 100

// Error is one line for each.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns the problems as an error, nil when there are none.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// document reads one YAML file node by node, so that each mistake has a place.
type document struct {
	file     string
	problems Problems
	nodes    int // visited, aliases included: bounds what anchors can multiply
}

const (
	maxNodes = 1 << 19
	maxDepth = 32
)

func (d *document) fail(n *yaml.Node, field, format string, args ...any) {
	p := &Problem{File: d.file, Field: field, Text: fmt.Sprintf(format, args...)}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	d.add(p)
}

func (d *document) add(p *Problem) {
	if len(d.problems) < maxProblems {
		p.Text = event.PrintableN(p.Text, 500)
		d.problems = append(d.problems, p)
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

// parse returns the root of the file's only document, or nil where there is none.
func (d *document) parse(text []byte) *yaml.Node {
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var root yaml.Node
	if err := decoder.Decode(&root); err != nil {
		if !errors.Is(err, io.EOF) {
			d.syntax(err)
		}
		return nil
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		d.fail(&second, "", "a second document: put all rules below one 'rules:'")
		return nil
	case !errors.Is(err, io.EOF):
		d.syntax(err)
		return nil
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) != 1 {
		return nil
	}
	n := root.Content[0]
	if n.ShortTag() == "!!null" {
		return nil
	}
	return n
}

func (d *document) syntax(err error) {
	text := err.Error()
	p := &Problem{File: d.file, Text: yamlLine.ReplaceAllString(text, "")}
	if m := yamlLine.FindStringSubmatch(text); m != nil && m[1] != "" {
		p.Line, _ = strconv.Atoi(m[1])
		p.Column = 1
	}
	d.add(p)
}

// visit follows an alias and counts the node; nil when there are too many.
func (d *document) visit(n *yaml.Node, field string) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fail(n, field, "the file is too large: more than %d values, with anchors expanded", maxNodes)
		}
		return nil
	}
	return n
}

// member is what reads the value of one key.
type member struct {
	name     string
	required bool
	read     func(n *yaml.Node, field string)
}

// object reads a mapping. A key that no member has, or that is there twice, is a problem.
func (d *document) object(n *yaml.Node, field string, members ...member) {
	if n = d.visit(n, field); n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, field, "want keys and values, got %s", describe(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		at := join(field, name)
		k := slices.IndexFunc(members, func(m member) bool { return m.name == name })
		switch {
		case k < 0:
			names := make([]string, len(members))
			for i, m := range members {
				names[i] = m.name
			}
			d.fail(key, at, "there is no such key%s", suggest(name, names))
		case seen[name]:
			d.fail(key, at, "is there twice")
		default:
			members[k].read(value, at)
		}
		seen[name] = true
	}
	for _, m := range members {
		if m.required && !seen[m.name] {
			d.fail(n, join(field, m.name), "is missing")
		}
	}
}

// list reads a sequence of at most limit elements.
func (d *document) list(n *yaml.Node, field string, limit int, read func(n *yaml.Node, field string)) {
	if n = d.visit(n, field); n == nil {
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // a key whose entries are all commented out
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, field, "want a list, got %s", describe(n))
		return
	}
	if len(n.Content) > limit {
		d.fail(n, field, "has %d entries; at most %d are allowed", len(n.Content), limit)
		return
	}
	for i, c := range n.Content {
		read(c, fmt.Sprintf("%s[%d]", field, i))
	}
}

// texts reads one text or a list of them.
func (d *document) texts(n *yaml.Node, field string, limit, length int) (texts []located) {
	take := func(n *yaml.Node, field string) {
		if s, ok := d.text(n, field, length); ok {
			texts = append(texts, located{s, n, field})
		}
	}
	if n.Kind == yaml.SequenceNode || n.Kind == yaml.AliasNode && n.Alias != nil && n.Alias.Kind == yaml.SequenceNode {
		d.list(n, field, limit, take)
		return texts
	}
	take(n, field)
	return texts
}

// located is a text and where it stands.
type located struct {
	text  string
	node  *yaml.Node
	field string
}

// text reads a text of at most limit bytes that is not empty. Numbers and the like count as the text they are written as.
func (d *document) text(n *yaml.Node, field string, limit int) (string, bool) {
	if n = d.visit(n, field); n == nil {
		return "", false
	}
	switch {
	case n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" || n.ShortTag() == "!!binary":
		d.fail(n, field, "want a text, got %s", describe(n))
	case n.Value == "":
		d.fail(n, field, "is empty")
	case len(n.Value) > limit:
		d.fail(n, field, "has %d bytes; at most %d are allowed", len(n.Value), limit)
	default:
		return n.Value, true
	}
	return "", false
}

// whole reads a whole number from low to high.
func (d *document) whole(n *yaml.Node, field string, low, high int64) (int64, bool) {
	if n = d.visit(n, field); n == nil {
		return 0, false
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || v < low || v > high {
		d.fail(n, field, "want a whole number from %d to %d, got %s", low, high, describe(n))
		return 0, false
	}
	return v, true
}

// duration reads a time such as 90s or 1h30m.
func (d *document) duration(n *yaml.Node, field string, low, high time.Duration) (time.Duration, bool) {
	if n = d.visit(n, field); n == nil {
		return 0, false
	}
	v, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < low || v > high {
		d.fail(n, field, "want a time from %s to %s, such as 90s, 5m or 1h, got %s", low, high, describe(n))
		return 0, false
	}
	return v, true
}

// truth reads true or false.
func (d *document) truth(n *yaml.Node, field string) (value, ok bool) {
	if n = d.visit(n, field); n == nil {
		return false, false
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		d.fail(n, field, "want true or false, got %s", describe(n))
		return false, false
	}
	return strings.EqualFold(n.Value, "true"), true
}

// describe names what a node is, for the end of a sentence.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if n.ShortTag() == "!!null" {
		return "nothing"
	}
	return "'" + event.PrintableN(n.Value, 60) + "'"
}

func join(field, name string) string {
	if len(name) > 60 {
		name = name[:60] + "…"
	}
	if field == "" {
		return name
	}
	return field + "." + name
}

// suggest returns "; did you mean X?" for the name nearest to a mistyped one, or "; there are A, B …" for a few names.
func suggest(name string, names []string) string {
	best, distance := "", min(len(name), 1+max(2, min(len(name), 64)/3))
	for _, candidate := range names {
		if k := edits(name, candidate, distance); k < distance {
			best, distance = candidate, k
		}
	}
	switch {
	case best != "":
		return "; did you mean " + best + "?"
	case len(names) <= 12:
		return "; there are " + strings.Join(names, ", ")
	}
	return ""
}

// edits is the number of letters to change, add or leave out to get from a to b, or limit if it is not below.
func edits(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 200 {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, corner+1, row[j]+1)
		}
	}
	return min(row[len(b)], limit)
}
