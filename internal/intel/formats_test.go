package intel

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	fireEyeHeader = "reportId, title, threatScape, audience, intelligenceType, publishDate, reportLink, webLink, emailIdentifier, senderAddress, " +
		"senderName, sourceDomain, sourceIp, subject, recipient, emailLanguage, fileName, fileSize, fuzzyHash, fileIdentifier, md5, sha1, sha256, " +
		"description, fileType, packer, userAgent, registry, fileCompilationDateTime, filePath, asn, cidr, domain, domainTimeOfLookup, " +
		"networkIdentifier, ip, port, protocol, registrantEmail, registrantName, networkType, url, malwareFamily, malwareFamilyId, actor, actorId, observationTime\n"

	stix1 = `<?xml version="1.0" encoding="UTF-8"?>
<stix:STIX_Package xmlns:stix="http://stix.mitre.org/stix-1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="1.2">
 <stix:Observables>
  <cybox:Observable><cybox:Object><cybox:Properties xsi:type="AddressObject:AddressObjectType" category="ipv4-addr">
   <AddressObject:Address_Value condition="InclusiveBetween">192.0.2.0##comma##192.0.2.255</AddressObject:Address_Value>
  </cybox:Properties></cybox:Object></cybox:Observable>
  <cybox:Observable><cybox:Object><cybox:Properties xsi:type="AddressObject:AddressObjectType" category="ipv4-addr">
   <AddressObject:Address_Value apply_condition="ANY" condition="Equals"> 198.51.100.1 ##comma## 198.51.100.2/31</AddressObject:Address_Value>
  </cybox:Properties></cybox:Object></cybox:Observable>
  <cybox:Observable><cybox:Object><cybox:Properties xsi:type="URIObj:URIObjectType" type="URL">
   <URIObj:Value>http://url.example/</URIObj:Value>
  </cybox:Properties></cybox:Object></cybox:Observable>
 </stix:Observables>
 <stix:Indicators><stix:Indicator><indicator:Observable><cybox:Object>
  <cybox:Properties xsi:type="DomainNameObj:DomainNameObjectType"><DomainNameObj:Value condition="Equals">evil&#46;example</DomainNameObj:Value></cybox:Properties>
 </cybox:Object></indicator:Observable>
 <indicator:Observable><cybox:Object><cybox:Properties xsi:type="FileObj:FileObjectType"><FileObj:Hashes>
  <cyboxCommon:Hash><cyboxCommon:Simple_Hash_Value>d41d8cd98f00b204e9800998ecf8427e</cyboxCommon:Simple_Hash_Value></cyboxCommon:Hash>
  <cyboxCommon:Hash><cyboxCommon:Simple_Hash_Value condition="Equals">` + aHash + `</cyboxCommon:Simple_Hash_Value></cyboxCommon:Hash>
 </FileObj:Hashes></cybox:Properties></cybox:Object></indicator:Observable>
 <indicator:Observable><cybox:Object><cybox:Properties xsi:type="AddressObject:AddressObjectType">
  <AddressObject:Address_Value condition="StartsWith">10.</AddressObject:Address_Value>
 </cybox:Properties></cybox:Object></indicator:Observable>
 </stix:Indicator></stix:Indicators>
</stix:STIX_Package>
`
	stix2 = `{"type":"bundle","id":"bundle--1","objects":[
 {"type":"indicator","pattern_type":"stix","pattern":"[ipv4-addr:value = '192.0.2.0/24'] OR [ipv4-addr:value='198.51.100.1']"},
 {"type":"malware","name":"x"},
 {"type":"indicator","pattern":"[domain-name:value = 'evil.example' OR ipv6-addr:value = '2001:db8::1']"},
 {"type":"indicator","pattern":"[file:hashes.'SHA-256' = '` + aHash + `']"},
 {"type":"indicator","pattern":"[domain-name:value = 'gone.example']","revoked":true},
 {"type":"indicator","pattern":"[domain-name:value = 'port.example' AND network-traffic:dst_port = 22]"},
 {"type":"indicator","pattern":"[url:value = 'http://x.example/']"},
 {"type":"indicator","pattern":"[ipv4-addr:value = '0.0.0.0/0']"},
 {"type":7}],"spec_version":"2.0"}`

	aHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func TestFormats(t *testing.T) {
	const commas24 = ",,,,,,,,,,,,,,,,,,,,,,,,"
	for _, c := range []struct {
		name, format, text string
		want               Report
		listed, other      []string // addresses, names or digests
	}{
		{"digests in TXT", FormatTXT, aHash + "\n" + strings.ToUpper(aHash[:63]) + "0 # another\n" + aHash[:63] + "\n", Report{Entries: 2, Bad: 1, BadLines: []BadLine{
			{3, "no address, and a domain name of one label would match a whole top-level domain"}}}, // a short digest is a name of one label
			[]string{aHash, strings.ToUpper(aHash), aHash[:63] + "0"}, []string{aHash[:63]}},
		{"OTX", FormatOTXCSV, "Indicator type, Indicator, Description\r\nCIDR, 192.0.2.0/24, example\r\nIPv4, 198.51.100.1, \"a, b \"\"c\"\"\"\nIPv6,2001:db8::1,\n" +
			"Domain name, evil.example, example\nhostname,\"www.other.example\",x\nURL,http://x.example/,x\nFileHash-MD5,d41d8cd98f00b204e9800998ecf8427e,x\n" +
			"FileHash-SHA256," + aHash + ",x\n\nIPv4,evil.example,x\nalone\nIPv4,\"198.51.100.9,x\n",
			Report{Entries: 6, Other: 2, Bad: 3, BadLines: []BadLine{{11, "no address"}, {12, "fewer than 2 columns"}, {13, badCSV}}},
			[]string{"192.0.2.77", "198.51.100.1", "2001:db8::1", "x.evil.example", "www.other.example", aHash}, []string{"198.51.100.9", "other.example"}},
		{"AlienVault", FormatAlienVault, "# a comment\n192.0.2.1#4#2#Malicious Host#KR##37.5111999512,126.974098206#3\n192.0.2.3#4#2##CN#Guangzhou#23.1,113.2#3\n" +
			"www.test.example#4#2#Malicious Host#CA#Brossard#45.4,-73.4#3\n192.0.2.9\nnothing#4\n",
			Report{Entries: 3, Bad: 2, BadLines: []BadLine{{5, "no fields with '#' between them"},
				{6, "no address, and a domain name of one label would match a whole top-level domain"}}},
			[]string{"192.0.2.1", "192.0.2.3", "www.test.example"}, []string{"192.0.2.9", "test.example"}},
		{"Proofpoint", FormatProofPoint, "ip, category, score, first_seen, last_seen, ports (|)\n198.51.100.1, 1, 100, 2000-01-01, 2000-01-01,\n203.0.113.1, 1, 100, 2000-01-01, 2000-01-01, 80\n" +
			"domain, category, score, first_seen, last_seen, ports (|)\nevil.example, 1, 100, 2000-01-01, 2000-01-01, 80|443\nx, 1\n203.0.113.9\n",
			Report{Entries: 3, Bad: 2, BadLines: []BadLine{{6, "no address, and a domain name of one label would match a whole top-level domain"}, {7, "fewer than 2 columns"}}},
			[]string{"198.51.100.1", "203.0.113.1", "evil.example"}, []string{"203.0.113.9"}},
		{"FireEye", FormatFireEye, fireEyeHeader + "\n" +
			"01-00000001, Example, Test, Operational, threat, 1494944400, https://www.example.com/r, https://www.example.com/r" + commas24 + " 192.0.2.0/24, , , Related, , , , , , network, , Ursnif, 21a1, , , 1494944400\n" +
			" 01-00000002, \"Two, in one\", Test, Operational, threat, 1494944400, https://www.example.com/r,https://www.example.com/r" + commas24 + " 203.0.113.0/25, evil.example,, Related, 198.51.100.1, 8080, UDP,,, network,, Ursnif, fc13,,, 1494944400\n" +
			"3,t,,,,,,,,,,,,,,,,,,,,," + aHash + ",x\n" +
			"4,nothing of use\n" +
			"5,t,,,,,,,,,,,,,,,,,,,,,d41d,x\n",
			Report{Entries: 5, Other: 1, Bad: 1, BadLines: []BadLine{{7, "no SHA-256 digest"}}},
			[]string{"192.0.2.1", "203.0.113.1", "evil.example", "198.51.100.1", aHash}, []string{"203.0.113.200", "www.example.com"}},
		{"FireEye without header", FormatFireEye, "1,192.0.2.1\n", Report{Bad: 1, BadLines: []BadLine{{1, "no header with the columns cidr, ip, domain or sha256 before it"}}},
			nil, []string{"192.0.2.1"}},
		{"STIX 1", FormatSTIX, stix1, Report{Entries: 5, Other: 2, Bad: 1, BadLines: []BadLine{{22, "a condition other than Equals and InclusiveBetween"}}},
			[]string{"192.0.2.0", "192.0.2.255", "198.51.100.1", "198.51.100.3", "evil.example", aHash}, []string{"192.0.3.0", "url.example", "198.51.100.4", "10.0.0.1"}},
		{"STIX 2", FormatSTIX, "\xef\xbb\xbf\n" + stix2, Report{Entries: 5, Other: 2, Bad: 2, BadLines: []BadLine{{8, "would match every address"}, {9, "no STIX object"}}},
			[]string{"192.0.2.9", "198.51.100.1", "evil.example", "2001:db8::1", aHash}, []string{"gone.example", "port.example", "x.example"}},
		{"cut STIX 1", FormatSTIX, stix1[:strings.Index(stix1, "198.51.100.2")] + "<", Report{Entries: 1, Bad: 1, BadLines: []BadLine{{8, "no XML from here on"}}},
			[]string{"192.0.2.0"}, []string{"198.51.100.1"}},
		{"cut STIX 2", FormatSTIX, stix2[:strings.Index(stix2, "evil")], Report{Entries: 2, Bad: 1, BadLines: []BadLine{{3, "no STIX bundle from here on"}}},
			[]string{"192.0.2.9"}, nil},
		{"no STIX", FormatSTIX, "192.0.2.1\n", Report{}, nil, []string{"192.0.2.1"}},
		{"JSON that is no bundle", FormatSTIX, `{"objects":7}`, Report{Bad: 1, BadLines: []BadLine{{1, "no STIX bundle from here on"}}}, nil, nil},
		{"nothing", FormatSTIX, "", Report{}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			lists, report := parseAs(t, c.format, c.text)
			if diff := cmp.Diff(c.want, report); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			for _, x := range c.listed {
				if !holds(lists, x) {
					t.Errorf("%s is not listed", x)
				}
			}
			for _, x := range c.other {
				if holds(lists, x) {
					t.Errorf("%s is listed", x)
				}
			}
		})
	}
}

