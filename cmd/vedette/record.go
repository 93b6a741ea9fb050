package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/event/recording"
	"vedette.dev/vedette/internal/link"
)

type recordCommand struct {
	File  string        `arg:"" help:"File to write; it must not exist." type:"path"`
	For   time.Duration `help:"End after this time (for example 30s); 0 records until Ctrl-C." placeholder:"TIME"`
	Limit int           `help:"End after this many events; 0 for no limit."`
}

// Run writes the batches that arrive at the server to a file.
func (c recordCommand) Run(ctx context.Context, g *globals) (err error) {
	follow, err := app.Data(g.config.Data).Follow()
	if err != nil {
		return err
	}
	// Only its owner may read it: it tells what every container does.
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &usageError{fmt.Errorf("%s exists already: name a new file", c.File)}
	}
	if err != nil {
		return fmt.Errorf("making the recording: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := recording.NewWriter(f)
	if err != nil {
		return err
	}

	ctx, done := context.WithCancel(ctx)
	defer done()
	if c.For > 0 {
		ctx, done = context.WithTimeout(ctx, c.For)
		defer done()
	}
	fmt.Fprintf(g.errs, "Recording to %s; end with Ctrl-C.\n", c.File)
	gaps := gaps{}
	batches, events := 0, 0
	var failed error
	err = link.Follow(ctx, follow, func(agentID string, data []byte) {
		if failed != nil || c.Limit > 0 && events >= c.Limit {
			return
		}
		batch, err := event.Decode(data, nil)
		if err != nil {
			g.log.Warn("an undecodable batch is not recorded", "agent", agentID, "err", err)
			return
		}
		if err := w.Write(recording.Record{Time: time.Now(), AgentID: agentID, Batch: data}); err != nil {
			failed = err
			done()
			return
		}
		gaps.see(agentID, batch)
		batches++
		if events += len(batch.Events); c.Limit > 0 && events >= c.Limit {
			done()
		}
	})
	if err = errors.Join(failed, err); err != nil {
		return err
	}
	fmt.Fprintf(g.errs, "Recorded %d events in %d batches.\n", events, batches)
	if gaps.missing > 0 {
		fmt.Fprintf(g.errs, "%d batches came faster than they could be written, or while the connection was away, and are missing.\n", gaps.missing)
	}
	return nil
}

// gaps counts the batches that are missing between others of the same agent.
type gaps struct {
	last    map[string]uint64
	missing uint64
}

func (g *gaps) see(agentID string, b *event.Batch) {
	if g.last == nil {
		g.last = map[string]uint64{}
	}
	key := agentID + "\x00" + b.Epoch
	last, known := g.last[key]
	if known && b.Sequence <= last {
		return // sent again
	}
	if known {
		g.missing += b.Sequence - last - 1
	}
	g.last[key] = b.Sequence
}
