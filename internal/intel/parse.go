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
	maxLine      = 64 << 10 // of the line-based formats
)

// ErrTooLarge says that a source is larger than MaxListBytes.
var ErrTooLarge = fmt.Errorf("larger than %d MB", MaxListBytes>>20)

// The formats of lists, as GuardDuty names them.
const (
	FormatTXT        = "TXT"
	FormatSTIX       = "STIX"
	FormatOTXCSV     = "OTX_CSV"
	FormatAlienVault = "ALIEN_VAULT"
	FormatProofPoint = "PROOF_POINT"
	FormatFireEye    = "FIRE_EYE"
)

// parsers reads each format. A parser adds entries to a collector and reports what is wrong there; its error is that of the
// reader, or ErrTooLarge.
var parsers = map[string]func(*collector, *bounded) error{
	FormatTXT:        byLine(func() lineParser { return parseTXT }),
	FormatAlienVault: byLine(func() lineParser { return parseAlienVault }),
	FormatProofPoint: byLine(newProofPoint),
	FormatOTXCSV:     byLine(newOTX),
	FormatFireEye:    byLine(newFireEye),
	FormatSTIX:       parseSTIX,
}

// Report says what Parse made of a text. It quotes nothing of it: whoever may ask for a report need not be allowed to read
// the source.
type Report struct {
	Entries int // addresses, prefixes, domain names and files taken, repeats included
	Other   int // indicators of sorts that lists do not hold, such as URLs
	Bad     int // lines skipped
	// BadLines are the first MaxBadLines of those.
	BadLines []BadLine
}

// BadLine is a line that is no entry. In a STIX bundle, whose lines mean nothing, it is an object.
type BadLine struct {
	Line   int // from 1
	Reason string
}

func (b BadLine) String() string { return fmt.Sprintf("line %d: %s", b.Line, b.Reason) }

// String is one line for a person: nothing to complain about is "".
func (r Report) String() string {
	if r.Bad == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "skipped %d bad lines of %d", r.Bad, r.Bad+r.Entries+r.Other)
	for i, bad := range r.BadLines {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more", r.Bad-i)
			break
		}
		b.WriteString("; " + bad.String())
	}
	return b.String()
}

// Into is where entries go. Those of a sort that has no list are bad.
type Into struct {
	Addresses *List // and prefixes
	Domains   *List
	Files     *List
}

// Parse reads a list in one of the formats. Lines that are no entry are in the report and otherwise ignored. The error is
// ErrTooLarge, that of r, or that there is no such format.
//
//   - TXT has one address, prefix (CIDR), domain name or SHA-256 digest a line. Empty lines, and whatever follows '#' or ';',
//     are skipped. A domain name stands for itself and everything below it; a leading "*." or "." is allowed.
//   - STIX is XML of version 1 with its addresses, domain names and file hashes, or a JSON bundle of version 2 with its
//     indicators.
//   - OTX_CSV has the columns type, indicator and description.
//   - ALIEN_VAULT is the reputation format, with '#' between its fields.
//   - PROOF_POINT is CSV with an address or domain name in the first column.
//   - FIRE_EYE is the CSV of iSIGHT, whose columns cidr, ip, domain and sha256 count.
func Parse(into Into, format string, r io.Reader) (Report, error) {
	parse, ok := parsers[format]
	if !ok {
		return Report{}, fmt.Errorf("no such format as %.20q", format)
	}
	c := &collector{into: into}
	source := &bounded{r: r, left: MaxListBytes}
	err := parse(c, source)
	switch {
	case source.tooLarge:
		err = ErrTooLarge
	case err != nil:
		err = fmt.Errorf("reading a list: %w", err)
	}
	return c.report, err
}

// bounded is a reader of at most left bytes.
type bounded struct {
	r        io.Reader
	left     int64
	tooLarge bool
	err      error // of r, other than io.EOF
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.tooLarge {
		return 0, ErrTooLarge
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.tooLarge = true
		return 0, ErrTooLarge
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// collector takes entries into lists and keeps the report.
type collector struct {
	into   Into
	report Report
}

// bad reports a line.
func (c *collector) bad(line int, reason string) {
	if c.report.Bad++; len(c.report.BadLines) < MaxBadLines {
		c.report.BadLines = append(c.report.BadLines, BadLine{line, reason})
	}
}

// lineParser takes the entries of one line, and returns what is wrong with it, or "".
type lineParser func(c *collector, line []byte) (bad string)

// byLine makes a parser of a format whose lines stand for themselves; start makes what reads them, for one text.
func byLine(start func() lineParser) func(*collector, *bounded) error {
	return func(c *collector, r *bounded) error {
		parse := start()
		lines := bufio.NewReaderSize(r, maxLine)
		for number := 1; ; number++ {
			line, err := lines.ReadSlice('\n')
			long := errors.Is(err, bufio.ErrBufferFull)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			if err != nil && err != io.EOF {
				return err
			}
			if number == 1 {
				line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			}
			reason := ""
			if long {
				reason = fmt.Sprintf("longer than %d bytes", maxLine)
			} else if line = bytes.TrimSpace(line); len(line) > 0 {
				reason = parse(c, line)
			}
			if reason != "" {
				c.bad(number, reason)
			}
			if err == io.EOF {
				return nil
			}
		}
	}
}

func parseTXT(c *collector, line []byte) (bad string) {
	if i := bytes.IndexAny(line, "#;"); i >= 0 {
		line = bytes.TrimSpace(line[:i])
	}
	if len(line) == 0 {
		return ""
	}
	return c.entry(string(line))
}

// entry takes a text of any sort, and returns what is wrong with it, or "".
func (c *collector) entry(text string) (bad string) {
	if strings.IndexByte(text, '/') >= 0 {
		return c.prefix(text)
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return c.address(a)
	}
	if sum, ok := parseSHA256(text); ok {
		return c.file(sum)
	}
	return c.domain(text)
}

const noAddress = "no address"

func (c *collector) address(a netip.Addr) (bad string) {
	if a.Zone() != "" {
		return "an address with a zone means something on one host only"
	}
	a = reaches(a)
	return c.take(netip.PrefixFrom(a, a.BitLen()))
}

func (c *collector) prefix(text string) (bad string) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return "no address prefix"
	}
	p, bad = canonical(p)
	if bad != "" {
		return bad
	}
	return c.take(p)
}

func (c *collector) take(p netip.Prefix) (bad string) {
	if c.into.Addresses == nil {
		return "this list holds no addresses"
	}
	c.into.Addresses.prefixes.Insert(p)
	c.report.Entries++
	return ""
}

func (c *collector) domain(text string) (bad string) {
	name, bad := domain(text)
	if bad != "" {
		return bad
	}
	if c.into.Domains == nil {
		return "this list holds no domain names"
	}
	if c.into.Domains.domains == nil {
		c.into.Domains.domains = map[string]struct{}{}
	}
	c.into.Domains.domains[name] = struct{}{}
	c.report.Entries++
	return ""
}

func (c *collector) file(sum [32]byte) (bad string) {
	if c.into.Files == nil {
		return "this list holds no files; SHA-256 digests belong into a threat entity set"
	}
	if c.into.Files.files == nil {
		c.into.Files.files = map[[32]byte]struct{}{}
	}
	c.into.Files.files[sum] = struct{}{}
	c.report.Entries++
	return ""
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
