package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/agent"
	"vedette.dev/vedette/internal/config"
	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/container/docker"
	"vedette.dev/vedette/internal/container/static"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/sensor/ebpf"
)

// AgentOptions is what an agent needs besides the configuration.
type AgentOptions struct {
	Log     *slog.Logger
	Server  *link.Server          // the server in the same process; nil connects to the configured URL
	Metrics prometheus.Registerer // may be nil
	Ready   func()                // called once, when the sensor sees what it is to see; may be nil
}

// Agent is the sensor with everything that turns its records into events at the server.
type Agent struct {
	log        *slog.Logger
	source     *ebpf.Source
	client     *link.Client
	engine     *docker.Engine // nil where none is configured
	containers *container.Resolver
	agent      *agent.Agent
}

// NewAgent loads the sensor and connects to the server. It fails with one line when this machine or the server refuses; a
// server that is away is no error, because the agent spools.
func NewAgent(ctx context.Context, c config.Config, o AgentOptions) (_ *Agent, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if err := ebpf.Check(); err != nil {
		return nil, err
	}
	a := &Agent{log: o.Log}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	state := c.AgentState()
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, fmt.Errorf("making the agent's folder: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("reading the host's name: %w", err)
	}

	if a.client, err = link.Dial(ctx, link.ClientOptions{
		URL: c.Agent.ServerURL, Server: o.Server, StateDir: state, EnrolmentToken: c.Agent.Token, Hostname: host, Log: o.Log,
	}); err != nil {
		return nil, fmt.Errorf("connecting to the server: %w", err)
	}
	if err := a.openContainers(c, host); err != nil {
		return nil, err
	}
	if a.source, err = ebpf.New(ebpf.Options{Scope: c.Agent.Scope, Log: o.Log, Registerer: o.Metrics}); err != nil {
		return nil, fmt.Errorf("loading the sensor: %w", err)
	}
	a.agent, err = agent.New(agent.Options{
		Source: a.source, Link: a.client, Containers: a.containers, Scope: c.Agent.Scope, Hostname: host, Version: Version(),
		SpoolDir: filepath.Join(state, "spool"), SpoolMaxBytes: c.Agent.SpoolBytes, HeartbeatInterval: c.Agent.Heartbeat,
		Ready: o.Ready, Log: o.Log, Registerer: o.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("making the agent: %w", err)
	}
	return a, nil
}

func (a *Agent) openContainers(c config.Config, host string) (err error) {
	o := container.Options{Scope: c.Agent.Scope, Host: host, Log: a.log}
	if c.Agent.Containers != "" {
		file, err := static.Open(c.Agent.Containers, host, a.log)
		if err != nil {
			return fmt.Errorf("reading the container file: %w", err)
		}
		o.Claimers = append(o.Claimers, file)
	}
	if c.Agent.Docker != "" {
		if a.engine, err = docker.Open(docker.Options{Socket: c.Agent.Docker, Host: host, Log: a.log}); err != nil {
			return fmt.Errorf("opening the Docker engine's socket: %w", err)
		}
		o.Runtimes = append(o.Runtimes, a.engine)
	}
	if a.containers, err = container.Open(o); err != nil {
		return fmt.Errorf("finding containers: %w", err)
	}
	return nil
}

// Hooks lists what the sensor watches the kernel with.
func (a *Agent) Hooks() []ebpf.Hook { return a.source.Hooks() }

// Run works until ctx ends, and releases everything.
func (a *Agent) Run(ctx context.Context) error {
	// Containers must be described until the last event is on its way, so their goroutine ends after the agent's.
	describing, stop := context.WithCancel(context.WithoutCancel(ctx))
	described := make(chan error, 1)
	go func() { described <- a.containers.Run(describing) }()
	err := a.agent.Run(ctx)
	stop()
	if e := <-described; e != nil && !errors.Is(e, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("describing containers: %w", e))
	}
	return errors.Join(err, a.close())
}

func (a *Agent) close() error {
	var err error
	if a.source != nil {
		err = a.source.Close()
	}
	if a.client != nil {
		a.client.Close()
	}
	if a.containers != nil {
		a.containers.Close()
	}
	if a.engine != nil {
		err = errors.Join(err, a.engine.Close())
	}
	return err
}
