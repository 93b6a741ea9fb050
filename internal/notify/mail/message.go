package mail

// Message is one mail to one person, before it is encoded.
type Message struct {
	To       string // address alone, without a name
	FromName string // replaces the sender's display name if it is not empty
	Subject  string
	Text     string
	HTML     string            // optional alternative to Text
	Headers  map[string]string // further headers; values are one line
	ID       string            // unique; becomes the left side of the Message-ID
}
