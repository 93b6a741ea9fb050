package custom

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// The bounds of a rule.
const (
	maxSteps      = 8
	maxBy         = 8
	maxExcept     = 200
	maxThreshold  = 1_000_000
	maxDistinct   = 256
	minWindow     = time.Second
	maxWindow     = 24 * time.Hour
	maxTitle      = 256
	maxExceptText = 1024
)

// Rule is one rule of the user's.
type Rule struct {
	Name     string
	Severity float64
	Title    string
	File     string
	Line     int
	Kinds    event.Kinds // that it asks agents for

	typ       string
	steps     []step
	threshold *threshold // nil: each event is a finding
	within    int64      // of a sequence, nanoseconds
	message   template
	object    int // field; -1 for what the event's kind suggests
	except    *exceptions
	// definition is a digest of the rule as written. Equal definitions keep their state when files are read again.
	definition [sha256.Size]byte
	state      *state
}

// Type returns the finding type of the rule.
func (r *Rule) Type() string { return r.typ }

// Form says how the rule judges, in few words.
func (r *Rule) Form() string {
	switch {
	case len(r.steps) > 1:
		return fmt.Sprintf("sequence of %d within %s", len(r.steps), time.Duration(r.within))
	case r.threshold != nil:
		if r.threshold.distinct >= 0 {
			return fmt.Sprintf("%d different within %s", r.threshold.count, time.Duration(r.threshold.within))
		}
		return fmt.Sprintf("%d within %s", r.threshold.count, time.Duration(r.threshold.within))
	}
	return "each event"
}

// step is one pattern of a rule, and the fields that say which group an event belongs to.
type step struct {
	condition *condition
	by        []int
}

// threshold asks for count events of a group within a time, or for count different values of a field.
type threshold struct {
	count    int64
	within   int64 // nanoseconds
	distinct int   // field; -1 for none
}

// rule reads one rule.
func (d *document) rule(n *yaml.Node, field string) *Rule {
	before := len(d.problems)
	r := &Rule{File: d.file, Line: n.Line, object: -1}
	var (
		thresholdNode, sequenceNode, patternNode *yaml.Node
		message, title                           located
		by                                       []int
		byNode                                   *yaml.Node
	)
	keep := func(to **yaml.Node) func(*yaml.Node, string) {
		return func(n *yaml.Node, _ string) { *to = n }
	}
	text := func(to *located, limit int) func(*yaml.Node, string) {
		return func(n *yaml.Node, field string) {
			if s, ok := d.text(n, field, limit); ok {
				*to = located{s, n, field}
			}
		}
	}
	var exceptNode *yaml.Node
	d.object(n, field,
		member{"name", true, func(n *yaml.Node, field string) {
			s, ok := d.text(n, field, finding.MaxCustomName)
			if ok && !finding.ValidCustomName(s) {
				d.fail(n, field, "%s is not a letter followed by letters, digits and the signs - _ .", describe(n))
				return
			}
			r.Name, r.typ = s, finding.CustomPrefix+s
		}},
		member{"severity", true, func(n *yaml.Node, field string) { r.Severity = d.severity(n, field) }},
		member{"title", false, text(&title, maxTitle)},
		member{"message", false, text(&message, maxTemplate)},
		member{"pattern", false, keep(&patternNode)},
		member{"threshold", false, keep(&thresholdNode)},
		member{"sequence", false, keep(&sequenceNode)},
		member{"object", false, func(n *yaml.Node, field string) {
			if f, ok := d.fieldName(n, field); ok {
				r.object = f
			}
		}},
		member{"except", false, keep(&exceptNode)},
	)
	switch {
	case patternNode == nil && sequenceNode == nil:
		if n.Kind == yaml.MappingNode {
			d.fail(n, field, "has neither a pattern nor a sequence")
		}
	case patternNode != nil && sequenceNode != nil:
		d.fail(sequenceNode, join(field, "sequence"), "a rule has a pattern or a sequence, not both")
	case sequenceNode != nil:
		if thresholdNode != nil {
			d.fail(thresholdNode, join(field, "threshold"), "a sequence has no threshold")
		}
		d.sequence(sequenceNode, join(field, "sequence"), r)
	default:
		s := step{}
		if thresholdNode != nil {
			t := &threshold{distinct: -1}
			var countNode *yaml.Node
			d.object(thresholdNode, join(field, "threshold"),
				member{"count", true, func(n *yaml.Node, field string) { t.count, _ = d.whole(n, field, 2, maxThreshold); countNode = n }},
				member{"within", true, func(n *yaml.Node, field string) {
					v, _ := d.duration(n, field, minWindow, maxWindow)
					t.within = int64(v)
				}},
				member{"by", false, func(n *yaml.Node, field string) { by, byNode = d.by(n, field), n }},
				member{"distinct", false, func(n *yaml.Node, field string) {
					if f, ok := d.fieldName(n, field); ok {
						t.distinct = f
					}
				}},
			)
			if t.distinct >= 0 && t.count > maxDistinct {
				d.fail(countNode, join(field, "threshold.count"), "of different values, at most %d can be counted", maxDistinct)
			}
			r.threshold = t
			s.by = by
			if byNode == nil {
				s.by = placeFields()
			}
		}
		s.condition, _ = d.condition(patternNode, join(field, "pattern"), thresholdNode != nil)
		r.steps = []step{s}
	}
	if exceptNode != nil {
		r.except = d.exceptions(exceptNode, join(field, "except"), false)
	}
	r.Title = title.text
	if r.Title == "" {
		r.Title = "Your rule " + r.Name + " found something."
	}
	if message.text == "" {
		message.text = "The {who} did what your rule " + r.Name + " describes."
	}
	t, offset, err := parseTemplate(message.text, len(r.steps))
	if err != nil {
		p := &Problem{File: d.file, Field: message.field, Text: err.Error()}
		if message.node != nil {
			p.Line, p.Column = message.node.Line, message.node.Column
			if message.node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && !strings.Contains(message.text, "\n") {
				p.Column += offset
			}
		}
		d.add(p)
	}
	r.message = t
	if len(d.problems) > before {
		return nil
	}
	for _, s := range r.steps {
		r.Kinds |= s.condition.kinds
	}
	r.definition = digest(n)
	return r
}

