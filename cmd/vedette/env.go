package main

import (
	"encoding/json"
	"fmt"

	"vedette.dev/vedette/internal/app"
)

type envCommand struct {
	Output string `enum:"shell,json" default:"shell" help:"shell or json."`
}

// Run prints the variables that point an unmodified aws client and the SDKs at the server. Use it as: eval "$(vedette env)".
func (c envCommand) Run(g *globals) error {
	data := app.Data(g.config.Data)
	at, err := data.Endpoints()
	if err != nil {
		return err
	}
	keys, err := data.Credentials()
	if err != nil {
		return err
	}
	variables := [][2]string{
		{"AWS_ENDPOINT_URL_GUARDDUTY", at.API},
		{"AWS_ENDPOINT_URL_EVENTBRIDGE", at.API},
		{"AWS_ENDPOINT_URL_SNS", at.API},
		{"AWS_ACCESS_KEY_ID", keys.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey},
		{"AWS_REGION", at.Region},
		{"AWS_DEFAULT_REGION", at.Region},
	}
	if c.Output == "json" {
		object := make(map[string]string, len(variables))
		for _, v := range variables {
			object[v[0]] = v[1]
		}
		e := json.NewEncoder(g.out)
		e.SetIndent("", "  ")
		return e.Encode(object)
	}
	for _, v := range variables {
		fmt.Fprintf(g.out, "export %s=%s\n", v[0], app.ShellQuote(v[1]))
	}
	// A session token of another account in the environment would be sent along and refused.
	fmt.Fprintln(g.out, "unset AWS_SESSION_TOKEN AWS_PROFILE")
	return nil
}
