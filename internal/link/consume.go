package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is a batch as it comes from the link.
type Message struct {
	Sequence uint64 // in the stream; rises, with gaps where the stream dropped batches
	Pending  uint64 // how many batches wait behind this one
	AgentID  string // who sent it, as the link has checked; whatever the batch itself says
	// Epoch and BatchSequence are what the sender says about the batch; "" and 0 if it said nothing readable.
	Epoch         string
	BatchSequence uint64
	Data          []byte // the encoded batch: hostile
}

// Consume hands the stream's batches to handle, one after the other, in the stream's order, beginning behind the sequence
// from; it returns when ctx ends. When handle fails, the same batch is handed to it again, after a pause that grows up
// to 5 s, for as long as it takes. What has been handled is for the caller to remember.
//
// When the stream ends before from, it was made anew, and Consume begins at its start.
func (s *Server) Consume(ctx context.Context, from uint64, handle func(Message) error) error {
	for {
		err := s.consume(ctx, &from, handle)
		if ctx.Err() != nil {
			return nil
		}
		s.log.Warn("consuming events; trying again", "err", err)
		if !pause(ctx, time.Second) {
			return nil
		}
	}
}

func (s *Server) consume(ctx context.Context, from *uint64, handle func(Message) error) error {
	s.mu.Lock()
	stream, reopened := s.stream, s.reopened
	s.mu.Unlock()
	info, err := stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("reading the stream's state: %w", err)
	}
	if info.State.LastSeq < *from {
		s.log.Warn("the event stream was made anew; beginning at its start", "last", info.State.LastSeq, "wanted", *from)
		*from = 0
	}
	consumer, err := s.js.OrderedConsumer(ctx, eventsStream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *from + 1, NamePrefix: "ingest_" + strconv.FormatUint(rand.Uint64(), 36),
	})
	if err != nil {
		return fmt.Errorf("making the consumer: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(256, 4*MaxBatch))
	if err != nil {
		return fmt.Errorf("opening the consumer: %w", err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	defer context.AfterFunc(reopened, messages.Stop)() // the consumer went with the stream that it was made on
	for {
		m, err := messages.Next()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				return err
			}
			return fmt.Errorf("reading the stream: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("reading the stream: %w", err)
		}
		sequence := meta.Sequence.Stream
		if sequence <= *from {
			continue
		}
		if gap := sequence - *from - 1; gap > 0 && *from > 0 {
			s.metrics.lost.Add(float64(gap))
			s.log.Error("the event stream dropped batches before they were read; it is too small or the server was away too long", "batches", gap)
		}
		msg := Message{Sequence: sequence, Pending: meta.NumPending, AgentID: idOf(m.Subject(), eventsPrefix), Data: m.Data()}
		msg.Epoch, msg.BatchSequence = parseMessageID(m.Headers().Get(nats.MsgIdHdr))
		s.metrics.batches.Inc()
		s.metrics.batchBytes.Add(float64(len(msg.Data)))
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			if err := handle(msg); err == nil {
				break
			} else if ctx.Err() != nil {
				return ctx.Err()
			} else {
				s.metrics.retries.Inc()
				s.log.Error("handling events; trying again", "sequence", sequence, "agent", msg.AgentID, "err", err)
			}
			if !pause(ctx, wait) {
				return ctx.Err()
			}
		}
		*from = sequence
	}
}

// messageID is unique to a batch. It holds the epoch, which nobody but the agent knows, so that no agent can make another's
// batch look like a repetition.
func messageID(epoch string, sequence uint64) string {
	return epoch + "-" + strconv.FormatUint(sequence, 10)
}

func parseMessageID(id string) (string, uint64) {
	i := strings.LastIndexByte(id, '-')
	if i <= 0 || i > 64 {
		return "", 0
	}
	sequence, err := strconv.ParseUint(id[i+1:], 10, 64)
	if err != nil {
		return "", 0
	}
	return id[:i], sequence
}

// pause waits, and reports whether it did to the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
