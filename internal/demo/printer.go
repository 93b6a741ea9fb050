package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/event"
)

// printer writes the story for a person: numbered steps, the aws command for each act, and what came of it.
type printer struct {
	w    io.Writer
	step int
}

// heading begins the next step.
func (p *printer) heading(title, what string) {
	p.step++
	fmt.Fprintf(p.w, "\n%d. %s\n   %s\n", p.step, title, what)
}

// command shows what a user would type for the act that follows.
func (p *printer) command(args ...string) {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = app.ShellQuote(a)
	}
	fmt.Fprintf(p.w, "   $ %s\n", strings.Join(words, " "))
}

// done reports something that really happened, and how long it took.
func (p *printer) done(took time.Duration, format string, args ...any) {
	fmt.Fprintf(p.w, "   ✓ %s (%s)\n", event.Printable(fmt.Sprintf(format, args...)), round(took))
}

// note says something beside the line of the story.
func (p *printer) note(format string, args ...any) {
	fmt.Fprintf(p.w, "     %s\n", event.Printable(fmt.Sprintf(format, args...)))
}

// round shortens a duration to what a person reads.
func round(d time.Duration) string {
	switch {
	case d < 0:
		return d.String()
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(10 * time.Millisecond).String()
	}
}
