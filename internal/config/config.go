// Package config holds Vedette's one configuration: what the server and the agent are told by a YAML file, the environment
// and flags. It is read once at start, checked whole, and passed on by value; nothing else in the program reads the
// environment.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config is the whole configuration. The zero value is not usable: start from [Default].
type Config struct {
	Data      string    `yaml:"data"`      // folder for state, keys, streams and mails
	AccountID string    `yaml:"accountId"` // twelve digits; appears in ARNs and events
	Region    string    `yaml:"region"`
	Server    Server    `yaml:"server"`
	Mail      Mail      `yaml:"mail"`
	Coverage  Coverage  `yaml:"coverage"`
	Agent     Agent     `yaml:"agent"`
	Stream    Stream    `yaml:"stream"`
	Inventory Inventory `yaml:"inventory"`
	Lists     Lists     `yaml:"lists"`
	Rules     string    `yaml:"rules"` // folder of rules and exceptions of one's own (docs/rules.md); empty for none
}

// Server says where the server listens.
type Server struct {
	Listen    string `yaml:"listen"`    // host:port of the API; loopback unless told otherwise
	PublicURL string `yaml:"publicUrl"` // how people reach the API, for the links in mails; default http://LISTEN
	Link      string `yaml:"link"`      // host:port where agents connect
}

// Mail says how mails leave.
type Mail struct {
	SMTP string `yaml:"smtp"` // smtp://… or smtps://… of the relay; empty keeps mails in the data folder
	From string `yaml:"from"`
}

// Coverage holds the timing of the coverage record.
type Coverage struct {
	Silence time.Duration `yaml:"silence"` // an agent that said nothing for this long is not reporting
}

// Agent configures the agent.
type Agent struct {
	ServerURL  string        `yaml:"serverUrl"` // nats://host:port of the server
	Token      string        `yaml:"token"`     // enrolment token, needed once
	State      string        `yaml:"state"`     // folder for the agent's identity and spool
	Scope      string        `yaml:"scope"`     // cgroup v2 path to be limited to; empty watches the whole host
	Heartbeat  time.Duration `yaml:"heartbeat"`
	SpoolBytes int64         `yaml:"spoolBytes"`
	Containers string        `yaml:"containers"` // JSON file that names containers of runtimes without an interface
	Docker     string        `yaml:"docker"`     // the engine's socket
}

// Stream bounds the stored event stream.
type Stream struct {
	MaxBytes int64         `yaml:"maxBytes"`
	MaxAge   time.Duration `yaml:"maxAge"`
}

// Inventory says what should be watched.
type Inventory struct {
	Docker bool `yaml:"docker"` // read the Docker engine's containers
}

// Lists says where lists of threats and of what is trusted may come from.
type Lists struct {
	Folders []string `yaml:"folders"` // whose files a location may name, beside those of DATA/lists
	Feeds   []Feed   `yaml:"feeds"`   // lists that refresh themselves
}

// Feed is a list that refreshes itself. What is wrong with one is said when the server opens it.
type Feed struct {
	Name     string        `yaml:"name"`     // shown in findings
	URL      string        `yaml:"url"`      // http or https
	Format   string        `yaml:"format"`   // TXT (the default), STIX, OTX_CSV, ALIEN_VAULT, PROOF_POINT or FIRE_EYE
	Category string        `yaml:"category"` // what its entries are (docs/lists.md); command-and-control unless told otherwise
	Every    time.Duration `yaml:"every"`    // 1h unless told otherwise
}

// Default returns the configuration used where nothing is said.
func Default() Config {
	data := "/var/lib/vedette"
	if os.Geteuid() != 0 {
		if home, err := os.UserHomeDir(); err == nil {
			data = filepath.Join(home, ".local", "share", "vedette")
		}
	}
	return Config{
		Data:      data,
		AccountID: "000000000000",
		Region:    "us-east-1",
		Server:    Server{Listen: "127.0.0.1:8420", Link: "127.0.0.1:8422"},
		Mail:      Mail{From: "Vedette <no-reply@vedette.local>"},
		Coverage:  Coverage{Silence: 30 * time.Second},
		Agent: Agent{
			ServerURL:  "nats://127.0.0.1:8422",
			Heartbeat:  5 * time.Second,
			SpoolBytes: 64 << 20,
			Docker:     "/var/run/docker.sock",
		},
		Stream:    Stream{MaxBytes: 1 << 30, MaxAge: 72 * time.Hour},
		Inventory: Inventory{Docker: true},
		Lists:     Lists{Folders: []string{"/etc/vedette"}},
	}
}

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// Load reads the YAML file at path over the defaults. A key that does not exist is an error that names its line.
func Load(path string) (Config, error) {
	c := Default()
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("opening the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return c, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(text) > maxFile {
		return c, fmt.Errorf("configuration %s: larger than %d bytes", path, maxFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	regionForm  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)
)

// Check reports everything that is wrong, one line each.
func (c Config) Check() error {
	var wrong []error
	fail := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.Data == "" {
		fail("data", "must name a folder")
	}
	if !accountForm.MatchString(c.AccountID) {
		fail("accountId", "%q is not twelve digits", c.AccountID)
	}
	if !regionForm.MatchString(c.Region) {
		fail("region", "%q does not look like a region, such as us-east-1", c.Region)
	}
	for key, addr := range map[string]string{"server.listen": c.Server.Listen, "server.link": c.Server.Link} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			fail(key, "%q is not host:port", addr)
		}
	}
	if c.Server.PublicURL != "" {
		if u, err := url.Parse(c.Server.PublicURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			fail("server.publicUrl", "%q is not an http or https URL", c.Server.PublicURL)
		}
	}
	if c.Mail.SMTP != "" {
		if u, err := url.Parse(c.Mail.SMTP); err != nil || u.Host == "" || (u.Scheme != "smtp" && u.Scheme != "smtps") {
			fail("mail.smtp", "is not an smtp:// or smtps:// URL")
		}
	}
	if c.Coverage.Silence < 500*time.Millisecond {
		fail("coverage.silence", "%s is shorter than 500ms", c.Coverage.Silence)
	}
	if c.Agent.Heartbeat < 100*time.Millisecond {
		fail("agent.heartbeat", "%s is shorter than 100ms", c.Agent.Heartbeat)
	}
	if c.Agent.Heartbeat*2 > c.Coverage.Silence {
		fail("coverage.silence", "%s leaves no room for one lost heartbeat of %s: use at least twice the interval", c.Coverage.Silence, c.Agent.Heartbeat)
	}
	if c.Agent.SpoolBytes < 1<<20 {
		fail("agent.spoolBytes", "%d is less than 1 MiB", c.Agent.SpoolBytes)
	}
	if c.Stream.MaxBytes < 16<<20 {
		fail("stream.maxBytes", "%d is less than 16 MiB", c.Stream.MaxBytes)
	}
	for _, folder := range c.Lists.Folders {
		if !filepath.IsAbs(folder) || filepath.Clean(folder) == "/" {
			fail("lists.folders", "%q is not an absolute path of a folder other than /", folder)
		}
	}
	return errors.Join(wrong...)
}

// Public returns the base URL that links in mails start with, without a final slash.
func (c Config) Public() string {
	if c.Server.PublicURL != "" {
		return strings.TrimRight(c.Server.PublicURL, "/")
	}
	return "http://" + c.Server.Listen
}

// AgentState returns the folder of the agent's identity and spool.
func (c Config) AgentState() string {
	if c.Agent.State != "" {
		return c.Agent.State
	}
	return filepath.Join(c.Data, "agent")
}
