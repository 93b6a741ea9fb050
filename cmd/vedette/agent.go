package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/config"
)

type agentCommand struct {
	Server     string        `placeholder:"URL" help:"The server's link (default ${link})."`
	Token      string        `env:"VEDETTE_ENROLMENT_TOKEN" placeholder:"TOKEN" help:"Enrolment token, needed once; 'vedette token' on the server prints it. Better given in the environment than here."`
	Scope      string        `placeholder:"CGROUP" help:"Watch only this cgroup v2 path, such as /docker/ID, and what is below it."`
	State      string        `placeholder:"DIR" help:"Folder for the agent's identity and spool (default DATA/agent)."`
	Heartbeat  time.Duration `placeholder:"TIME" help:"How often to report."`
	Containers string        `placeholder:"FILE" help:"JSON file that names the containers of runtimes without an interface."`
	Docker     *string       `placeholder:"SOCKET" help:"The Docker engine's socket; empty for none."`
}

func (c agentCommand) Run(ctx context.Context, g *globals) error {
	cfg := g.config
	set(&cfg.Agent.ServerURL, c.Server)
	set(&cfg.Agent.Token, c.Token)
	set(&cfg.Agent.Scope, c.Scope)
	set(&cfg.Agent.State, c.State)
	set(&cfg.Agent.Containers, c.Containers)
	if c.Heartbeat != 0 {
		cfg.Agent.Heartbeat = c.Heartbeat
		// How long silence may last is the server's to say; here it only has to fit.
		cfg.Coverage.Silence = max(cfg.Coverage.Silence, 2*c.Heartbeat)
	}
	if c.Docker != nil {
		cfg.Agent.Docker = *c.Docker
	}
	if err := cfg.Check(); err != nil {
		return &usageError{err}
	}
	// A workload's process must not learn the token from the agent's environment.
	os.Unsetenv("VEDETTE_ENROLMENT_TOKEN")
	scope := cfg.Agent.Scope
	if scope == "" {
		scope = "the whole host"
	}
	a, err := app.NewAgent(ctx, cfg, app.AgentOptions{Log: g.log, Ready: func() {
		g.log.Info("agent runs", "server", cfg.Agent.ServerURL, "scope", scope, "version", app.Version())
	}})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// set overwrites a configured value where the command line gives one.
func set(value *string, flag string) {
	if flag != "" {
		*value = flag
	}
}

// serverFlags are what `server`, `up` and the configuration file have in common.
type serverFlags struct {
	Listen    string `placeholder:"ADDR" help:"host:port of the API (default ${listen})."`
	Link      string `placeholder:"ADDR" help:"host:port where agents connect (default ${link_listen})."`
	PublicURL string `placeholder:"URL" help:"How people reach the API, for the links in mails."`
	SMTP      string `name:"smtp" placeholder:"URL" help:"Mail relay, smtp://user:password@host:port; without it mails are kept as files."`
	MailFrom  string `placeholder:"ADDRESS" help:"Sender of mails."`
	Rules     string `type:"path" placeholder:"DIR" help:"Folder of rules of your own (docs/rules.md)."`
}

// apply returns the configuration with the flags over it.
func (f serverFlags) apply(c config.Config) (config.Config, error) {
	set(&c.Server.Listen, f.Listen)
	set(&c.Server.Link, f.Link)
	set(&c.Server.PublicURL, f.PublicURL)
	set(&c.Mail.SMTP, f.SMTP)
	set(&c.Mail.From, f.MailFrom)
	set(&c.Rules, f.Rules)
	if err := c.Check(); err != nil {
		return c, &usageError{err}
	}
	return c, nil
}

// announce prints where the server listens and what to do next.
func announce(g *globals, s *app.Server) {
	at := s.Endpoints()
	data := ""
	if g.config.Data != config.Default().Data {
		data = " --data " + app.ShellQuote(g.config.Data)
	}
	mails := "mails go out through the configured relay"
	if at.Mails != "" {
		mails = "no relay is configured: mails are kept in " + at.Mails + " ('" + app.Command() + data + " mail' shows them)"
	}
	fmt.Fprintf(g.errs, `Vedette %s
  API     %s    GuardDuty, EventBridge and SNS for the aws client
  agents  %s
  data    %s
  %s
Point the aws client here:   eval "$(%s%s env)"
`, app.Version(), at.API, at.Link, g.config.Data, mails, app.Command(), data)
}
