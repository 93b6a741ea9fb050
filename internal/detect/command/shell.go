package command

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
)

// text reads a shell's text: its simple commands are added in order.
func (p *Parser) text(text string, depth int) {
	if depth > maxDepth || len(text) > p.left {
		return
	}
	p.left -= len(text)
	l := lexer{p: p, text: text, depth: depth}
	l.list()
}

// output is what a command is known to print.
type output struct {
	text  string
	known bool
}

// lexer reads one text.
type lexer struct {
	p     *Parser
	text  string
	at    int
	depth int
	heres []string // here-documents that begin behind the line's end
}

// split stands in a word where an unquoted expansion separates words.
const split = '\x00'

// list reads commands up to the end and returns what the last pipeline prints, where that is known.
func (l *lexer) list() output {
	var last output
	input := output{}
	from := -1 // the command whose output is piped in
	for l.at < len(l.text) && len(l.p.commands) < MaxCommands {
		first := len(l.p.commands)
		out, end := l.command(from, input)
		last = out
		switch end {
		case "|", "|&":
			input = out
			if len(l.p.commands) > first {
				from = len(l.p.commands) - 1
			}
		default:
			input, from = output{}, -1
		}
	}
	return last
}

// command reads one simple command and the operator behind it.
func (l *lexer) command(from int, input output) (output, string) {
	var words, env []string
	var redirects []Redirect
	substituted := from
	end := ""
	for {
		l.blank()
		if l.at >= len(l.text) {
			break
		}
		c := l.text[l.at]
		if c == '\n' {
			l.at++
			l.hereDocuments(&input)
			end = ";"
			break
		}
		if c == '#' {
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.at++
			}
			continue
		}
		if c == ';' || c == '&' || c == '|' {
			if c == '&' && strings.HasPrefix(l.text[l.at:], "&>") {
				l.at += 2
				redirects = append(redirects, Redirect{">", l.path()})
				continue
			}
			n := 1
			for n < 3 && l.at+n < len(l.text) && (l.text[l.at+n] == c || c == '|' && n == 1 && l.text[l.at+n] == '&') {
				n++
			}
			end = l.text[l.at : l.at+n]
			l.at += n
			break
		}
		if c == '(' || c == ')' || c == '{' && l.at+1 < len(l.text) && (l.text[l.at+1] == ' ' || l.text[l.at+1] == '\n') || c == '}' {
			l.at++
			if len(words) > 0 {
				end = ";"
				break
			}
			continue
		}
		if op, ok := l.redirect(); ok {
			switch {
			case op == "<<" || op == "<<-":
				l.heres = append(l.heres, l.path())
			case op == "<(" || op == ">(":
				first := len(l.p.commands)
				l.p.text(l.until(')'), l.depth+1)
				if len(l.p.commands) > first {
					substituted = len(l.p.commands) - 1
				}
			case strings.HasSuffix(op, "&"):
				l.word() // A descriptor, or a file in the old form of &>.
			default:
				r := Redirect{op, l.path()}
				if op == "<<<" {
					input = output{r.Path, true}
				}
				redirects = append(redirects, r)
			}
			continue
		}
		first := len(l.p.commands)
		start := l.at
		w := l.word()
		if l.at == start {
			l.at++ // A byte that no rule above knows.
			continue
		}
		if len(l.p.commands) > first {
			substituted = len(l.p.commands) - 1
		}
		for _, part := range strings.Split(w, string(split)) {
			if part == "" && strings.IndexByte(w, split) >= 0 {
				continue
			}
			if len(words) == 0 && assignment(part) {
				env = append(env, part)
				continue
			}
			words = append(words, braces(part)...)
		}
	}
	for len(words) > 0 && keyword(words[0]) {
		words = words[1:]
	}
	if len(words) > 0 && words[0] == "export" || len(words) == 0 {
		for _, a := range append(slices.Clone(env), words...) {
			if name, value, ok := strings.Cut(a, "="); ok && len(l.p.vars) < 256 {
				if l.p.vars == nil {
					l.p.vars = make(map[string]string)
				}
				l.p.vars[name] = value
			}
		}
	}
	if len(words) == 0 {
		if len(redirects) > 0 { // > FILE
			l.p.add(Command{Redirects: redirects, Input: -1, Nested: true})
		}
		return output{}, end
	}
	c := Command{Name: Name(words[0]), Path: words[0], Args: words[1:], Env: env, Redirects: redirects, Input: substituted, Nested: true}
	first := len(l.p.commands)
	l.p.simple(c, l.depth+1)
	if input.known && Shell(c.Name) {
		if text, script := shellText(c.Args); text == "" && script == "" {
			l.p.text(input.text, l.depth+1)
		}
	}
	// A wrapper's inner command stands for it in a pipe.
	out := print(&c, input)
	if !out.known && len(l.p.commands) > first+1 {
		if inner := l.p.commands[len(l.p.commands)-1]; !Shell(inner.Name) {
			out = print(&inner, input)
		}
	}
	return out, end
}

