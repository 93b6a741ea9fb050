package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// FollowOptions says how to reach the server for watching. Exactly one of Secret and a URL with credentials is needed.
type FollowOptions struct {
	URL    string
	Secret string // the content of [AdminSecretFile]
	TLS    *tls.Config
}

// Follow hands on the batches that arrive from now, until ctx ends. It sees them as they come, before they are stored,
// and misses those that come faster than handle takes them or while the connection is interrupted.
func Follow(ctx context.Context, opts FollowOptions, handle func(agentID string, batch []byte)) error {
	options := []nats.Option{nats.Name("vedette follow"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond)}
	if opts.Secret != "" {
		options = append(options, nats.UserInfo(adminUser, opts.Secret))
	}
	if opts.TLS != nil {
		options = append(options, nats.Secure(opts.TLS))
	}
	conn, err := nats.Connect(opts.URL, options...)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", opts.URL, explain(err))
	}
	defer conn.Close()
	return follow(ctx, conn, handle)
}

// Follow is [Follow] from within the server's process.
func (s *Server) Follow(ctx context.Context, handle func(agentID string, batch []byte)) error {
	return follow(ctx, s.conn, handle)
}

func follow(ctx context.Context, conn *nats.Conn, handle func(agentID string, batch []byte)) error {
	sub, err := conn.SubscribeSync(eventsPrefix + "*")
	if err != nil {
		return fmt.Errorf("subscribing to events: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nats.ErrSlowConsumer: //nolint:errorlint // Missing some is what the contract says.
			continue
		case err != nil:
			return fmt.Errorf("following events: %w", err)
		}
		handle(idOf(m.Subject, eventsPrefix), m.Data)
	}
}
