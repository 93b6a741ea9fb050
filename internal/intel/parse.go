package intel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// The bounds of a list's text.
const (
	MaxListBytes = 35 << 20 // as GuardDuty's
	MaxBadLines  = 20       // reported; the rest is only counted
	maxLine      = 4096
)

// ErrTooLarge says that a source is larger than MaxListBytes.
var ErrTooLarge = fmt.Errorf("larger than %d MB", MaxListBytes>>20)

// Report says what Parse made of a text.
type Report struct {
	Entries int // addresses, prefixes and domain names taken, repeats included
	Bad     int // lines skipped
	// BadLines are the first MaxBadLines of those.
	BadLines []BadLine
}

// BadLine is a line that is no entry.
type BadLine struct {
	Line   int // from 1
	Text   string
	Reason string
}

func (b BadLine) String() string { return fmt.Sprintf("line %d: %q: %s", b.Line, b.Text, b.Reason) }

// String is one line for a person: nothing to complain about is "".
func (r Report) String() string {
	if r.Bad == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "skipped %d bad lines of %d", r.Bad, r.Bad+r.Entries)
	for i, bad := range r.BadLines {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more", r.Bad-i)
			break
		}
		b.WriteString("; " + bad.String())
	}
	return b.String()
}

// Parse reads a list in the format TXT: one address, prefix (CIDR) or domain name a line. Empty lines, and whatever follows
// '#' or ';', are skipped. A domain name stands for itself and everything below it; a leading "*." or "." is allowed. Lines
// that are none of these are in the report and otherwise ignored. The error is ErrTooLarge or that of r.
func Parse(list *List, r io.Reader) (Report, error) {
	var report Report
	limited := &io.LimitedReader{R: r, N: MaxListBytes + 1}
	lines := bufio.NewReaderSize(limited, maxLine)
	if list.domains == nil {
		list.domains = map[string]struct{}{}
	}
	for number := 1; ; number++ {
		line, err := lines.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		text := string(line[:min(len(line), 80)])
		if long {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
		}
		if limited.N <= 0 {
			return report, ErrTooLarge
		}
		if err != nil && err != io.EOF {
			return report, fmt.Errorf("reading a list: %w", err)
		}
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		reason := ""
		if long {
			reason = fmt.Sprintf("longer than %d bytes", maxLine)
		} else {
			var taken bool
			taken, reason = list.add(line)
			if taken {
				report.Entries++
			}
		}
		if reason != "" {
			if report.Bad++; len(report.BadLines) < MaxBadLines {
				report.BadLines = append(report.BadLines, BadLine{number, strings.TrimSpace(text), reason})
			}
		}
		if err == io.EOF {
			return report, nil
		}
	}
}

// add takes one line, and returns whether it held an entry, or why it is bad.
func (l *List) add(line []byte) (taken bool, bad string) {
	if i := bytes.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return false, ""
	}
	text := string(line)
	if bytes.IndexByte(line, '/') >= 0 {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return false, "no address prefix"
		}
		p, bad = canonical(p)
		if bad != "" {
			return false, bad
		}
		l.prefixes.Insert(p)
		return true, ""
	}
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return false, "an address with a zone means something on one host only"
		}
		a = reaches(a)
		l.prefixes.Insert(netip.PrefixFrom(a, a.BitLen()))
		return true, ""
	}
	name, bad := domain(text)
	if bad != "" {
		return false, bad
	}
	l.domains[name] = struct{}{}
	return true, ""
}

// canonical returns the prefix in the form in which lookups meet it: masked, and IPv4 where it is IPv4 inside IPv6.
func canonical(p netip.Prefix) (netip.Prefix, string) {
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, "a prefix of IPv4 addresses in IPv6 form must be at least /96"
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Bits() == 0 {
		return p, "would match every address"
	}
	return p.Masked(), ""
}

// domain returns a domain name in the form in which lookups meet it, or what is wrong with it.
func domain(text string) (name, bad string) {
	name = strings.ToLower(strings.TrimSuffix(text, "."))
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		name = rest
	} else {
		name = strings.TrimPrefix(name, ".")
	}
	if len(name) > maxDomain {
		return "", "no address, and too long for a domain name"
	}
	dots, letter, label := 0, false, 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			if label == 0 {
				return "", "no address and no domain name: empty label"
			}
			dots++
			label = 0
			letter = false
			continue
		case 'a' <= c && c <= 'z':
			letter = true
		case '0' <= c && c <= '9', c == '-', c == '_':
		case c >= 0x80:
			return "", "a domain name in other scripts must be in its xn-- form"
		default:
			return "", "no address and no domain name"
		}
		if label++; label > 63 {
			return "", "no address, and a label too long for a domain name"
		}
	}
	switch {
	case label == 0:
		return "", "no address and no domain name: empty label"
	case dots == 0:
		return "", "no address, and a domain name of one label would match a whole top-level domain"
	case !letter:
		return "", "no address and no domain name: the last label has no letter"
	}
	return name, ""
}
