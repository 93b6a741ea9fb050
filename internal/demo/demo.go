// Package demo tells Vedette's whole story on one machine: it starts a server in a temporary data folder, enables it, makes
// alerts, runs a service with an agent of its own, attacks it, silences the agent, and checks at each step that what should
// happen really did. In go the options of `vedette demo`; out come a story for a person to read and an error for the first
// step that did not happen. Everything it made is gone when Run returns: processes, containers, cgroups, mounts, BPF
// programs and the folder.
//
// The steps act through the public API with the ordinary SDK, as a user would. Only ECS itself is played: see service.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/config"
	"vedette.dev/vedette/internal/inventory"
	"vedette.dev/vedette/internal/simulate"
)

// Options configures the demo.
type Options struct {
	Once    bool   // end after the story; otherwise Run stays until ctx ends
	Runtime string // docker or native; "" takes docker where an engine answers
	SMTP    string // URL of a relay; "" keeps the mails in the demo's folder
	MailTo  string // who gets the mails
	Config  config.Config
	Out     io.Writer
	Log     *slog.Logger
}

// Timing of the demo: short, so that nobody waits for a silent agent, but longer than the kernel takes to end a killed one.
const (
	heartbeat = 500 * time.Millisecond
	silence   = 4 * time.Second
)

// Run tells the story.
func Run(ctx context.Context, o Options) (err error) {
	began := time.Now()
	data, err := os.MkdirTemp("", "vedette-demo-")
	if err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()

	c := o.Config
	c.Data, c.Mail.SMTP = filepath.Join(data, "server"), o.SMTP
	c.Coverage.Silence, c.Agent.Heartbeat = silence, heartbeat
	c.Server.PublicURL = ""
	c.Inventory.Docker = false // the service tells what should run
	if c.Server.Listen, err = freePort(); err != nil {
		return err
	}
	if c.Server.Link, err = freePort(); err != nil {
		return err
	}

	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the running program: %w", err)
	}
	fmt.Fprintf(o.Out, "Vedette demo: an attack in a container becomes a finding and an e-mail, and a silent agent is noticed.\n")
	began0 := time.Now()
	runtime, err := simulate.Open(ctx, simulate.Options{Runtime: o.Runtime, StateDir: filepath.Join(data, "containers"), Log: o.Log})
	if err != nil {
		return fmt.Errorf("finding a way to make containers: %w", err)
	}
	defer func() { err = errors.Join(err, runtime.Close()) }()
	spec, err := simulate.Spec(target())
	if err != nil {
		return err
	}

	service := newService(runtime, spec, c.AccountID, c.Region, agentProcess{binary: binary, folder: filepath.Join(data, "agents")})
	server, err := app.NewServer(ctx, c, app.ServerOptions{Log: o.Log, Inventory: []inventory.Source{service}})
	if err != nil {
		return err
	}
	at := server.Endpoints()
	token, err := app.Data(c.Data).EnrolmentToken()
	if err != nil {
		return errors.Join(err, server.Close())
	}
	service.agent.env = []string{"VEDETTE_ENROLMENT_TOKEN=" + token} // not on the command line, which everybody can read
	service.agent.args = func(scope, state string) []string {
		return []string{"agent", "--server", at.Link, "--scope", scope, "--state", state, "--heartbeat", heartbeat.String(),
			"--containers", filepath.Join(state, "containers.json"), "--docker", ""}
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(running) }()
	defer func() {
		cleanup, done := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer done()
		err = errors.Join(err, service.close(cleanup))
		stop()
		err = errors.Join(err, <-ended)
	}()

	keys, err := app.Data(c.Data).Credentials()
	if err != nil {
		return err
	}
	s := &story{
		printer: printer{w: o.Out}, options: o, service: service, lists: app.Data(c.Data).Lists(),
		clients: app.NewClients(at.API, at.Region, keys),
	}
	fmt.Fprintf(o.Out, "   ✓ server listens at %s, agents connect to %s, containers by %s (%s)\n", at.API, at.Link, runtime.Name(), round(time.Since(began0)))
	if at.Mails != "" {
		s.mails = newMailbox(at.Mails)
		fmt.Fprintf(o.Out, "   ✓ no relay is given (--smtp): mails are kept in %s\n", at.Mails)
	}
	fmt.Fprintf(o.Out, "   Point your own client at it: eval \"$(%s --data %s env)\"\n", app.Command(), c.Data)

	steps := []func(context.Context) error{s.enable, s.alerts, s.covered, s.attacked, s.silenced, s.samples}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("step %d did not happen: %w", s.step, err)
		}
		select {
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("the server ended during step %d: %w", s.step, err)
		default:
		}
	}
	fmt.Fprintf(o.Out, "\nAll %d steps really happened, in %s.\n", s.step, round(time.Since(began)))
	if o.Once {
		return nil
	}
	return s.stay(ctx, c.Data)
}

// stay brings the service back and leaves everything running for the user to play with.
func (s *story) stay(ctx context.Context, data string) error {
	if err := s.service.stop(ctx, s.task); err != nil {
		return err
	}
	t, err := s.service.start(ctx)
	s.task = t
	if err != nil {
		return err
	}
	fmt.Fprintf(s.w, `
The server and the service stay up until Ctrl-C. In another terminal:

   eval "$(%[3]s --data %[1]s env)"            point the aws client here, then for instance:
   aws guardduty list-findings --detector-id %[2]s
   %[3]s --data %[1]s findings
   %[3]s --data %[1]s events --follow
   %[3]s --data %[1]s coverage
   %[3]s --data %[1]s mail
`, data, s.detector, app.Command())
	<-ctx.Done()
	return nil
}

// freePort returns a loopback address that nobody listens on at the moment.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
