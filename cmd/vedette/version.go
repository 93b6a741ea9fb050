package main

import (
	"fmt"

	"vedette.dev/vedette/internal/app"
)

type versionCommand struct{}

func (versionCommand) Run(g *globals) error {
	_, err := fmt.Fprintln(g.out, "vedette "+app.Version())
	return err
}
