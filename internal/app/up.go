package app

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/config"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/sensor/ebpf"
)

// Up runs the server and an agent for the whole host in one process until ctx ends. ready is called when both work.
func Up(ctx context.Context, c config.Config, log *slog.Logger, ready func(*Server)) error {
	if err := ebpf.Check(); err != nil { // before anything is made
		return err
	}
	server, err := NewServer(ctx, c, ServerOptions{Log: log})
	if err != nil {
		return err
	}
	if err := server.enableDetector(ctx); err != nil {
		return errors.Join(err, server.Close())
	}
	token, err := Data(c.Data).EnrolmentToken()
	if err != nil {
		return errors.Join(err, server.Close())
	}
	c.Agent.Token, c.Agent.Scope = token, ""
	a, err := NewAgent(ctx, c, AgentOptions{
		Log: log, Server: server.link, Metrics: server.metrics, Ready: func() { ready(server) },
	})
	if err != nil {
		return errors.Join(err, server.Close())
	}

	// The agent ends first, so that what it still holds is stored.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	watching, fail := context.WithCancel(ctx)
	defer fail()
	g.Go(func() error {
		defer stop()
		return a.Run(watching)
	})
	g.Go(func() error {
		defer fail() // without a server there is nobody to tell
		return server.Run(serving)
	})
	return g.Wait()
}

// enableDetector creates the detector if there is none: who runs `up` wants to be watched.
func (s *Server) enableDetector(ctx context.Context) error {
	have, err := s.guardDuty.ListDetectors(ctx, &guardduty.ListDetectorsInput{})
	if err != nil || len(have.DetectorIds) > 0 {
		return err
	}
	enabled := finding.Enabled
	runtime := finding.RuntimeMonitoring
	_, err = s.guardDuty.CreateDetector(ctx, &guardduty.CreateDetectorInput{
		Enable:   true,
		Features: []guardduty.DetectorFeatureConfiguration{{Name: &runtime, Status: &enabled}},
	})
	return err
}
