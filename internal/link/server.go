package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// ServerOptions configures [Serve].
type ServerOptions struct {
	// URL is an external NATS server with JetStream, "nats://user:password@host:4222". Who may connect to it and what they
	// may do there is its operator's to say; agents do not enrol. Empty means an embedded server, which the fields up to TLS
	// are for.
	URL string

	Dir            string        // where the embedded server keeps streams and secrets; it is made if need be
	Listen         string        // host:port; port 0 takes a free one; empty listens nowhere, for a client of the same process
	EnrolmentToken string        // empty lets no new agent in
	Agents         Agents        // required
	SyncInterval   time.Duration // how often batches are forced to the disk; default 2 s
	TLS            *tls.Config   // nil speaks plain TCP
	MaxStreamBytes int64         // bound of the stream; default 1 GiB
	MaxStreamAge   time.Duration // bound of the stream; default 7 days
	MaxConnections int           // default 8192
	Log            *slog.Logger
	Registerer     prometheus.Registerer // may be nil
}

// Server is the server's end of the link.
type Server struct {
	opts        ServerOptions
	log         *slog.Logger
	metrics     *metrics
	nats        *natsserver.Server // nil when external
	conn        *nats.Conn
	js          jetstream.JetStream
	refused     atomic.Bool // JetStream could not store a batch
	healing     sync.WaitGroup
	stopHealing context.CancelFunc // nil when external

	mu         sync.Mutex
	config     []byte
	heartbeats func(Heartbeat)
	stream     jetstream.Stream
	reopened   context.Context // ends when stream is replaced by the same one opened again
	reopen     context.CancelFunc
}

const (
	jetStreamMemory = 64 << 20
	jetStreamStore  = 1 << 50 // The stream has its own bound, which may change between starts.
)

// AdminSecretFile is the name, in ServerOptions.Dir, of the file with the secret for [Follow].
const AdminSecretFile = "admin.secret"

// Serve starts the server's end of the link and returns when agents can connect. Close it when done; ctx bounds the start only.
func Serve(ctx context.Context, opts ServerOptions) (*Server, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.MaxStreamBytes == 0 {
		opts.MaxStreamBytes = 1 << 30
	}
	if opts.MaxStreamAge == 0 {
		opts.MaxStreamAge = 7 * 24 * time.Hour
	}
	if opts.SyncInterval == 0 {
		opts.SyncInterval = 2 * time.Second
	}
	if opts.MaxConnections == 0 {
		opts.MaxConnections = 8192
	}
	s := &Server{opts: opts, log: opts.Log, metrics: newMetrics(opts.Registerer)}
	if err := s.start(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var err error
	options := []nats.Option{
		nats.Name("vedette server"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { s.log.Warn("link", "err", err) }),
	}
	url := s.opts.URL
	if url == "" {
		user, err := s.embed()
		if err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(s.nats), nats.UserInfo(serverUser, user))
	}
	if s.conn, err = nats.Connect(url, options...); err != nil {
		return fmt.Errorf("connecting to NATS: %w", err)
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return fmt.Errorf("connecting to JetStream: %w", err)
	}
	if err := s.openStream(ctx); err != nil {
		return err
	}
	if s.nats != nil {
		ctx, stop := context.WithCancel(context.Background())
		s.stopHealing = stop
		s.healing.Go(func() { s.heal(ctx) })
	}
	for subject, handle := range map[string]nats.MsgHandler{
		heartbeatPrefix + "*": s.onHeartbeat,
		configGetSubject:      s.onConfigGet,
		enrolPrefix + "*":     s.onEnrol,
	} {
		sub, err := s.conn.Subscribe(subject, handle)
		if err != nil {
			return fmt.Errorf("subscribing to %s: %w", subject, err)
		}
		if err := sub.SetPendingLimits(65536, 64<<20); err != nil {
			return fmt.Errorf("subscribing to %s: %w", subject, err)
		}
	}
	return s.conn.FlushWithContext(ctx)
}

