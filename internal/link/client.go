package link

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The errors that someone can act on.
var (
	// ErrRefused means that the server does not let the agent in.
	ErrRefused = errors.New("the server refuses this agent")
	// ErrTooLarge means that a batch is over [MaxBatch] and can never be sent.
	ErrTooLarge = errors.New("batch is too large for the link")
	// ErrNotConnected means that the server cannot be reached at the moment.
	ErrNotConnected = errors.New("not connected to the server")
)

// ClientOptions configures [Dial].
type ClientOptions struct {
	// URL is where the server listens, "nats://127.0.0.1:4333". With credentials in it, or with External, the NATS server is
	// an external one, which the agent need not enrol with.
	URL      string
	External bool

	Server         *Server     // instead of URL: an embedded server in the same process
	StateDir       string      // where the agent keeps its identity; only the agent may read it
	EnrolmentToken string      // needed until the server knows the agent
	Hostname       string      // told to the server at enrolment
	TLS            *tls.Config // nil speaks plain TCP
	Log            *slog.Logger
}

// Client is the agent's end of the link. It connects, enrols where needed and reconnects by itself, for ever.
type Client struct {
	opts     ClientOptions
	log      *slog.Logger
	identity *identity
	cancel   context.CancelFunc
	done     chan struct{}

	session   atomic.Pointer[session] // nil while there is none
	connected atomic.Bool
	configs   chan AgentConfig

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when connected changes
	lastErr error
}

// session is one connection.
type session struct {
	conn *nats.Conn
	js   jetstream.JetStream
}

// Dial returns the agent's end of the link. It waits for the first attempt to connect: when the server refuses the agent, Dial
// returns an error that is [ErrRefused]; when it cannot be reached, the attempts go on in the background and Dial returns
// a client that is not connected yet. Close ends them; ctx bounds the first attempt only.
func Dial(ctx context.Context, opts ClientOptions) (*Client, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.URL != "" {
		u, err := url.Parse(opts.URL)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("server URL %q: want nats://host:port", opts.URL)
		}
		opts.External = opts.External || u.User != nil
	} else if opts.Server == nil {
		return nil, errors.New("server URL is missing")
	} else {
		opts.External = opts.Server.nats == nil
	}
	id, err := loadIdentity(opts.StateDir)
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: opts, log: opts.Log, identity: id, done: make(chan struct{}), configs: make(chan AgentConfig, 1), changed: make(chan struct{}),
	}
	closed, err := c.connect(ctx)
	if errors.Is(err, ErrRefused) {
		return nil, err
	}
	if err != nil {
		c.log.Warn("the server cannot be reached yet; events are kept until it can", "server", c.target(), "err", err)
	}
	run, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.run(run, closed)
	return c, nil
}

// AgentID returns who the agent is on the link.
func (c *Client) AgentID() string { return c.identity.ID }

// Connected reports whether the server can be reached at the moment.
func (c *Client) Connected() bool { return c.connected.Load() }

// Configs returns the channel on which the server's configuration arrives. It holds the last one that was not taken yet.
func (c *Client) Configs() <-chan AgentConfig { return c.configs }

// Close ends the connection and the attempts to make one. Publishes that wait return [ErrNotConnected].
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

func (c *Client) target() string {
	if c.opts.Server != nil {
		return "the server in this process"
	}
	u, err := url.Parse(c.opts.URL)
	if err != nil {
		return "the server"
	}
	return u.Redacted()
}

// run keeps a session alive. closed is the end of the first one, or nil if there is none.
func (c *Client) run(ctx context.Context, closed <-chan struct{}) {
	defer close(c.done)
	const shortest = 200 * time.Millisecond
	wait := shortest
	for {
		if closed != nil {
			wait = shortest
			select {
			case <-closed:
				c.end()
			case <-ctx.Done():
				c.end()
				return
			}
		}
		if !pause(ctx, wait/2+rand.N(wait)) {
			return
		}
		wait = min(2*wait, 10*time.Second)
		attempt, cancel := context.WithTimeout(ctx, 15*time.Second)
		var err error
		closed, err = c.connect(attempt)
		cancel()
		if err != nil && ctx.Err() == nil {
			c.log.Debug("connecting to the server; trying again", "err", err)
			c.mu.Lock()
			repeated := c.lastErr != nil && c.lastErr.Error() == err.Error()
			c.lastErr = err
			c.mu.Unlock()
			if !repeated && errors.Is(err, ErrRefused) {
				c.log.Error("the link is refused; trying again", "err", err)
			}
		}
	}
}

