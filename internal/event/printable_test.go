package event

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "/usr/bin/curl -s http://x", "/usr/bin/curl -s http://x"},
		{"empty", "", ""},
		{"words of the world", "naïve 中文 العربية", "naïve 中文 العربية"},
		{"backslash stays", `a\b`, `a\b`},
		{"colour", "\x1b[31mred", `\x1b[31mred`},
		{"line end", "a\nb\r\tc", `a\x0ab\x0d\x09c`},
		{"nul and del", "\x00\x7f", `\x00\x7f`},
		{"C1 as a code point", "\u009b31m", `\x9b31m`},
		{"C1 as a byte", "\x9b31m", `\x9b31m`},
		{"no UTF-8", "\xff\xc3", `\xff\xc3`},
		{"direction override", "evil\u202egnp.exe", `evil\u202egnp.exe`},
		{"isolates", "\u2066a\u2069", `\u2066a\u2069`},
		{"zero width", "pay\u200bpal\ufeff", `pay\u200bpal\ufeff`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"tags", "\U000e0041", `\U000e0041`},
		{"no-break space", "a\u00a0b", `a\xa0b`},
		{"filler", "\u3164", `\u3164`},
		{"replacement character itself", "\ufffd", "\ufffd"},
		{"stacked marks", "e\u0301\u0301\u0301\u0301\u0301", "e\u0301\u0301\u0301\u0301\\u0301"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Printable(test.in); got != test.want {
				t.Errorf("Printable(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

func TestPrintableCuts(t *testing.T) {
	if got := PrintableN(strings.Repeat("a", 11), 10); got != strings.Repeat("a", 10)+"…" {
		t.Errorf("got %q", got)
	}
	if got := PrintableN("aaaaaaa\x1bb", 10); got != "aaaaaaa…" {
		t.Errorf("an escape over the end: got %q", got)
	}
	if got := Printable(strings.Repeat("é", 1<<20)); len(got) > MaxPrintable+len("…") || !strings.HasSuffix(got, "…") {
		t.Errorf("a text of 2 MiB became one of %d bytes", len(got))
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b]0;title\x07", 10)
	f.Add("\u202e\xff", 3)
	f.Fuzz(func(t *testing.T, s string, max int) {
		max = 1 + max&0xfff
		got := PrintableN(s, max)
		if !utf8.ValidString(got) || len(got) > max+len("…") {
			t.Fatalf("%q, %d bytes for a bound of %d", got, len(got), max)
		}
		for _, r := range got {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Fatalf("%q holds %U", got, r)
			}
		}
		if again := PrintableN(got, len(got)+1); again != got {
			t.Fatalf("%q is not stable: %q", got, again)
		}
	})
}

func TestProcessUUID(t *testing.T) {
	u := ProcessUUID("host", 42, 1234567)
	if got := u.String(); got != ProcessUUID("host", 42, 1234567).String() || len(got) != 36 || got[14] != '8' {
		t.Errorf("got %q", got)
	}
	// The identity is stored in findings: changing how it is made splits them.
	if got, want := u.String(), "9b809941-4e82-844d-8879-ccd2c92b639c"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, other := range []UUID{ProcessUUID("host2", 42, 1234567), ProcessUUID("host", 43, 1234567), ProcessUUID("host", 42, 1234568)} {
		if other == u {
			t.Error("different processes share a UUID")
		}
	}
	if (UUID{}).String() != "" {
		t.Error("the unknown UUID is not empty")
	}
}
