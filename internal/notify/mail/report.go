package mail

import (
	"html/template"
	"strings"
	"unicode/utf8"

	"vedette.dev/vedette/internal/event"
)

// A report is what a person needs to know about an event, in the order in which they need it. Its texts are clean: they
// went through line or command.
type report struct {
	subject  string
	badge    string // HIGH, UNHEALTHY …
	colour   string // of the badge
	headline string
	lead     string
	sections []section
	thread   string // identifies the mails about the same thing; letters and digits
}

type section struct {
	Heading string
	Text    string
	Rows    []row
	Tree    []string // the first is the root, each further one the child of the one before
	List    []string
	Command string
}

type row struct{ Name, Value string }

// line makes a value from the event fit for one line: nothing in it can be mistaken for something else, and it is cut to
// max bytes.
func line(s string, max int) string { return event.PrintableN(strings.TrimSpace(s), max) }

// bound cuts a clean text to max characters.
func bound(s string, max int) string {
	if utf8.RuneCountInString(s) <= max {
		return s
	}
	return string([]rune(s)[:max-1]) + "…"
}

// add appends a row unless its value is empty.
func (s *section) add(name, value string) {
	if value != "" {
		s.Rows = append(s.Rows, row{name, value})
	}
}

// addSection appends a section unless it is empty.
func (r *report) addSection(s section) {
	if s.Text != "" || len(s.Rows) > 0 || len(s.Tree) > 0 || len(s.List) > 0 || s.Command != "" {
		r.sections = append(r.sections, s)
	}
}

// text is the report as plain text.
func (r *report) text() string {
	var b strings.Builder
	b.WriteString("[" + r.badge + "] " + r.headline + "\n" + r.lead + "\n")
	for _, s := range r.sections {
		b.WriteString("\n" + strings.ToUpper(s.Heading) + "\n")
		if s.Text != "" {
			b.WriteString("  " + s.Text + "\n")
		}
		width := 0
		for _, row := range s.Rows {
			width = max(width, utf8.RuneCountInString(row.Name))
		}
		for _, row := range s.Rows {
			b.WriteString("  " + row.Name + strings.Repeat(" ", width-utf8.RuneCountInString(row.Name)+2) + row.Value + "\n")
		}
		for i, node := range s.Tree {
			b.WriteString("  " + branch(i) + node + "\n")
		}
		for _, item := range s.List {
			b.WriteString("  - " + item + "\n")
		}
		if s.Command != "" {
			b.WriteString("  " + s.Command + "\n")
		}
	}
	return b.String()
}

// branch is what precedes the node of a tree at a depth.
func branch(depth int) string {
	if depth == 0 {
		return ""
	}
	return strings.Repeat("   ", depth-1) + "└─ "
}

// html is the report as a page. It loads nothing and links only to the page that unsubscribes.
func (r *report) html(n Notification) string {
	return execute(reportHTML, struct {
		Badge, Colour, Headline, Lead string
		Sections                      []section
		Unsubscribe                   string
	}{r.badge, r.colour, r.headline, r.lead, r.sections, n.UnsubscribeURL})
}

// execute fills in a template, which cannot fail with the data that this package gives it.
func execute(t *template.Template, data any) string {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return ""
	}
	return b.String()
}

var functions = template.FuncMap{"branch": branch, "web": link}

var reportHTML = template.Must(template.New("report").Funcs(functions).Parse(`<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"></head>
<body style="margin:0;padding:16px;font:15px/1.45 system-ui,sans-serif;color:#1a1a1a;background:#ffffff">
<div style="max-width:720px;margin:0 auto">
<p style="margin:0 0 4px"><span style="display:inline-block;padding:2px 8px;border-radius:3px;color:#ffffff;background:{{.Colour}};font-weight:bold">{{.Badge}}</span></p>
<h1 style="font-size:19px;margin:4px 0">{{.Headline}}</h1>
<p style="margin:0 0 12px;color:#555555">{{.Lead}}</p>
{{range .Sections}}<h2 style="font-size:14px;margin:18px 0 4px;border-bottom:1px solid #dddddd">{{.Heading}}</h2>
{{with .Text}}<p style="margin:4px 0">{{.}}</p>
{{end}}{{with .Rows}}<table style="border-collapse:collapse">{{range .}}<tr><td style="padding:1px 16px 1px 0;color:#555555;vertical-align:top;white-space:nowrap">{{.Name}}</td><td style="padding:1px 0;word-break:break-all">{{.Value}}</td></tr>
{{end}}</table>
{{end}}{{with .Tree}}<pre style="margin:4px 0;font-size:13px;white-space:pre-wrap;word-break:break-all">{{range $i, $node := .}}{{branch $i}}{{$node}}
{{end}}</pre>
{{end}}{{with .List}}<ul style="margin:4px 0;padding-left:20px">{{range .}}<li>{{.}}</li>
{{end}}</ul>
{{end}}{{with .Command}}<pre style="margin:4px 0;padding:8px;background:#f3f3f3;font-size:13px;white-space:pre-wrap;word-break:break-all">{{.}}</pre>
{{end}}{{end}}<p style="margin:24px 0 0;padding-top:8px;border-top:1px solid #dddddd;font-size:12px;color:#777777">{{if web .Unsubscribe}}<a href="{{.Unsubscribe}}">Unsubscribe from this topic</a>. {{end}}Please do not reply directly to this email.</p>
</div></body></html>
`))

var confirmHTML = template.Must(template.New("confirm").Funcs(functions).Parse(`<!DOCTYPE html>
<html><head><meta charset="utf-8"></head>
<body style="margin:0;padding:16px;font:15px/1.45 system-ui,sans-serif;color:#1a1a1a;background:#ffffff">
<p>{{.Lead}}<br><b>{{.Topic}}</b></p>
<p>{{.Ask}}<br>{{if web .Link}}<a href="{{.Link}}">{{.Label}}</a>{{else}}{{.Link}}{{end}}</p>
<p style="font-size:12px;color:#777777">{{.Footer}}</p>
</body></html>
`))