// placeFields is what groups events where a rule does not say: the container, or the host outside its containers.
func placeFields() []int {
	host, _ := detect.FieldByPath("host.id")
	container, _ := detect.FieldByPath("container.id")
	return []int{host, container}
}

func (d *document) sequence(n *yaml.Node, field string, r *Rule) {
	by, byLength := placeFields(), 0
	var stepsNode *yaml.Node
	d.object(n, field,
		member{"within", true, func(n *yaml.Node, field string) {
			v, _ := d.duration(n, field, minWindow, maxWindow)
			r.within = int64(v)
		}},
		member{"by", false, func(n *yaml.Node, field string) { by = d.by(n, field) }},
		member{"steps", true, func(n *yaml.Node, _ string) { stepsNode = n }},
	)
	if stepsNode == nil {
		return
	}
	at := join(field, "steps")
	d.list(stepsNode, at, maxSteps, func(n *yaml.Node, field string) {
		s := step{by: by}
		d.object(n, field,
			member{"pattern", true, func(n *yaml.Node, field string) {
				// Only the first step has to be rare: the others count only after it.
				s.condition, _ = d.condition(n, field, len(r.steps) > 0)
			}},
			member{"by", false, func(n *yaml.Node, field string) { s.by = d.by(n, field) }},
		)
		if len(r.steps) > 0 && len(s.by) != byLength {
			d.fail(n, field, "is grouped by %d fields, the first step by %d: they are compared in their order", len(s.by), byLength)
		}
		byLength = len(s.by)
		r.steps = append(r.steps, s)
	})
	if len(r.steps) == 1 {
		d.fail(stepsNode, at, "a sequence has at least two steps; for one, use pattern")
	}
	if len(r.steps) == 0 && stepsNode.Kind == yaml.SequenceNode && len(stepsNode.Content) == 0 {
		d.fail(stepsNode, at, "is empty")
	}
}

// by reads the fields that group events.
func (d *document) by(n *yaml.Node, field string) (fields []int) {
	for _, t := range d.texts(n, field, maxBy, 200) {
		if f, ok := d.lookup(t); ok {
			fields = append(fields, f)
		}
	}
	return fields
}

func (d *document) fieldName(n *yaml.Node, field string) (int, bool) {
	s, ok := d.text(n, field, 200)
	if !ok {
		return 0, false
	}
	return d.lookup(located{s, n, field})
}

func (d *document) lookup(t located) (int, bool) {
	f, ok := detect.FieldByPath(t.text)
	if !ok {
		d.fail(t.node, t.field, "there is no field %s%s", event.PrintableN(t.text, 100), suggest(t.text, fieldNames()))
	}
	return f, ok
}

var severities = map[string]float64{
	"low": finding.SeverityLow, "medium": finding.SeverityMedium, "high": finding.SeverityHigh, "critical": finding.SeverityCritical,
}

// severity reads low, medium, high, critical or a number from 1 to 10.
func (d *document) severity(n *yaml.Node, field string) float64 {
	s, ok := d.text(n, field, 20)
	if !ok {
		return 0
	}
	if v, ok := severities[strings.ToLower(s)]; ok {
		return v
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 1 && v <= 10) {
		d.fail(n, field, "want low, medium, high, critical or a number from 1 to 10, got %s", describe(n))
		return 0
	}
	return math.Round(v*10) / 10
}

// digest is of a node's content; where it stands does not matter.
func digest(n *yaml.Node) (sum [sha256.Size]byte) {
	h := sha256.New()
	left := maxNodes
	var add func(n *yaml.Node)
	add = func(n *yaml.Node) {
		if n.Kind == yaml.AliasNode && n.Alias != nil {
			n = n.Alias
		}
		if left--; left < 0 {
			return
		}
		fmt.Fprintf(h, "%d %s %d %s %d\n", n.Kind, n.ShortTag(), len(n.Value), n.Value, len(n.Content))
		for _, c := range n.Content {
			add(c)
		}
	}
	add(n)
	h.Sum(sum[:0])
	return sum
}
