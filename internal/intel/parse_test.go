package intel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, text string) (*Lists, Report) {
	t.Helper()
	return parseAs(t, FormatTXT, text)
}

// parseAs parses a text into lists that hold entries of every sort.
func parseAs(t testing.TB, format, text string) (*Lists, Report) {
	t.Helper()
	into := everything("test")
	report, err := Parse(into, format, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	lists := &Lists{}
	lists.Set("test", into.Addresses)
	lists.Set("test/files", into.Files)
	return lists, report
}

func everything(name string) Into {
	hosts := &List{Name: name, Category: CommandAndControl}
	return Into{Addresses: hosts, Domains: hosts, Files: &List{Name: name, Category: CustomMalware}}
}

func TestParse(t *testing.T) {
	lists, report := parse(t, "\xef\xbb\xbf192.0.2.1\r\n"+`
# a comment
198.51.100.0/24   # with a comment
203.0.113.77/28 ; host bits set
::ffff:192.0.2.200
::ffff:192.0.2.128/121
2001:db8::/32
Evil.Example.
*.wild.example
.dot.example
xn--80ak6aa92e.example
`+"2001:DB8:1::5")
	if diff := cmp.Diff(Report{Entries: 11}, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	for address, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "64:ff9b::192.0.2.1": true, "192.0.2.2": false,
		"198.51.100.255": true, "198.51.101.0": false,
		"203.0.113.64": true, "203.0.113.79": true, "203.0.113.80": false,
		"192.0.2.200": true, "192.0.2.129": true, "192.0.2.127": false,
		"2001:db8:ffff::1": true, "2001:db9::1": false, "fe80::1%eth0": false, "2001:db8::1%eth0": true,
	} {
		if got := len(lists.Address(nil, netip.MustParseAddr(address))) > 0; got != want {
			t.Errorf("%s listed: %v, want %v", address, got, want)
		}
	}
	for name, want := range map[string]bool{
		"evil.example": true, "EVIL.example.": true, "a.b.evil.example": true, "notevil.example": false, "example": false,
		"evil.example.org": false, "wild.example": true, "x.wild.example": true, "dot.example": true, "": false, ".": false,
		"xn--80ak6aa92e.example": true, strings.Repeat("a", 250) + ".evil.example": false,
	} {
		if got := len(lists.Domain(nil, name)) > 0; got != want {
			t.Errorf("%q listed: %v, want %v", name, got, want)
		}
	}
	if lists.Address(nil, netip.Addr{}) != nil {
		t.Error("no address is listed")
	}
}

func TestParseBadLines(t *testing.T) {
	for line, reason := range map[string]string{
		"0.0.0.0/0":                      "would match every address",
		"::/0":                           "would match every address",
		"::ffff:0.0.0.0/96":              "would match every address",
		"::ffff:1.2.3.4/64":              "a prefix of IPv4 addresses in IPv6 form must be at least /96",
		"1.2.3.4/33":                     "no address prefix",
		"http://evil.example/x":          "no address prefix",
		"1.2.3":                          "no address and no domain name: the last label has no letter",
		"1.2.3.256":                      "no address and no domain name: the last label has no letter",
		"fe80::1%eth0":                   "an address with a zone means something on one host only",
		"com":                            "no address, and a domain name of one label would match a whole top-level domain",
		"a..example":                     "no address and no domain name: empty label",
		".":                              "no address and no domain name: empty label",
		"*":                              "no address and no domain name",
		"two words.example":              "no address and no domain name",
		"bücher.example":                 "a domain name in other scripts must be in its xn-- form",
		strings.Repeat("a", 64) + ".ex":  "no address, and a label too long for a domain name",
		strings.Repeat("ab.", 100) + "x": "no address, and too long for a domain name",
		strings.Repeat("x", 70000):       "longer than 65536 bytes",
		"\x00\x01":                       "no address and no domain name",
	} {
		_, report := parse(t, "192.0.2.1\n"+line+"\n192.0.2.2\n")
		if report.Entries != 2 || report.Bad != 1 || report.BadLines[0].Line != 2 || report.BadLines[0].Reason != reason {
			t.Errorf("%.40q: %+v, want %q", line, report, reason)
		}
	}
	_, report := parse(t, strings.Repeat("bad\n", 1000))
	if report.Bad != 1000 || len(report.BadLines) != MaxBadLines {
		t.Errorf("%d bad lines, %d of them reported", report.Bad, len(report.BadLines))
	}
	if want := `skipped 1000 bad lines of 1000; line 1: no address, and a domain name of one label`; !strings.HasPrefix(report.String(), want) {
		t.Errorf("report is %q", report)
	}
}

func TestParseBounds(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("192.0.2.1\n"), endlessReader{})
	if _, err := Parse(everything("x"), FormatTXT, endless); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an endless list: %v", err)
	}
	broken := errors.New("broken")
	if _, err := Parse(everything("x"), FormatTXT, io.MultiReader(strings.NewReader("192.0.2.1\n"), errorReader{broken})); !errors.Is(err, broken) {
		t.Errorf("a broken source: %v", err)
	}
}