// openStream makes the stream, or opens the one that exists.
func (s *Server) openStream(ctx context.Context) error {
	stream, err := s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        eventsStream,
		Description: "Batches of runtime events, one subject per agent.",
		Subjects:    []string{eventsPrefix + "*"},
		Retention:   jetstream.LimitsPolicy,
		MaxBytes:    s.opts.MaxStreamBytes,
		MaxAge:      s.opts.MaxStreamAge,
		MaxMsgSize:  MaxBatch + 4096,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		Duplicates:  time.Minute,
		// An agent chooses where the acknowledgement of its batch goes. These two make sure that no such reply can ever act
		// as a request that removes batches.
		DenyDelete: true,
		DenyPurge:  true,
	})
	if err != nil {
		return fmt.Errorf("opening stream %s: %w", eventsStream, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reopen != nil {
		s.reopen()
	}
	s.stream = stream
	s.reopened, s.reopen = context.WithCancel(context.Background())
	return nil
}

// embed starts the embedded NATS server and returns the secret of the user "server".
func (s *Server) embed() (string, error) {
	if s.opts.Agents == nil {
		return "", errors.New("starting NATS: no store for agents was given")
	}
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return "", fmt.Errorf("making the link's folder: %w", err)
	}
	admin, err := keepSecret(filepath.Join(s.opts.Dir, AdminSecretFile))
	if err != nil {
		return "", err
	}
	auth := &authenticator{
		serverSecret: rand.Text(), adminSecret: admin, token: s.opts.EnrolmentToken, agents: s.opts.Agents, log: s.log,
	}
	o := &natsserver.Options{
		ServerName:                 "vedette",
		DontListen:                 s.opts.Listen == "",
		NoSigs:                     true,
		NoSystemAccount:            true,
		JetStream:                  true,
		DisableJetStreamBanner:     true,
		StoreDir:                   s.opts.Dir,
		JetStreamMaxStore:          jetStreamStore,
		JetStreamMaxMemory:         jetStreamMemory,
		SyncInterval:               s.opts.SyncInterval,
		MaxPayload:                 MaxBatch + 64<<10,
		MaxConn:                    s.opts.MaxConnections,
		MaxSubs:                    64,
		AuthTimeout:                5,
		AlwaysEnableNonce:          true,
		CustomClientAuthentication: auth,
		TLSConfig:                  s.opts.TLS,
		TLS:                        s.opts.TLS != nil,
		TLSTimeout:                 5,
	}
	if s.opts.Listen != "" {
		host, port, err := net.SplitHostPort(s.opts.Listen)
		if err != nil {
			return "", fmt.Errorf("link listen address %q: %w", s.opts.Listen, err)
		}
		o.Host = host
		if o.Port, err = net.LookupPort("tcp", port); err != nil {
			return "", fmt.Errorf("link listen address %q: %w", s.opts.Listen, err)
		}
		if o.Port == 0 {
			o.Port = natsserver.RANDOM_PORT
		} else if l, err := net.Listen("tcp", s.opts.Listen); err != nil {
			// NATS ends the process when it cannot listen; finding out before gives the caller an error.
			return "", fmt.Errorf("link listen address: %w", err)
		} else {
			_ = l.Close()
		}
	}
	n, err := natsserver.NewServer(o)
	if err != nil {
		return "", fmt.Errorf("starting NATS: %w", err)
	}
	n.SetLoggerV2(natsLog{s.log, &s.refused}, false, false, false)
	s.nats = n
	n.Start()
	if !n.ReadyForConnections(20 * time.Second) {
		return "", errors.New("starting NATS: it is not ready after 20 s; see the log")
	}
	if !n.JetStreamEnabled() {
		return "", fmt.Errorf("starting NATS: JetStream could not open %s; see the log", s.opts.Dir)
	}
	return auth.serverSecret, nil
}

