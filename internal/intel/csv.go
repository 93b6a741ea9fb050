package intel

import (
	"bytes"
	"net/netip"
	"strings"
)

// parseAlienVault takes a line of AlienVault's reputation format: ADDRESS#RELIABILITY#RISK#ACTIVITY#COUNTRY#….
func parseAlienVault(c *collector, line []byte) (bad string) {
	text, _, found := bytes.Cut(line, []byte("#"))
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return "" // a comment
	}
	if !found {
		return "no fields with '#' between them"
	}
	return c.entry(string(text))
}

// newProofPoint reads Proofpoint's CSV: ip or domain, category, score, first_seen, last_seen, ports.
func newProofPoint() lineParser {
	var fields []string
	return func(c *collector, line []byte) (bad string) {
		var ok bool
		if fields, ok = splitCSV(fields[:0], string(line)); !ok {
			return badCSV
		}
		if len(fields) < 2 {
			return "fewer than 2 columns"
		}
		if isWord(fields[0], "ip") || isWord(fields[0], "domain") {
			return "" // the header
		}
		return c.entry(fields[0])
	}
}

// newOTX reads the CSV of Open Threat Exchange: type, indicator, description.
func newOTX() lineParser {
	var fields []string
	return func(c *collector, line []byte) (bad string) {
		var ok bool
		if fields, ok = splitCSV(fields[:0], string(line)); !ok {
			return badCSV
		}
		if len(fields) < 2 {
			return "fewer than 2 columns"
		}
		sort, text := strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(fields[0])), fields[1]
		switch sort {
		case "indicatortype":
			return ""
		case "ip", "ipv4", "ipv6", "cidr":
			return c.host(text)
		case "domain", "domainname", "hostname":
			return c.domain(text)
		case "filehashsha256", "sha256":
			return c.digest(text)
		}
		c.report.Other++
		return ""
	}
}

// host takes an address or a prefix.
func (c *collector) host(text string) (bad string) {
	if strings.IndexByte(text, '/') >= 0 {
		return c.prefix(text)
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return noAddress
	}
	return c.address(a)
}

// digest takes a file.
func (c *collector) digest(text string) (bad string) {
	sum, ok := parseSHA256(text)
	if !ok {
		return "no SHA-256 digest"
	}
	return c.file(sum)
}

// newFireEye reads the CSV of FireEye iSIGHT, whose header names the columns. A row can have several indicators.
func newFireEye() lineParser {
	var fields []string
	var columns []func(*collector, string) string // by their place; nil where a column does not matter
	return func(c *collector, line []byte) (bad string) {
		var ok bool
		if fields, ok = splitCSV(fields[:0], string(line)); !ok {
			return badCSV
		}
		if columns == nil {
			known := 0
			columns = make([]func(*collector, string) string, len(fields))
			for i, name := range fields {
				switch {
				case isWord(name, "cidr"), isWord(name, "ip"):
					columns[i] = (*collector).host
				case isWord(name, "domain"):
					columns[i] = (*collector).domain
				case isWord(name, "sha256"):
					columns[i] = (*collector).digest
				default:
					continue
				}
				known++
			}
			if known == 0 {
				columns = nil
				return "no header with the columns cidr, ip, domain or sha256 before it"
			}
			return ""
		}
		taken := false
		for i, text := range fields {
			if i >= len(columns) || columns[i] == nil || text == "" {
				continue
			}
			taken = true
			if reason := columns[i](c, text); reason != "" {
				bad = reason
			}
		}
		if !taken {
			c.report.Other++
		}
		return bad
	}
}

const badCSV = "a quote that does not end on its line"

func isWord(text, word string) bool { return strings.EqualFold(text, word) }

// splitCSV appends the fields of one line to dst, without the spaces around them; quotes protect commas, and are doubled
// inside quotes. It reports whether every quote ends.
func splitCSV(dst []string, line string) ([]string, bool) {
	for {
		line = strings.TrimLeft(line, " \t")
		if !strings.HasPrefix(line, `"`) {
			field, rest, more := strings.Cut(line, ",")
			dst = append(dst, strings.TrimSpace(field))
			if !more {
				return dst, true
			}
			line = rest
			continue
		}
		line = line[1:]
		var field strings.Builder
		for {
			i := strings.IndexByte(line, '"')
			if i < 0 {
				return dst, false
			}
			field.WriteString(line[:i])
			line = line[i+1:]
			if !strings.HasPrefix(line, `"`) {
				break
			}
			field.WriteByte('"')
			line = line[1:]
		}
		dst = append(dst, strings.TrimSpace(field.String()))
		_, rest, more := strings.Cut(line, ",")
		if !more {
			return dst, true
		}
		line = rest
	}
}
