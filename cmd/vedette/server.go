package main

import (
	"context"

	"vedette.dev/vedette/internal/app"
)

type serverCommand struct {
	serverFlags
	NoDocker bool `help:"Do not look at this machine's Docker engine for what should be watched."`
}

func (c serverCommand) Run(ctx context.Context, g *globals) error {
	cfg, err := c.apply(g.config)
	if err != nil {
		return err
	}
	if c.NoDocker {
		cfg.Inventory.Docker = false
	}
	s, err := app.NewServer(ctx, cfg, app.ServerOptions{Log: g.log})
	if err != nil {
		return err
	}
	announce(g, s)
	return s.Run(ctx)
}
