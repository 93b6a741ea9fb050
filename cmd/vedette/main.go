// Command vedette is runtime threat detection for containers: server, agent and the tools around them in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"

	"vedette.dev/vedette/internal/config"
	"vedette.dev/vedette/internal/simulate"
)

// Exit codes.
const (
	exitFailure     = 1   // something went wrong
	exitUsage       = 2   // the command line or the configuration is wrong
	exitInterrupted = 130 // Ctrl-C
)

// cli is the whole command line: one field, and one file, per subcommand.
type cli struct {
	Config  string `help:"Configuration file (YAML)." type:"path" placeholder:"FILE"`
	Data    string `help:"Folder for state, keys, streams and mails (default ${data})." placeholder:"DIR" env:"VEDETTE_DATA"`
	Verbose bool   `short:"v" help:"Log debug messages."`

	Up       upCommand       `cmd:"" help:"Run the server and an agent for the whole host in one process."`
	Server   serverCommand   `cmd:"" help:"Run the server: API, detection, coverage and alerts."`
	Agent    agentCommand    `cmd:"" help:"Run the agent: watch this host, or one cgroup, and report to a server."`
	Demo     demoCommand     `cmd:"" help:"Tell the whole story on this machine: an attack becomes an e-mail."`
	Simulate simulateCommand `cmd:"" help:"Reproduce attacks, harmlessly, in a container made for it."`
	Findings findingsCommand `cmd:"" help:"Show findings."`
	Events   eventsCommand   `cmd:"" help:"Show the raw runtime events."`
	Record   recordCommand   `cmd:"" help:"Write the runtime events to a file, as they arrive."`
	Replay   replayCommand   `cmd:"" help:"Run detection over a recording and show the findings."`
	Rules    rulesCommand    `cmd:"" help:"List, check, test and explain rules."`
	Coverage coverageCommand `cmd:"" help:"Show which clusters are watched."`
	Mail     mailCommand     `cmd:"" help:"List and show the mails kept when no relay is configured."`
	Doctor   doctorCommand   `cmd:"" help:"Check this machine and the agents: requirements, kernel hooks, lost events."`
	Env      envCommand      `cmd:"" help:"Print the exports that point the aws client at this server."`
	Token    tokenCommand    `cmd:"" help:"Print the token with which agents enrol."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// globals is what every subcommand gets.
type globals struct {
	config config.Config
	log    *slog.Logger
	out    io.Writer
	errs   io.Writer
}

func main() {
	simulate.MaybeInit()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: it parses args, runs one subcommand and returns the exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("vedette"),
		kong.Description("Runtime threat detection for containers that you run yourself."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(out, errs),
		kong.Exit(func(code int) { exited = code }),
		kong.Vars{
			"data": config.Default().Data, "link": config.Default().Agent.ServerURL,
			"listen": config.Default().Server.Listen, "link_listen": config.Default().Server.Link,
		},
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		panic(err) // the command line's definition itself is wrong
	}
	k, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(errs, "vedette: %v\nTry 'vedette --help'.\n", err)
		return exitUsage
	}

	cfg := config.Default()
	if c.Config != "" {
		if cfg, err = config.Load(c.Config); err != nil {
			fmt.Fprintf(errs, "vedette: %v\n", err)
			return exitUsage
		}
	}
	if c.Data != "" {
		cfg.Data = c.Data
	}
	// The server is told of files in this folder by their paths, and its working directory is another one.
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		fmt.Fprintf(errs, "vedette: finding the data folder: %v\n", err)
		return exitFailure
	}
	level := slog.LevelInfo
	if c.Verbose {
		level = slog.LevelDebug
	}
	g := &globals{
		config: cfg,
		log:    slog.New(slog.NewTextHandler(errs, &slog.HandlerOptions{Level: level})),
		out:    out,
		errs:   errs,
	}
	err = k.Run(g)
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(errs, "vedette: %v\n", err)
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	default:
		fmt.Fprintf(errs, "vedette: %v\n", err)
		return exitFailure
	}
}

// usageError is a mistake in what the user typed or configured.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
