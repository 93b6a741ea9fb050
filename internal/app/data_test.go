package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeysAreMadeOnceAndNeverEmpty matters because a request signed with an empty secret must not be a valid one.
func TestKeysAreMadeOnceAndNeverEmpty(t *testing.T) {
	d := Data(t.TempDir())
	keys, err := d.Credentials()
	if err != nil || len(keys.AccessKeyID) != 20 || len(keys.SecretAccessKey) != 40 {
		t.Fatalf("%d and %d characters, %v", len(keys.AccessKeyID), len(keys.SecretAccessKey), err)
	}
	if again, err := d.Credentials(); err != nil || again != keys {
		t.Errorf("a second call gave another pair, %v", err)
	}
	token, err := d.EnrolmentToken()
	if again, e := d.EnrolmentToken(); err != nil || e != nil || token != again || len(token) < 32 {
		t.Errorf("token of %d characters, %v, %v", len(token), err, e)
	}
	for name, read := range map[string]func() error{
		"credentials.json": func() error { _, err := d.Credentials(); return err },
		"enrolment.json":   func() error { _, err := d.EnrolmentToken(); return err },
	} {
		for _, text := range []string{"", "{", "{}", `{"accessKeyId":"AKIAAAAAAAAAAAAAAAAA","secretAccessKey":"","token":""}`} {
			if err := os.WriteFile(filepath.Join(string(d), name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := read(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s with %q: %v", name, text, err)
			}
		}
	}
}
