package app

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"vedette.dev/vedette/internal/link"
)

// Data is the layout of the data folder.
type Data string

// Open makes the folder if needed (mode 0700, because it holds keys).
func (d Data) Open() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	return nil
}

func (d Data) file(name string) string { return filepath.Join(string(d), name) }

// Database returns the URL of the SQLite store.
func (d Data) Database() string { return "sqlite:" + d.file("vedette.db") }

// Stream returns the folder of the embedded NATS server.
func (d Data) Stream() string { return d.file("nats") }

// Lists returns the folder where the content of threat lists is kept.
func (d Data) Lists() string { return d.file("lists") }

// Mails returns the folder of the mails that are kept when no relay is configured.
func (d Data) Mails() string { return d.file("mail") }

// Credentials is a key pair for signing API calls.
type Credentials struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// Secret returns the secret of the access key, and whether it is ours.
func (c Credentials) Secret(accessKeyID string) (string, bool) {
	return c.SecretAccessKey, accessKeyID == c.AccessKeyID && accessKeyID != ""
}

// Credentials returns the stored key pair; it is generated at the first call.
func (d Data) Credentials() (Credentials, error) {
	var c Credentials
	err := d.readJSON("credentials.json", &c)
	if errors.Is(err, fs.ErrNotExist) {
		// Twenty characters that begin with AKIA, and forty, as the clients expect them.
		c = Credentials{AccessKeyID: "AKIA" + randomText(16), SecretAccessKey: randomText(40)}
		return c, d.writeJSON("credentials.json", c)
	}
	if err == nil && (c.AccessKeyID == "" || len(c.SecretAccessKey) < 16) {
		err = fmt.Errorf("%s holds no key pair: restore the file, or remove it to have a new pair made", d.file("credentials.json"))
	}
	return c, err
}

// EnrolmentToken returns the token with which agents enrol; it is generated at the first call.
func (d Data) EnrolmentToken() (string, error) {
	var t struct {
		Token string `json:"token"`
	}
	err := d.readJSON("enrolment.json", &t)
	if errors.Is(err, fs.ErrNotExist) {
		t.Token = "vdt-" + strings.ToLower(randomText(32))
		return t.Token, d.writeJSON("enrolment.json", t)
	}
	if err == nil && len(t.Token) < 16 {
		err = fmt.Errorf("%s holds no token: restore the file, or remove it to have a new one made", d.file("enrolment.json"))
	}
	return t.Token, err
}

// Endpoints is what a running server writes down for the tools of the same machine.
type Endpoints struct {
	PID       int    `json:"pid"`
	API       string `json:"api"`  // http://host:port
	Link      string `json:"link"` // nats://host:port
	AccountID string `json:"accountId"`
	Region    string `json:"region"`
	Mails     string `json:"mails"` // folder of kept mails; empty when a relay is used
}

// Endpoints returns where the server of this folder listens, or an error that says that none has run.
func (d Data) Endpoints() (Endpoints, error) {
	var e Endpoints
	err := d.readJSON("server.json", &e)
	if errors.Is(err, fs.ErrNotExist) {
		return e, fmt.Errorf("no server has run with the data folder %s: start one with 'vedette up', or name its folder with --data", string(d))
	}
	if errors.Is(err, fs.ErrPermission) {
		return e, fmt.Errorf("reading %s: permission denied: run as the user that runs the server (often root)", d.file("server.json"))
	}
	return e, err
}

func (d Data) writeEndpoints(e Endpoints) error { return d.writeJSON("server.json", e) }

func (d Data) readJSON(name string, v any) error {
	text, err := os.ReadFile(d.file(name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("reading %s: %w", d.file(name), err)
	}
	return nil
}

// writeJSON replaces the file as a whole, readable by its owner alone.
func (d Data) writeJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	temporary, err := os.CreateTemp(string(d), "."+name+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = temporary.Write(append(text, '\n'))
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), d.file(name))
	}
	if err != nil {
		os.Remove(temporary.Name())
		return fmt.Errorf("writing %s: %w", d.file(name), err)
	}
	return nil
}

// randomText returns n random characters of A–Z and 2–7, five bits each.
func randomText(n int) string {
	raw := make([]byte, (n*5+7)/8)
	rand.Read(raw) // never fails: crypto/rand ends the program instead
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)[:n]
}

// Follow returns how to watch the events of the server of this folder.
func (d Data) Follow() (link.FollowOptions, error) {
	at, err := d.Endpoints()
	if err != nil {
		return link.FollowOptions{}, err
	}
	secret, err := os.ReadFile(filepath.Join(d.Stream(), link.AdminSecretFile))
	if err != nil {
		return link.FollowOptions{}, fmt.Errorf("reading the administrator's secret: %w", err)
	}
	return link.FollowOptions{URL: at.Link, Secret: strings.TrimSpace(string(secret))}, nil
}