// keepSecret returns the secret in a file, which is made with a new one if it does not exist.
func keepSecret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text = []byte(rand.Text() + "\n")
		err = writeFile(path, text)
	}
	if err != nil {
		return "", fmt.Errorf("keeping the administrator's secret: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// writeFile replaces a file that only the owner may read, in one step.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// URL returns where agents connect, or "" if the server listens nowhere.
func (s *Server) URL() string {
	switch {
	case s.nats == nil:
		return s.opts.URL
	case s.opts.Listen == "":
		return ""
	}
	return s.nats.ClientURL()
}

// Close stops the link: agents are disconnected and spool.
func (s *Server) Close() {
	if s.stopHealing != nil {
		s.stopHealing()
		s.healing.Wait()
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
}

// Disconnect ends the connections of an agent, so that a changed [Agent] takes effect at once.
func (s *Server) Disconnect(agentID string) error {
	if s.nats == nil {
		return errors.New("disconnecting agent: the NATS server is external")
	}
	list, err := s.nats.Connz(&natsserver.ConnzOptions{Username: true, Limit: s.opts.MaxConnections})
	if err != nil {
		return fmt.Errorf("disconnecting agent: %w", err)
	}
	for _, c := range list.Conns {
		if AgentID(c.AuthorizedUser) == agentID { // It is the public key of those that signed.
			// An error means that it has just left by itself.
			_ = s.nats.DisconnectClientByID(c.Cid)
		}
	}
	return nil
}

// Heartbeats sets who receives the agents' heartbeats, one after the other. There can be one.
func (s *Server) Heartbeats(receive func(Heartbeat)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heartbeats = receive
}

func (s *Server) onHeartbeat(m *nats.Msg) {
	hb, err := parseHeartbeat(m.Subject, m.Data)
	if err != nil {
		s.metrics.malformed.Inc()
		s.log.Debug("dropping heartbeat", "subject", m.Subject, "err", err)
		return
	}
	s.metrics.heartbeats.Inc()
	s.metrics.ledgers.take(&hb, time.Now())
	s.mu.Lock()
	receive := s.heartbeats
	s.mu.Unlock()
	if receive != nil {
		receive(hb)
	}
}

// parseHeartbeat reads a heartbeat. Whatever the text says, it is from the agent that the subject names.
func parseHeartbeat(subject string, data []byte) (Heartbeat, error) {
	var hb Heartbeat
	id := idOf(subject, heartbeatPrefix)
	switch {
	case id == "":
		return hb, fmt.Errorf("no agent's subject: %q", subject)
	case len(data) > maxHeartbeat:
		return hb, fmt.Errorf("heartbeat of %d bytes", len(data))
	}
	if err := json.Unmarshal(data, &hb); err != nil {
		return hb, fmt.Errorf("reading heartbeat: %w", err)
	}
	switch {
	case hb.Epoch == "" || len(hb.Epoch) > 64:
		return hb, errors.New("heartbeat without an epoch")
	case len(hb.Workloads) > maxWorkloads:
		return hb, fmt.Errorf("heartbeat of %d workloads", len(hb.Workloads))
	case len(hb.Counters) > 1024:
		return hb, fmt.Errorf("heartbeat of %d counters", len(hb.Counters))
	}
	hb.AgentID = id
	return hb, nil
}

// Push sends a configuration to all agents, now and whenever one connects. The last one wins.
func (s *Server) Push(cfg AgentConfig) error {
	data, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("pushing configuration: %w", err)
	}
	s.mu.Lock()
	s.config = data
	s.mu.Unlock()
	if err := s.conn.Publish(configSubject, data); err != nil {
		return fmt.Errorf("pushing configuration: %w", err)
	}
	return nil
}

func (s *Server) onConfigGet(m *nats.Msg) {
	s.mu.Lock()
	data := s.config
	s.mu.Unlock()
	// The asker chooses where the answer goes; only its own inbox is a fair place.
	if data != nil && strings.HasPrefix(m.Reply, inboxPrefix) {
		_ = m.Respond(data)
	}
}

type enrolRequest struct {
	Hostname string `json:"hostname"`
}

type enrolResponse struct {
	AgentID string `json:"agentId,omitempty"`
	Error   string `json:"error,omitempty"`
}

// onEnrol makes an agent known. That it holds the key in the subject and the token was checked when it connected.
func (s *Server) onEnrol(m *nats.Msg) {
	key := idOf(m.Subject, enrolPrefix)
	if !strings.HasPrefix(m.Reply, inboxPrefix) {
		return
	}
	var req enrolRequest
	var resp enrolResponse
	err := errors.New("malformed enrolment")
	if len(m.Data) <= 4096 && json.Unmarshal(m.Data, &req) == nil && len(req.Hostname) <= 255 {
		resp, err = s.enrol(key, req)
	}
	result := "enrolled"
	if err != nil {
		resp.Error, result = err.Error(), "refused"
		s.log.Warn("refusing to enrol agent", "err", err)
	}
	s.metrics.enrolments.WithLabelValues(result).Inc()
	if err := respond(m, resp); err != nil {
		s.log.Warn("answering enrolment", "err", err)
	}
}

// enrol makes the holder of a key known. Doing it again changes nothing.
func (s *Server) enrol(key string, req enrolRequest) (enrolResponse, error) {
	if s.opts.Agents == nil {
		return enrolResponse{}, errors.New("agents do not enrol with an external NATS server")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	id := AgentID(key)
	if agent, known, err := s.opts.Agents.Agent(ctx, id); err != nil {
		return enrolResponse{}, fmt.Errorf("enrolling agent: %w", err)
	} else if known && agent.Revoked {
		return enrolResponse{}, errors.New("the agent is revoked")
	} else if !known {
		err := s.opts.Agents.PutAgent(ctx, Agent{ID: id, PublicKey: key, Hostname: req.Hostname, CreatedAt: time.Now().UTC()})
		if err != nil {
			return enrolResponse{}, fmt.Errorf("enrolling agent: %w", err)
		}
		s.log.Info("agent enrolled", "agent", id, "host", req.Hostname)
	}
	return enrolResponse{AgentID: id}, nil
}

func respond(m *nats.Msg, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return m.Respond(data)
}
