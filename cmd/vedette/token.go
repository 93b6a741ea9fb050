package main

import (
	"fmt"

	"vedette.dev/vedette/internal/app"
)

type tokenCommand struct{}

// Run prints the token with which agents enrol. Who has it can add agents, and nothing else.
func (tokenCommand) Run(g *globals) error {
	data := app.Data(g.config.Data)
	if _, err := data.Endpoints(); err != nil {
		return err
	}
	token, err := data.EnrolmentToken()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(g.out, token)
	return err
}
