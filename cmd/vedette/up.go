package main

import (
	"context"

	"vedette.dev/vedette/internal/app"
)

type upCommand struct {
	serverFlags
}

// Run runs server and agent in one process. A fresh data folder gets a detector at once: who runs `up` wants to be watched.
func (c upCommand) Run(ctx context.Context, g *globals) error {
	cfg, err := c.apply(g.config)
	if err != nil {
		return err
	}
	return app.Up(ctx, cfg, g.log, func(s *app.Server) { announce(g, s) })
}
