package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRelativeDataFolder gives --data as people type it. Whoever is told a path below it may have another working directory.
func TestRelativeDataFolder(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--data", "data", "env"}, &out, &errs); code != exitFailure {
		t.Fatalf("exit code %d without a server: %s", code, errs.String())
	}
	if want := filepath.Join(dir, "data"); !strings.Contains(errs.String(), want) {
		t.Errorf("the message %q does not name %s", errs.String(), want)
	}
}

func TestPrintableText(t *testing.T) {
	for text, want := range map[string]string{
		"one\r\ntwo\n":          "one\ntwo\n",
		"no end":                "no end",
		"a\tb\n":                "a\tb\n",
		"\x1b]0;title\a\x1b[2J": `\x1b]0;title\x07\x1b[2J`,
		"over\rwritten\n":       `over\x0dwritten` + "\n",
		"\u202eright to left":   `\u202eright to left`,
		"":                      "",
	} {
		if got := printableText(text); got != want {
			t.Errorf("%q is printed as %q, want %q", text, got, want)
		}
	}
}