func keyword(w string) bool {
	switch w {
	case "!", "then", "do", "else", "if", "elif", "while", "until", "fi", "done", "{", "}", "esac":
		return true
	}
	return false
}

func (l *lexer) blank() {
	for l.at < len(l.text) {
		switch {
		case l.text[l.at] == ' ', l.text[l.at] == '\t', l.text[l.at] == '\r':
			l.at++
		case strings.HasPrefix(l.text[l.at:], "\\\n"):
			l.at += 2
		default:
			return
		}
	}
}

// redirect reads a redirection's operator.
func (l *lexer) redirect() (string, bool) {
	i := l.at
	for i < len(l.text) && '0' <= l.text[i] && l.text[i] <= '9' && i-l.at < 3 {
		i++
	}
	for _, op := range [...]string{"<<<", "<<-", "<<", "<(", ">(", "<&", ">&", "<>", ">>", ">|", ">", "<"} {
		if strings.HasPrefix(l.text[i:], op) {
			l.at = i + len(op)
			switch op {
			case ">|", "<>":
				op = ">"
			}
			return op, true
		}
	}
	return "", false
}

func (l *lexer) path() string {
	l.blank()
	return strings.ReplaceAll(l.word(), string(split), " ")
}

// hereDocuments reads the documents that begin here; the last is the input of the command before.
func (l *lexer) hereDocuments(input *output) {
	for _, mark := range l.heres {
		var body strings.Builder
		for l.at < len(l.text) {
			line, _, _ := strings.Cut(l.text[l.at:], "\n")
			l.at = min(len(l.text), l.at+len(line)+1)
			if strings.TrimLeft(line, "\t") == mark {
				break
			}
			body.WriteString(line + "\n")
		}
		*input = output{body.String(), true}
	}
	l.heres = nil
}

// until reads to the closing bracket that belongs to an opening one that was just read, and over it.
func (l *lexer) until(closing byte) string {
	start, depth := l.at, 1
	opening := byte('(')
	if closing == '}' {
		opening = '{'
	}
	for l.at < len(l.text) {
		switch c := l.text[l.at]; c {
		case '\\':
			l.at++
		case '\'':
			if i := strings.IndexByte(l.text[l.at+1:], '\''); i >= 0 {
				l.at += i + 1
			}
		case opening:
			depth++
		case closing:
			if depth--; depth == 0 {
				l.at++
				return l.text[start : l.at-1]
			}
		}
		l.at++
	}
	l.at = len(l.text)
	return l.text[start:]
}

// word reads one word, expanded as far as the text tells. It reads nothing where no word begins.
func (l *lexer) word() string {
	var b strings.Builder
	for l.at < len(l.text) {
		c := l.text[l.at]
		switch c {
		case ' ', '\t', '\n', '\r', ';', '&', '|', '<', '>', '(', ')':
			return b.String()
		case '\\':
			l.at++
			if l.at < len(l.text) && l.text[l.at] != '\n' {
				b.WriteByte(l.text[l.at])
			}
			l.at++
		case '\'':
			l.at++
			s, _, _ := strings.Cut(l.text[l.at:], "'")
			b.WriteString(s)
			l.at = min(len(l.text), l.at+len(s)+1)
		case '"':
			l.at++
			l.quoted(&b)
		case '$':
			l.expand(&b, false)
		case '`':
			l.at++
			s, _, _ := strings.Cut(l.text[l.at:], "`")
			l.at = min(len(l.text), l.at+len(s)+1)
			l.substitute(&b, s, false)
		default:
			b.WriteByte(c)
			l.at++
		}
	}
	return b.String()
}

func (l *lexer) quoted(b *strings.Builder) {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; c {
		case '"':
			l.at++
			return
		case '\\':
			if l.at+1 < len(l.text) {
				if n := l.text[l.at+1]; n != '"' && n != '\\' && n != '$' && n != '`' && n != '\n' {
					b.WriteByte('\\')
				}
				if l.text[l.at+1] != '\n' {
					b.WriteByte(l.text[l.at+1])
				}
			}
			l.at += 2
		case '$':
			l.expand(b, true)
		case '`':
			l.at++
			s, _, _ := strings.Cut(l.text[l.at:], "`")
			l.at = min(len(l.text), l.at+len(s)+1)
			l.substitute(b, s, true)
		default:
			b.WriteByte(c)
			l.at++
		}
	}
}

