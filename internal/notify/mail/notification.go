package mail

import (
	"encoding/json"
	"net/url"
	"strings"
	"unicode"
)

// Notification is one notification for one subscriber.
type Notification struct {
	MessageID       string
	TopicARN        string
	SubscriptionARN string
	To              string
	DisplayName     string // of the topic; may be empty
	Subject         string // as published; may be empty
	Body            string // as published
	UnsubscribeURL  string // a page that asks before it unsubscribes; empty: none
	OneClickURL     string // unsubscribes on POST, RFC 8058; empty: none
}

// The subjects of mails that are given none.
const (
	DefaultSubject      = "Vedette Notification Message"
	ConfirmationSubject = "Vedette Notification - Subscription Confirmation"
)

const maxSubject = 180 // characters of a subject that Vedette makes

// Notify writes a notification. An event of GuardDuty that was published without a subject becomes a report.
func Notify(n Notification) Message {
	m := n.message()
	if n.Subject == "" {
		if r := reportOf(n.Body); r != nil {
			m.Subject = r.subject
			m.Text = r.text() + n.footer()
			m.HTML = r.html(n)
			if r.thread != "" {
				m.Headers["References"] = "<" + r.thread + "@vedette>"
			}
			return m
		}
	}
	m.Text = visible(n.Body) + "\n" + n.footer()
	return m
}

// NotifyJSON writes a notification whose body is the given JSON document and nothing else.
func NotifyJSON(n Notification, document []byte) Message {
	m := n.message()
	m.Text = string(document) + "\n"
	return m
}

// message is what all notifications have in common.
func (n Notification) message() Message {
	m := Message{To: n.To, FromName: n.DisplayName, Subject: n.Subject, ID: n.MessageID, Headers: map[string]string{
		"X-Amz-Sns-Message-Id":       n.MessageID,
		"X-Amz-Sns-Subscription-Arn": n.SubscriptionARN,
		"Auto-Submitted":             "auto-generated", // RFC 3834: no out-of-office answers
	}}
	if m.Subject == "" {
		m.Subject = DefaultSubject
	}
	switch {
	case n.OneClickURL != "":
		m.Headers["List-Unsubscribe"] = "<" + n.OneClickURL + ">"
		if strings.HasPrefix(n.OneClickURL, "https:") { // RFC 8058 wants it secure
			m.Headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
		}
	case n.UnsubscribeURL != "":
		m.Headers["List-Unsubscribe"] = "<" + n.UnsubscribeURL + ">"
	}
	return m
}

// footer is what SNS puts below a message.
func (n Notification) footer() string {
	text := "\n--\n"
	if n.UnsubscribeURL != "" {
		text += "If you wish to stop receiving notifications from this topic, please click or visit the link below to unsubscribe:\n" + n.UnsubscribeURL + "\n\n"
	}
	return text + "Please do not reply directly to this email.\n"
}

// Confirmation asks someone whether they want the notifications of a topic.
type Confirmation struct {
	ID          string
	To          string
	TopicARN    string
	DisplayName string
	ConfirmURL  string
}

// Confirm writes the question.
func Confirm(c Confirmation) Message {
	p := page{Lead: "You have chosen to subscribe to the topic:", Topic: c.TopicARN, Ask: "To confirm this subscription, click or visit the link below (If this was in error no action is necessary):",
		Link: c.ConfirmURL, Label: "Confirm subscription", Footer: "Please do not reply directly to this email. The link is valid for three days."}
	return Message{To: c.To, FromName: c.DisplayName, Subject: ConfirmationSubject, ID: c.ID,
		Headers: map[string]string{"Auto-Submitted": "auto-generated"},
		Text:    p.Lead + "\n" + p.Topic + "\n\n" + p.Ask + "\n" + p.Link + "\n\n--\n" + p.Footer + "\n",
		HTML:    execute(confirmHTML, p)}
}

// page is what the template of a confirmation shows.
type page struct{ Lead, Topic, Ask, Link, Label, Footer string }

// visible returns a user's text without what a terminal or mail reader would obey instead of show. Line ends and tabs stay.
func visible(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c:
			return '\uFFFD'
		}
		return r
	}, s)
}

// reportOf returns the report of an event of GuardDuty, or nil if the text is something else.
func reportOf(body string) *report {
	if !strings.HasPrefix(strings.TrimLeft(body, " \r\n\t"), "{") {
		return nil
	}
	var e struct {
		DetailType string          `json:"detail-type"`
		Source     string          `json:"source"`
		Account    string          `json:"account"`
		Region     string          `json:"region"`
		Detail     json.RawMessage `json:"detail"`
	}
	if json.Unmarshal([]byte(body), &e) != nil || e.Source != "aws.guardduty" {
		return nil
	}
	switch e.DetailType {
	case "GuardDuty Finding":
		return findingReport(e.Detail)
	case "GuardDuty Runtime Protection Unhealthy", "GuardDuty Runtime Protection Healthy":
		return coverageReport(e.Detail, e.Account, e.Region)
	}
	return nil
}

// link reports whether a URL may be shown as a link.
func link(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}