func holds(lists *Lists, x string) bool {
	if a, err := netip.ParseAddr(x); err == nil {
		return len(lists.Address(nil, a)) > 0
	}
	return len(lists.Domain(nil, x))+len(lists.File(nil, x)) > 0
}

func TestBetween(t *testing.T) {
	for _, c := range []struct {
		first, last string
		want        []string
		bad         string
	}{
		{"192.0.2.0", "192.0.2.255", []string{"192.0.2.0/24"}, ""},
		{"192.0.2.1", "192.0.2.1", []string{"192.0.2.1/32"}, ""},
		{"192.0.2.1", "192.0.2.6", []string{"192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32"}, ""},
		{"255.255.255.254", "255.255.255.255", []string{"255.255.255.254/31"}, ""},
		{"::ffff:192.0.2.0", "192.0.2.1", []string{"192.0.2.0/31"}, ""},
		{"2001:db8::", "2001:db8::ffff", []string{"2001:db8::/112"}, ""},
		{"0.0.0.0", "255.255.255.255", nil, "would match every address"},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil, "would match every address"},
		{"192.0.2.1", "192.0.2.0", nil, "no range of addresses"},
		{"192.0.2.1", "::1", nil, "no range of addresses"},
		{"x", "192.0.2.1", nil, "no range of addresses"},
		{"fe80::1%a", "fe80::2%a", nil, "no range of addresses"},
	} {
		into := everything("x")
		bad := (&collector{into: into}).between(c.first, c.last)
		var got []string
		for p := range into.Addresses.prefixes.AllSorted() {
			got = append(got, p.String())
		}
		if bad != c.bad || cmp.Diff(c.want, got) != "" {
			t.Errorf("%s to %s: %v, %q; want %v, %q", c.first, c.last, got, bad, c.want, c.bad)
		}
	}
}

