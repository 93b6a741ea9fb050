package intel

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"regexp"
	"strings"
)

// parseSTIX takes the indicators of a STIX package (version 1, XML) or bundle (version 2, JSON). What cannot be parsed ends
// it; what came before is kept.
func parseSTIX(c *collector, r *bounded) error {
	buffered := bufio.NewReader(r)
	for {
		b, err := buffered.Peek(1)
		if err != nil {
			return r.err
		}
		switch b[0] {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf:
			buffered.ReadByte()
			continue
		case '{':
			return parseSTIX2(c, r, json.NewDecoder(buffered))
		}
		return parseSTIX1(c, r, xml.NewDecoder(buffered))
	}
}

// parseSTIX1 looks at the CybOX objects of a package: a Properties element says by its type what it is, and a value in it is
// one indicator, or several between delimiters.
func parseSTIX1(c *collector, r *bounded, d *xml.Decoder) error {
	var object string    // the type of the Properties that we are in
	var condition string // of the value that we are in
	var value strings.Builder
	inside := false
	for {
		// Raw tokens keep no stack, so that a million open elements cost nothing.
		token, err := d.RawToken()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if r.err == nil && !r.tooLarge {
				line, _ := d.InputPos()
				c.bad(line, "no XML from here on")
			}
			return r.err
		}
		switch token := token.(type) {
		case xml.StartElement:
			switch token.Name.Local {
			case "Properties":
				object = attribute(token, "type")
			case "Address_Value", "Value", "Simple_Hash_Value":
				inside, condition = true, attribute(token, "condition")
				value.Reset()
			}
		case xml.CharData:
			if inside && value.Len()+len(token) <= maxLine {
				value.Write(token)
			}
		case xml.EndElement:
			if inside {
				line, _ := d.InputPos()
				if bad := c.cybox(object, token.Name.Local, condition, value.String()); bad != "" {
					c.bad(line, bad)
				}
			}
			inside = false
			if token.Name.Local == "Properties" {
				object = ""
			}
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// cybox takes the value of an object's property.
func (c *collector) cybox(object, property, condition, text string) (bad string) {
	var take func(string) string
	switch {
	case property == "Address_Value":
		take = c.host
	case property == "Value" && strings.Contains(object, "DomainName"):
		take = c.domain
	case property == "Simple_Hash_Value":
		take = func(text string) string {
			if _, ok := parseSHA256(text); !ok {
				c.report.Other++ // MD5 and others
				return ""
			}
			return c.digest(text)
		}
	default:
		c.report.Other++
		return ""
	}
	values := strings.Split(text, "##comma##")
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	switch condition {
	case "", "Equals":
	case "InclusiveBetween":
		if property != "Address_Value" || len(values) != 2 {
			return "the condition InclusiveBetween needs two addresses"
		}
		return c.between(values[0], values[1])
	default:
		return "a condition other than Equals and InclusiveBetween"
	}
	for _, v := range values {
		if reason := take(v); reason != "" {
			bad = reason
		}
	}
	return bad
}

// between takes the addresses from first to last.
func (c *collector) between(first, last string) (bad string) {
	from, err1 := netip.ParseAddr(first)
	to, err2 := netip.ParseAddr(last)
	from, to = from.Unmap(), to.Unmap()
	if err1 != nil || err2 != nil || from.Zone() != "" || to.Zone() != "" || from.BitLen() != to.BitLen() || to.Less(from) {
		return "no range of addresses"
	}
	for {
		// The largest prefix that begins here and does not reach beyond the end.
		bits := from.BitLen()
		for bits > 0 {
			wider := netip.PrefixFrom(from, bits-1)
			if wider.Masked().Addr() != from || to.Less(lastOf(wider)) {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(from, bits)
		if bits == 0 {
			return "would match every address"
		}
		if bad := c.take(p); bad != "" {
			return bad
		}
		end := lastOf(p)
		if end == to {
			return ""
		}
		from = end.Next()
	}
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// comparison is one comparison of a STIX pattern that stands for an indicator.
var comparison = regexp.MustCompile(`(ipv4-addr:value|ipv6-addr:value|domain-name:value|file:hashes\.(?:'SHA-256'|"SHA-256"|SHA256))\s*=\s*'([^'\\]*)'`)

// compound finds what makes a pattern more than a choice of indicators.
var compound = regexp.MustCompile(`\b(AND|NOT|FOLLOWEDBY)\b`)

// parseSTIX2 takes the indicators of a bundle.
func parseSTIX2(c *collector, r *bounded, d *json.Decoder) error {
	number := 0
	err := objects(d, func() error {
		number++
		var o struct {
			Type    string `json:"type"`
			Pattern string `json:"pattern"`
			Revoked bool   `json:"revoked"`
		}
		var wrong *json.UnmarshalTypeError
		switch err := d.Decode(&o); {
		case errors.As(err, &wrong):
			c.bad(number, "no STIX object")
			return nil
		case err != nil:
			return err
		}
		if o.Type != "indicator" || o.Revoked {
			return nil
		}
		found := comparison.FindAllStringSubmatch(o.Pattern, -1)
		if len(found) == 0 || compound.MatchString(o.Pattern) {
			c.report.Other++
			return nil
		}
		bad := ""
		for _, match := range found {
			take := c.host
			switch match[1][0] {
			case 'd':
				take = c.domain
			case 'f':
				take = c.digest
			}
			if reason := take(match[2]); reason != "" {
				bad = reason
			}
		}
		if bad != "" {
			c.bad(number, bad)
		}
		return nil
	})
	if err != nil && r.err == nil && !r.tooLarge {
		c.bad(max(number, 1), "no STIX bundle from here on")
	}
	return r.err
}

// objects calls decode for each element of the bundle's member "objects".
func objects(d *json.Decoder, decode func() error) error {
	if _, err := d.Token(); err != nil { // the brace
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if name != "objects" {
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return err
			}
			continue
		}
		if bracket, err := d.Token(); err != nil || bracket != json.Delim('[') {
			return errors.Join(err, errors.New("objects is no array"))
		}
		for d.More() {
			if err := decode(); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}
