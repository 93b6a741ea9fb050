package demo

import (
	"context"
	"time"

	"vedette.dev/vedette/internal/notify/smtp/sink"
)

// mailbox reads the mails that the embedded sink keeps, each once.
type mailbox struct {
	folder string
	taken  map[string]bool // ids of mails that a step has taken
	read   map[string]mail
}

// mail is one kept mail.
type mail struct {
	id      string
	stored  time.Time // when the sink had it on disk
	subject string
	text    string
}

func newMailbox(folder string) *mailbox {
	return &mailbox{folder: folder, taken: map[string]bool{}, read: map[string]mail{}}
}

// wait returns the first mail that no step has taken and that is the one looked for.
func (b *mailbox) wait(ctx context.Context, limit time.Duration, isIt func(mail) bool) (mail, error) {
	var found mail
	err := wait(ctx, limit, "the mail", func() (bool, error) {
		list, err := sink.List(b.folder)
		if err != nil {
			return false, err
		}
		for _, entry := range list {
			if b.taken[entry.ID] {
				continue
			}
			m, ok := b.read[entry.ID]
			if !ok {
				content, err := sink.Read(b.folder, entry.ID)
				if err != nil {
					return false, err
				}
				m = mail{id: entry.ID, stored: entry.Time, subject: entry.Subject, text: content.Text}
				b.read[entry.ID] = m
			}
			if isIt(m) {
				b.taken[entry.ID], found = true, m
				return true, nil
			}
		}
		return false, nil
	})
	return found, err
}