// end closes the session, if there is one.
func (c *Client) end() {
	if s := c.session.Swap(nil); s != nil {
		s.conn.Close()
	}
	c.setConnected(false)
}

func (c *Client) setConnected(v bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connected.Swap(v) != v {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// connect makes a session, and enrols before if the server does not know the agent. The channel is closed when the session
// has ended for good.
func (c *Client) connect(ctx context.Context) (<-chan struct{}, error) {
	if c.opts.Server != nil && !c.opts.External {
		// The token is for strangers. Whoever can call this can also change the server's store.
		if _, err := c.opts.Server.enrol(c.identity.PublicKey, enrolRequest{Hostname: c.opts.Hostname}); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	} else if !c.opts.External && !c.identity.Enrolled && c.opts.EnrolmentToken != "" {
		if err := c.enrol(ctx); err != nil {
			return nil, err
		}
	}
	closed, err := c.open(ctx)
	if err == nil || !errors.Is(err, nats.ErrAuthorization) || c.opts.External || c.opts.Server != nil {
		return closed, c.explain(err)
	}
	if c.opts.EnrolmentToken == "" {
		return nil, fmt.Errorf("%w: %s does not know agent %s, or has revoked it, and there is no enrolment token", ErrRefused, c.target(), c.identity.ID)
	}
	if err := c.enrol(ctx); err != nil {
		return nil, err
	}
	closed, err = c.open(ctx)
	return closed, c.explain(err)
}

func (c *Client) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("connecting to %s: %w", c.target(), explain(err))
}

// explain marks what the server refuses.
func explain(err error) error {
	if errors.Is(err, nats.ErrAuthorization) {
		return fmt.Errorf("%w (%w)", ErrRefused, err)
	}
	return err
}

// options are those of every connection of the agent.
func (c *Client) options(ctx context.Context) []nats.Option {
	options := []nats.Option{
		nats.Name("vedette agent"),
		nats.CustomInboxPrefix(inboxPrefix + c.identity.ID),
		nats.ReconnectBufSize(-1), // A publish fails at once when there is no connection, and the agent spools.
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(5 * time.Second),
	}
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(max(time.Millisecond, min(5*time.Second, time.Until(deadline)))))
	}
	if !c.opts.External {
		options = append(options, nats.Nkey(c.identity.PublicKey, c.identity.keys.Sign))
	}
	if c.opts.Server != nil && c.opts.Server.nats != nil {
		options = append(options, nats.InProcessServer(c.opts.Server.nats))
	}
	if c.opts.TLS != nil {
		options = append(options, nats.Secure(c.opts.TLS))
	}
	return options
}

func (c *Client) url() string {
	if c.opts.Server != nil {
		return c.opts.Server.opts.URL
	}
	return c.opts.URL
}

// open connects as a known agent.
func (c *Client) open(ctx context.Context) (<-chan struct{}, error) {
	closed := make(chan struct{})
	s := new(session)
	conn, err := nats.Connect(c.url(), append(c.options(ctx),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(200*time.Millisecond, 500*time.Millisecond),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.setConnected(false)
			if err != nil {
				c.log.Warn("connection to the server is interrupted", "err", err)
			}
		}),
		nats.ReconnectHandler(func(conn *nats.Conn) {
			c.log.Info("connection to the server is back")
			c.setConnected(true)
			go c.ask(conn)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.log.Warn("link", "err", err) }),
	)...)
	if err != nil {
		return nil, err
	}
	s.conn = conn
	if s.js, err = jetstream.New(conn); err != nil {
		conn.Close()
		return nil, err
	}
	if _, err = conn.Subscribe(configSubject, func(m *nats.Msg) { c.onConfig(m.Data) }); err != nil {
		conn.Close()
		return nil, err
	}
	c.session.Store(s)
	c.setConnected(true)
	c.mu.Lock()
	c.lastErr = nil
	c.mu.Unlock()
	c.log.Info("connected to the server", "server", c.target(), "agent", c.identity.ID)
	go c.ask(conn)
	return closed, nil
}

