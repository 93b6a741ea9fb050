package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vedette.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Fatal(err)
	}
}

func TestLoadOverridesDefaults(t *testing.T) {
	c, err := Load(write(t, "accountId: \"111122223333\"\ncoverage:\n  silence: 1m\nmail:\n  smtp: smtp://mail.example:587\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.AccountID != "111122223333" || c.Coverage.Silence != time.Minute || c.Mail.SMTP != "smtp://mail.example:587" {
		t.Errorf("Load did not take the file's values: %+v", c)
	}
	if c.Server.Listen != Default().Server.Listen {
		t.Errorf("a key that is not in the file lost its default: %q", c.Server.Listen)
	}
}

func TestLoadNamesTheLineOfAnUnknownKey(t *testing.T) {
	_, err := Load(write(t, "region: eu-west-1\nserver:\n  lisen: 0.0.0.0:1\n"))
	if err == nil || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "lisen") {
		t.Errorf("the error does not name line and key: %v", err)
	}
}

func TestLoadOfAnEmptyFileIsTheDefault(t *testing.T) {
	c, err := Load(write(t, ""))
	if err != nil || c.Server != Default().Server {
		t.Errorf("Load(empty) = %+v, %v", c, err)
	}
}

func TestCheckNamesEachMistake(t *testing.T) {
	tests := []struct {
		key  string
		with func(*Config)
	}{
		{"data", func(c *Config) { c.Data = "" }},
		{"accountId", func(c *Config) { c.AccountID = "12" }},
		{"region", func(c *Config) { c.Region = "mars" }},
		{"server.listen", func(c *Config) { c.Server.Listen = "8420" }},
		{"server.link", func(c *Config) { c.Server.Link = "" }},
		{"server.publicUrl", func(c *Config) { c.Server.PublicURL = "ftp://x" }},
		{"mail.smtp", func(c *Config) { c.Mail.SMTP = "mail.example:25" }},
		{"coverage.silence", func(c *Config) { c.Coverage.Silence = time.Millisecond }},
		{"agent.heartbeat", func(c *Config) { c.Agent.Heartbeat = 0 }},
		{"coverage.silence", func(c *Config) { c.Agent.Heartbeat = c.Coverage.Silence }},
		{"agent.spoolBytes", func(c *Config) { c.Agent.SpoolBytes = 1 }},
		{"stream.maxBytes", func(c *Config) { c.Stream.MaxBytes = 1 }},
	}
	for _, test := range tests {
		t.Run(test.key, func(t *testing.T) {
			c := Default()
			test.with(&c)
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), test.key+": ") {
				t.Errorf("Check() = %v, want a line about %s", err, test.key)
			}
		})
	}
}

// The SMTP URL may hold a password: no message may repeat it.
func TestCheckKeepsTheRelaysPasswordToItself(t *testing.T) {
	c := Default()
	c.Mail.SMTP = "http://user:hunter2@mail.example"
	if err := c.Check(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Check() = %v", err)
	}
}
