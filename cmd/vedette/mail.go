package main

import (
	"errors"
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/notify/smtp/sink"
)

type mailCommand struct {
	ID     string `arg:"" optional:"" help:"Show this mail: its id, the beginning of it, or 'last'."`
	Raw    bool   `help:"Show the mail as it was sent, headers included."`
	Limit  int    `default:"20" help:"List at most this many, the newest; 0 for all."`
	Output string `enum:"table,json" default:"table" help:"table or json."`
}

func (c mailCommand) Run(g *globals) error {
	at, err := app.Data(g.config.Data).Endpoints()
	if err != nil {
		return err
	}
	if at.Mails == "" {
		return errors.New("the server sends mails through a relay and keeps none")
	}
	list, err := sink.List(at.Mails)
	if err != nil {
		return err
	}
	if c.ID == "" {
		if c.Limit > 0 && len(list) > c.Limit {
			list = list[len(list)-c.Limit:]
		}
		if c.Output == "json" {
			if list == nil {
				list = []sink.Mail{}
			}
			return printJSON(g.out, list)
		}
		t := newTable(g.out, "ID", "TIME", "TO", "SUBJECT")
		for _, m := range list {
			t.row(m.ID, m.Time.Local().Format("2006-01-02 15:04:05"), m.To, m.Subject)
		}
		if len(list) == 0 {
			fmt.Fprintln(g.errs, "No mails.")
		}
		return t.flush()
	}
	if c.ID == "last" {
		if len(list) == 0 {
			return errors.New("there is no mail yet")
		}
		c.ID = list[len(list)-1].ID
	}
	m, err := sink.Read(at.Mails, c.ID)
	if err != nil {
		return err
	}
	switch {
	case c.Output == "json":
		return printJSON(g.out, map[string]any{"id": m.ID, "time": m.Time, "from": m.From, "to": m.To, "subject": m.Subject, "text": m.Text, "html": m.HTML})
	case c.Raw:
		_, err = g.out.Write(m.Raw)
	default:
		_, err = fmt.Fprintf(g.out, "From:    %s\nTo:      %s\nDate:    %s\nSubject: %s\n\n%s", event.Printable(m.From), event.Printable(m.To),
			m.Time.Local().Format("2006-01-02 15:04:05"), event.Printable(m.Subject), printableText(m.Text))
	}
	return err
}

// printableText makes a mail's text safe to print: what a workload or a subscriber chose may be in it. Lines stay lines.
func printableText(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		body, ended := strings.CutSuffix(line, "\n")
		for i, cell := range strings.Split(strings.TrimSuffix(body, "\r"), "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(event.Printable(cell))
		}
		if ended {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
