package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"vedette.dev/vedette/internal/demo"
	"vedette.dev/vedette/internal/sensor/ebpf"
)

type demoCommand struct {
	Once    bool   `help:"End after the story; exit 0 only if every step really happened."`
	Runtime string `enum:"auto,docker,native" default:"auto" help:"How to make the container: docker, native (no engine needed), or auto."`
	SMTP    string `name:"smtp" placeholder:"URL" help:"Send mails through this relay, smtp://user:password@host:port; without it they are kept as files."`
	MailTo  string `default:"ops@example.com" help:"Who gets the mails."`
}

func (c demoCommand) Run(ctx context.Context, g *globals) error {
	if err := ebpf.Check(); err != nil {
		return err
	}
	if c.SMTP != "" && c.MailTo == "ops@example.com" {
		return &usageError{fmt.Errorf("--smtp sends real mails: say to whom with --mail-to")}
	}
	o := demo.Options{Once: c.Once, SMTP: c.SMTP, MailTo: c.MailTo, Config: g.config, Out: g.out, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if c.Runtime != "auto" {
		o.Runtime = c.Runtime
	}
	if g.log.Enabled(ctx, slog.LevelDebug) {
		o.Log = g.log
	}
	return demo.Run(ctx, o)
}