// ask requests the configuration, which was perhaps pushed while the agent was away.
func (c *Client) ask(conn *nats.Conn) {
	m, err := conn.Request(configGetSubject, nil, 2*time.Second)
	if err != nil {
		c.log.Debug("asking for configuration", "err", err) // The server may have none; it will push the first one.
		return
	}
	c.onConfig(m.Data)
}

func (c *Client) onConfig(data []byte) {
	var cfg AgentConfig
	if len(data) > 64<<10 {
		return
	}
	if err := json.Unmarshal(data, &cfg); err != nil {
		c.log.Warn("dropping configuration from the server", "err", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.configs: // Nobody took the one before; it is out of date.
	default:
	}
	c.configs <- cfg
}

// enrol makes the agent known to the server.
func (c *Client) enrol(ctx context.Context) error {
	conn, err := nats.Connect(c.url(), append(c.options(ctx), nats.Token(c.opts.EnrolmentToken), nats.NoReconnect())...)
	if errors.Is(err, nats.ErrAuthorization) {
		return fmt.Errorf("%w: enrolment token refused by %s (or agent %s is revoked)", ErrRefused, c.target(), c.identity.ID)
	}
	if err != nil {
		return fmt.Errorf("enrolling with %s: %w", c.target(), err)
	}
	defer conn.Close()
	request, err := json.Marshal(enrolRequest{Hostname: c.opts.Hostname})
	if err != nil {
		return fmt.Errorf("enrolling with %s: %w", c.target(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, enrolPrefix+c.identity.PublicKey, request)
	if err != nil {
		return fmt.Errorf("enrolling with %s: %w", c.target(), err)
	}
	var resp enrolResponse
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return fmt.Errorf("enrolling with %s: reading the answer: %w", c.target(), err)
	}
	if resp.Error != "" || resp.AgentID != c.identity.ID {
		return fmt.Errorf("%w: enrolling with %s: %s", ErrRefused, c.target(), resp.Error)
	}
	c.log.Info("enrolled", "server", c.target(), "agent", c.identity.ID)
	c.identity.Enrolled = true
	if err := c.identity.save(c.opts.StateDir); err != nil {
		return err
	}
	return nil
}

// WaitConnected waits until the server can be reached.
func (c *Client) WaitConnected(ctx context.Context) error {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if c.Connected() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Publish sends a batch and returns nil when the server has stored it. It tries once. After an error the batch may or may
// not be stored; publishing it again with the same epoch and sequence is safe. An error that is [ErrTooLarge] means that
// trying again is useless.
func (c *Client) Publish(ctx context.Context, epoch string, sequence uint64, batch []byte) error {
	if len(batch) > MaxBatch {
		return fmt.Errorf("publishing %d bytes: %w", len(batch), ErrTooLarge)
	}
	s := c.session.Load()
	if s == nil || !c.Connected() {
		return fmt.Errorf("publishing batch: %w", ErrNotConnected)
	}
	_, err := s.js.Publish(ctx, eventsPrefix+c.identity.ID, batch, jetstream.WithMsgID(messageID(epoch, sequence)), jetstream.WithExpectStream(eventsStream))
	if err != nil {
		return fmt.Errorf("publishing batch: %w", err)
	}
	return nil
}

// Heartbeat sends a heartbeat. The client fills in who it is from. Nothing is kept for later.
func (c *Client) Heartbeat(hb Heartbeat) error {
	s := c.session.Load()
	if s == nil || !c.Connected() {
		return fmt.Errorf("sending heartbeat: %w", ErrNotConnected)
	}
	hb.AgentID = c.identity.ID
	if len(hb.Workloads) > maxWorkloads {
		hb.Workloads = hb.Workloads[:maxWorkloads]
	}
	data, err := json.Marshal(hb)
	if err != nil {
		return fmt.Errorf("sending heartbeat: %w", err)
	}
	if len(data) > maxHeartbeat {
		return fmt.Errorf("sending heartbeat: it has %d bytes, which is over the bound of %d", len(data), maxHeartbeat)
	}
	if err := s.conn.Publish(heartbeatPrefix+c.identity.ID, data); err != nil {
		return fmt.Errorf("sending heartbeat: %w", err)
	}
	// The last one must not be left in a buffer when the process ends.
	if hb.Stopping {
		if err := s.conn.FlushTimeout(2 * time.Second); err != nil {
			return fmt.Errorf("sending heartbeat: %w", err)
		}
	}
	return nil
}