// TestSortsThatAListDoesNotHold checks that what a list is not for is a bad line and not taken.
func TestSortsThatAListDoesNotHold(t *testing.T) {
	addresses := &List{}
	report, err := Parse(Into{Addresses: addresses}, FormatTXT, strings.NewReader("192.0.2.1\nevil.example\n"+aHash+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Report{Entries: 1, Bad: 2, BadLines: []BadLine{{2, "this list holds no domain names"}, {3, "this list holds no files; SHA-256 digests belong into a threat entity set"}}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Error(diff)
	}
	report, err = Parse(Into{}, FormatTXT, strings.NewReader("192.0.2.1\n"))
	if err != nil || report.Bad != 1 || report.BadLines[0].Reason != "this list holds no addresses" {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := Parse(Into{}, "XLS", nil); err == nil {
		t.Error("a format that does not exist was parsed")
	}
}

// TestHostileTexts feeds every parser with long texts in the forms that could cost most: open elements, one token, no line.
func TestHostileTexts(t *testing.T) {
	for _, text := range []string{"x", "<a>", "<a b='", "{\"objects\":[", "{},", "[", "\"", ",", "<!--", "&lt;"} {
		for format := range parsers {
			for _, start := range []string{"", "<x>", `{"objects":[`} {
				report, err := Parse(everything("x"), format, io.LimitReader(io.MultiReader(strings.NewReader(start), &repeat{text: text}), 1<<20))
				if err != nil || report.Entries > 0 || len(report.BadLines) > MaxBadLines {
					t.Errorf("%s of %q and %q: %+v, %v", format, start, text, report, err)
				}
			}
		}
	}
}

// TestFormatsAreBounded feeds every parser with more than it may read.
func TestFormatsAreBounded(t *testing.T) {
	for format, parse := range parsers {
		for _, text := range []string{"\n", "<a>", "{},"} {
			source := io.MultiReader(strings.NewReader(map[string]string{"<a>": "<x>", "{},": `{"objects":[`}[text]), &repeat{text: text})
			r := &bounded{r: source, left: 1 << 20}
			if err := parse(&collector{into: everything("x")}, r); !r.tooLarge || err != nil && err != ErrTooLarge {
				t.Errorf("%s of %q without end: %v", format, text, err)
			}
		}
	}
}

// repeat is a text without end.
type repeat struct {
	text string
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[r.at]
		r.at = (r.at + 1) % len(r.text)
	}
	return len(p), nil
}

// TestReportsQuoteNothing checks that a text which is no list cannot be read through the reports about it.
func TestReportsQuoteNothing(t *testing.T) {
	const secret = "correct-horse-battery"
	for format := range parsers {
		for _, text := range []string{
			secret + "\n", "x: " + secret + "\n", "<a>" + secret + "\n", "<Address_Value condition='" + secret + "'>" + secret + "</Address_Value>", `{"objects":[{"type":"indicator","pattern":"[domain-name:value = '` + secret + `']"}]}`,
			"IPv4," + secret + ",x\n", "domain,ip\n" + secret + "," + secret + "\n", secret + "#1\n", `"` + secret, secret + "/8\n",
		} {
			_, report := parseAs(t, format, text)
			if got := report.String() + fmt.Sprint(report); strings.Contains(got, "horse") {
				t.Errorf("%s of %q: %s", format, text, got)
			}
		}
	}
}

// FuzzFormats parses any text in any format: nothing may panic, reports stay bounded, and what is taken is found.
func FuzzFormats(f *testing.F) {
	formats := []string{FormatTXT, FormatSTIX, FormatOTXCSV, FormatAlienVault, FormatProofPoint, FormatFireEye}
	for i, seed := range []string{"192.0.2.0/24\n", stix1, "IPv4,192.0.2.1,x\n", "192.0.2.1#1\n", "192.0.2.1,1\n", fireEyeHeader + ",,,\n", stix2} {
		f.Add(i%len(formats), []byte(seed))
	}
	f.Add(1, []byte(`{"objects":[{"type":"indicator","pattern":"[ipv4-addr:value = '1.2.3.4']"},`))
	f.Fuzz(func(t *testing.T, format int, text []byte) {
		into := everything("x")
		report, err := Parse(into, formats[uint(format)%uint(len(formats))], bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(report.BadLines) > MaxBadLines || report.Bad < len(report.BadLines) {
			t.Fatalf("%+v", report)
		}
		lists := &Lists{}
		lists.Set("x", into.Addresses)
		lists.Set("y", into.Files)
		for p := range into.Addresses.prefixes.All() {
			if p.Bits() == 0 || len(lists.Address(nil, p.Addr())) == 0 {
				t.Fatalf("%s was taken and is not found", p)
			}
		}
		for d := range into.Domains.domains {
			if len(lists.Domain(nil, d)) == 0 {
				t.Fatalf("%q was taken and is not found", d)
			}
		}
		for sum := range into.Files.files {
			if len(lists.File(nil, fmt.Sprintf("%x", sum))) == 0 {
				t.Fatalf("%x was taken and is not found", sum)
			}
		}
	})
}

func BenchmarkParseMillionFiles(b *testing.B) {
	var text bytes.Buffer
	for i := range 500_000 { // 33 MB, nearly the largest list
		fmt.Fprintf(&text, "%064x\n", i*2654435761)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if _, err := Parse(everything("x"), FormatTXT, bytes.NewReader(text.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