type endlessReader struct{}

func (endlessReader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '\n'
	}
	return len(b), nil
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func FuzzParse(f *testing.F) {
	f.Add([]byte("192.0.2.1\n198.51.100.0/24 # x\nevil.example\n"))
	f.Add([]byte("::ffff:1.2.3.4/97\n*.a.b\n.\n\xef\xbb\xbf"))
	f.Add(bytes.Repeat([]byte("x"), 5000))
	f.Fuzz(func(t *testing.T, text []byte) {
		into := everything("x")
		list := into.Addresses
		report, err := Parse(into, FormatTXT, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(text, []byte("\n")) + 1
		if report.Entries+report.Bad > lines || len(report.BadLines) > MaxBadLines {
			t.Fatalf("%d lines gave %+v", lines, report)
		}
		if prefixes, domains, _ := list.Size(); prefixes+domains+len(into.Files.files) > report.Entries {
			t.Fatalf("%d prefixes and %d domains of %d entries", prefixes, domains, report.Entries)
		}
		lists := &Lists{}
		lists.Set("x", list)
		// Whatever was taken must be found.
		for p := range list.prefixes.All() {
			if p.Bits() == 0 || len(lists.Address(nil, p.Addr())) == 0 {
				t.Fatalf("%s was taken and is not found", p)
			}
		}
		for d := range list.domains {
			if len(lists.Domain(nil, strings.ToUpper("www."+d)+".")) == 0 && len(d) < 249 {
				t.Fatalf("%q was taken and is not found", d)
			}
		}
		lists.Domain(nil, string(text))
	})
}

func TestLookupsDoNotAllocate(t *testing.T) {
	lists, _ := parse(t, "192.0.2.0/24\nevil.example\n")
	dst := make([]*List, 0, 4)
	a := netip.MustParseAddr("::ffff:192.0.2.9")
	if n := testing.AllocsPerRun(100, func() {
		dst = lists.Address(dst[:0], a)
		dst = lists.Domain(dst[:0], "A.b.EVIL.example.")
	}); n != 0 || len(dst) != 1 {
		t.Errorf("%v allocations, %d lists", n, len(dst))
	}
}

func TestBuiltinList(t *testing.T) {
	lists := NewLists()
	for name, category := range map[string]string{
		"guarddutyc2activityb.com":                "command-and-control",
		"c2.GuardDutyC2ActivityB.com.":            "command-and-control",
		"crypto.guarddutyc2activityb.com":         "cryptocurrency",
		"x.abused-rep.guarddutyc2activityb.com":   "abused-reputation",
		"crypto-rep.guarddutyc2activityb.com":     "cryptocurrency-reputation",
		"malicious-rep.guarddutyc2activityb.com":  "malicious-reputation",
		"suspicious-rep.guarddutyc2activityb.com": "suspicious-reputation",
		"guarddutyblackholeactivity.com":          "black-hole",
		"guarddutydgaactivity.com":                "dga",
		"guarddutydrivebyactivity.com":            "drive-by",
		"guarddutydroppointactivity.com":          "drop-point",
		"www.guarddutyphishingactivity.com":       "phishing",
	} {
		got := lists.Domain(nil, name)
		if len(got) != 1 || got[0].Category != category {
			t.Errorf("%s: %v, want %s", name, got, category)
		}
	}
	if got := lists.Domain(nil, "notguarddutydgaactivity.com"); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

// million is a list of 500,000 addresses and 500,000 names.
func million() []byte {
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	for range 500_000 {
		fmt.Fprintf(&b, "%d.%d.%d.%d\nh%d.example%d.test\n", 1+r.IntN(223), r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(1e9), r.IntN(1000))
	}
	return b.Bytes()
}

func BenchmarkParseMillion(b *testing.B) {
	text := million()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(everything("x"), FormatTXT, bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	into := everything("million")
	list := into.Addresses
	if _, err := Parse(into, FormatTXT, bytes.NewReader(million())); err != nil {
		b.Fatal(err)
	}
	lists := NewLists()
	lists.Set("million", list)
	dst := make([]*List, 0, 4)
	b.Run("address", func(b *testing.B) {
		r := rand.New(rand.NewPCG(3, 4))
		addresses := make([]netip.Addr, 4096)
		for i := range addresses {
			addresses[i] = netip.AddrFrom4([4]byte{byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
		}
		i := 0
		for b.Loop() {
			dst = lists.Address(dst[:0], addresses[i&4095])
			i++
		}
	})
	b.Run("domain", func(b *testing.B) {
		for b.Loop() {
			dst = lists.Domain(dst[:0], "api.eu-west-1.service.internal.example.com")
		}
	})
}
