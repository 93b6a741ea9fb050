package link

import (
	"context"
	"fmt"
	"os"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// A disk that fills up makes JetStream refuse to store anything until it is started again, even when there is room once
// more. The embedded server does that by itself, so that agents, which spool meanwhile, need nobody's help.

const (
	healInterval = 2 * time.Second
	// healRoom is how much must fit on the disk before JetStream is started again.
	healRoom = 1 << 20
	// storeRefused begins what JetStream logs when it cannot write; there is no other sign of it.
	storeRefused = "JetStream failed to store a msg"
)

// heal starts JetStream again after it stopped storing, as soon as its disk can be written, until ctx ends.
func (s *Server) heal(ctx context.Context) {
	waited := 0
	for pause(ctx, healInterval) {
		if !s.refused.Load() && s.nats.JetStreamEnabled() {
			continue
		}
		if err := s.tryDisk(); err != nil {
			if waited%30 == 0 { // once a minute
				s.log.Warn("the event stream cannot be written; agents spool until it can", "err", err)
			}
			waited++
			continue
		}
		waited = 0
		s.refused.Store(false)
		if err := s.restartStream(ctx); err != nil && ctx.Err() == nil {
			s.refused.Store(true)
			s.log.Error("starting the event stream again", "err", err)
			continue
		}
		s.log.Info("the event stream is written again")
	}
}

// tryDisk finds out whether the stream's disk takes data.
func (s *Server) tryDisk() error {
	f, err := os.CreateTemp(s.opts.Dir, ".room-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, healRoom)); err != nil {
		return err
	}
	return f.Sync()
}

// restartStream starts JetStream again. Consumers find out by themselves and go on where they were.
func (s *Server) restartStream(ctx context.Context) error {
	// What is in use names the folder inside the one that was asked for.
	cfg := natsserver.JetStreamConfig{
		StoreDir: s.opts.Dir, SyncInterval: s.opts.SyncInterval, Strict: true, CompressOK: true,
		MaxMemory: jetStreamMemory, MaxStore: jetStreamStore,
	}
	if err := s.nats.ShutdownJetStream(); err != nil {
		return fmt.Errorf("stopping JetStream: %w", err)
	}
	if err := s.nats.EnableJetStream(&cfg); err != nil {
		return fmt.Errorf("starting JetStream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return s.openStream(ctx)
}
