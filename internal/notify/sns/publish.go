package sns

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/store"
)

// Message is what is published.
type Message struct {
	Subject    string // may be empty
	Message    string
	Structure  string // "json": Message is an object of messages by protocol
	Attributes map[string]Attribute
}

// Attribute is a message attribute. The value of a Binary one is in Base64.
type Attribute struct {
	Type  string `json:"Type"`
	Value string `json:"Value"`
}

// maxEvent is the largest input that an event bus may deliver: the largest event and room for its envelope.
const maxEvent = 2 << 20

var attributeName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// Publish sends a message to all subscribers of a topic that let it pass, and returns its id.
func (s *Service) Publish(tx *store.Tx, topicARN string, m Message) (string, error) {
	return s.publish(tx, topicARN, m, 0)
}

// publish publishes a message of at most limit bytes; 0 means the topic's own limit.
func (s *Service) publish(tx *store.Tx, topicARN string, m Message, limit int) (string, error) {
	t, err := s.Topic(tx, topicARN)
	if err != nil {
		return "", err
	}
	if limit == 0 {
		limit = defaultMaxMessage
		if n, err := strconv.Atoi(t.Attributes["MaximumMessageSize"]); err == nil {
			limit = n
		}
	}
	byProtocol, err := m.check(limit)
	if err != nil {
		return "", err
	}
	entries, err := subscriptions.List(tx, t.Name+"/", "", 0)
	if err != nil {
		return "", err
	}
	id, now := newID(), time.Now().UTC()
	sent, filtered := 0, 0
	for _, e := range entries {
		sub := e.Value
		if sub.Pending || sub.Deleted {
			continue
		}
		if !s.filters.pass(&sub, &m) {
			filtered++
			continue
		}
		text := m.Message
		if byProtocol != nil {
			var ok bool
			if text, ok = byProtocol[sub.Protocol]; !ok {
				text = byProtocol["default"]
			}
		}
		if err := s.enqueue(tx, &sub, delivery{Kind: kindNotification, MessageID: id, Timestamp: now, Subject: m.Subject, Message: text, Attributes: m.Attributes}); err != nil {
			return "", err
		}
		sent++
	}
	tx.AfterCommit(func() { s.metrics.published(sent, filtered) })
	return id, nil
}

// Deliver publishes an event's input, for which the bus calls it. A topic that is not there will not come back by waiting.
func (s *Service) Deliver(tx *store.Tx, topicARN string, input []byte) error {
	// Events may be larger than the messages of users: an alert must not be lost because an attacker made it long.
	_, err := s.publish(tx, topicARN, Message{Message: string(bytes.ToValidUTF8(input, []byte("\uFFFD")))}, maxEvent)
	if e, ok := err.(*Error); ok {
		code := "NO_RESOURCE"
		if e.Code != "NotFound" {
			code = "INVALID_PARAMETER"
		}
		return &bus.DeliveryError{Code: code, Permanent: true, Err: e}
	}
	return err
}

// Size returns what a message counts for in the limit of a topic.
func (m *Message) Size() int {
	n := len(m.Message)
	for name, a := range m.Attributes {
		n += len(name) + len(a.Type) + len(a.Value)
	}
	return n
}

// check reports what is wrong with a message; of one that is structured it returns the messages by protocol.
func (m *Message) check(limit int) (map[string]string, error) {
	if m.Message == "" {
		return nil, invalid("Empty message")
	}
	if m.Size() > limit {
		return nil, invalid("Message too long")
	}
	if !utf8.ValidString(m.Message) || !utf8.ValidString(m.Subject) {
		return nil, invalid("Message must be UTF-8")
	}
	if m.Subject != "" && (utf8.RuneCountInString(m.Subject) > 100 || strings.ContainsFunc(m.Subject, func(r rune) bool { return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 })) {
		return nil, invalid("Subject")
	}
	for name, a := range m.Attributes {
		if err := checkAttribute(name, a); err != nil {
			return nil, err
		}
	}
	switch m.Structure {
	case "":
		return nil, nil
	case "json":
	default:
		return nil, invalid("MessageStructure")
	}
	var raw map[string]any
	if json.Unmarshal([]byte(m.Message), &raw) != nil {
		return nil, invalid("Message Structure - JSON message body failed to parse")
	}
	texts := map[string]string{}
	for k, v := range raw {
		if text, ok := v.(string); ok {
			texts[k] = text
		}
	}
	if texts["default"] == "" {
		return nil, invalid("Message Structure - No default entry in JSON message body")
	}
	return texts, nil
}

func refuseAttribute(format string, args ...any) error {
	e := invalid(format, args...).(*Error)
	return &Error{"ParameterValueInvalid", 400, strings.TrimPrefix(e.Message, "Invalid parameter: ")}
}

func checkAttribute(name string, a Attribute) error {
	switch {
	case len(name) > 256 || name == "":
		return refuseAttribute("Length of message attribute name must be less than 256 bytes.")
	case name[0] == '.':
		return refuseAttribute("Invalid message attribute name starting with character '.' was found.")
	case name[len(name)-1] == '.':
		return refuseAttribute("Invalid message attribute name ending with character '.' was found.")
	case strings.Contains(name, ".."):
		return refuseAttribute("Message attribute name can not have successive '.' character.")
	case !attributeName.MatchString(name):
		bad := strings.IndexFunc(name, func(r rune) bool { return !attributeName.MatchString(string(r)) })
		r, _ := utf8.DecodeRuneInString(name[bad:])
		return refuseAttribute("Invalid non-alphanumeric character '#x%X' was found in the message attribute name. Can only include alphanumeric characters, hyphens, underscores, or dots.", r)
	}
	kind, _, _ := strings.Cut(a.Type, ".")
	switch kind {
	case "String", "Number", "Binary":
	default:
		return refuseAttribute("The message attribute '%s' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.", name)
	}
	if a.Value == "" {
		return refuseAttribute("The message attribute '%s' must contain non-empty message attribute value for message attribute type '%s'.", name, a.Type)
	}
	if kind == "Number" {
		// ParseFloat would also take NaN, Infinity and hexadecimal digits, which no filter policy can compare.
		if _, err := strconv.ParseFloat(a.Value, 64); err != nil || strings.Trim(a.Value, "+-.0123456789eE") != "" {
			return refuseAttribute("Could not cast message attribute '%s' value to number.", name)
		}
	}
	if kind == "Binary" {
		if _, err := base64.StdEncoding.DecodeString(a.Value); err != nil {
			return refuseAttribute("The message attribute '%s' with type 'Binary' must use field 'Binary'.", name)
		}
	}
	return nil
}