// expand reads what follows a dollar sign.
func (l *lexer) expand(b *strings.Builder, quoted bool) {
	l.at++
	rest := l.text[l.at:]
	switch {
	case rest == "":
		b.WriteByte('$')
	case rest[0] == '\'' && !quoted:
		l.at++
		end := l.at
		for end < len(l.text) && l.text[end] != '\'' {
			if l.text[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(l.text))
		b.WriteString(unescape(l.text[l.at:end]))
		l.at = min(len(l.text), end+1)
	case strings.HasPrefix(rest, "(("):
		l.at++
		l.until(')')
	case rest[0] == '(':
		l.at++
		l.substitute(b, l.until(')'), quoted)
	case rest[0] == '{':
		l.at++
		name := l.until('}')
		bare := name
		if i := strings.IndexAny(name, "%#:-/+?=[^,"); i >= 0 {
			bare = name[:i]
		}
		l.variable(b, bare, quoted)
	default:
		n := 0
		for n < len(rest) && identifier(rest[:n+1]) {
			n++
		}
		if n == 0 && strings.IndexByte("@*#?-!0123456789", rest[0]) >= 0 {
			l.at++ // Empty, as far as detection cares: $@ and $1 break up words.
			return
		}
		l.at += n
		if n == 0 {
			b.WriteByte('$')
			return
		}
		l.variable(b, rest[:n], quoted)
	}
}

func (l *lexer) variable(b *strings.Builder, name string, quoted bool) {
	if name == "IFS" {
		if quoted {
			b.WriteByte(' ')
		} else {
			b.WriteByte(split)
		}
		return
	}
	value := l.p.vars[name]
	if len(value) > l.p.left {
		return
	}
	l.p.left -= len(value) // So that variables made of variables stay bounded.
	if !quoted {
		value = strings.Join(strings.Fields(value), string(split))
	}
	b.WriteString(value)
}

// substitute reads the commands of $(…), and puts their output in their place where it is known.
func (l *lexer) substitute(b *strings.Builder, text string, quoted bool) {
	if l.depth >= maxDepth || len(text) > l.p.left {
		return
	}
	l.p.left -= len(text)
	inner := lexer{p: l.p, text: text, depth: l.depth + 1}
	out := inner.list()
	if !out.known || len(out.text) > l.p.left {
		return
	}
	l.p.left -= len(out.text)
	s := strings.TrimRight(out.text, "\n")
	if !quoted {
		s = strings.Join(strings.Fields(s), string(split))
	}
	b.WriteString(s)
}

// braces expands a word that is one list in braces: {curl,-s,x} is a way to write a command without blanks.
func braces(w string) []string {
	if len(w) > 2 && w[0] == '{' && w[len(w)-1] == '}' && strings.IndexByte(w, ',') > 0 {
		return strings.Split(w[1:len(w)-1], ",")
	}
	return []string{w}
}

// print returns what a command prints, where the text tells.
func print(c *Command, input output) output {
	switch c.Name {
	case "echo":
		args, escapes := c.Args, false
		for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0], "-neE") == "" {
			escapes = escapes || strings.Contains(args[0], "e")
			args = args[1:]
		}
		s := strings.Join(args, " ")
		if escapes {
			s = unescape(s)
		}
		return output{s + "\n", true}
	case "printf":
		if len(c.Args) == 0 {
			return output{}
		}
		s := unescape(c.Args[0])
		if i := strings.IndexByte(s, '%'); i >= 0 {
			rest := strings.Join(c.Args[1:], "")
			if i+1 < len(s) && s[i+1] == 'b' {
				rest = unescape(rest)
			}
			s = s[:i] + rest
		}
		return output{s, true}
	case "cat", "tee":
		if c.Operand(0) == "" || c.Name == "tee" {
			return input
		}
	case "base64", "openssl":
		if !input.known || !c.Flag('d', "decode") && !c.Flag('D') {
			return output{}
		}
		s := strings.Map(func(r rune) rune {
			if r <= ' ' || r == '=' {
				return -1
			}
			return r
		}, input.text)
		out, err := base64.RawStdEncoding.DecodeString(s)
		if err != nil {
			return output{}
		}
		return output{string(out), true}
	case "xxd":
		if input.known && c.Flag('r') {
			if out, err := hex.DecodeString(strings.Join(strings.Fields(input.text), "")); err == nil {
				return output{string(out), true}
			}
		}
	case "rev":
		if input.known {
			lines := strings.Split(strings.TrimRight(input.text, "\n"), "\n")
			for i, line := range lines {
				r := []byte(line)
				slices.Reverse(r)
				lines[i] = string(r)
			}
			return output{strings.Join(lines, "\n") + "\n", true}
		}
	}
	return output{}
}

// unescape resolves the backslashes of echo -e, printf and $'…'.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'e':
			b.WriteByte(0x1b)
		case 'x':
			n, v := 0, byte(0)
			for n < 2 && i+1 < len(s) && digit(s[i+1]) < 16 {
				v = v<<4 | digit(s[i+1])
				i, n = i+1, n+1
			}
			b.WriteByte(v)
		case '0', '1', '2', '3', '4', '5', '6', '7':
			v, n := 0, 0
			for n < 4 && i < len(s) && '0' <= s[i] && s[i] <= '7' {
				v = v<<3 | int(s[i]-'0')
				i, n = i+1, n+1
			}
			i--
			b.WriteByte(byte(v))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
