// Package app wires the rooms together: the server, the agent, and both in one process. It is the only package that knows
// all of them. In goes the configuration; out comes something to Run until its context ends.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"vedette.dev/vedette/internal/awsapi"
	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/config"
	"vedette.dev/vedette/internal/container/docker"
	"vedette.dev/vedette/internal/coverage"
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/custom"
	"vedette.dev/vedette/internal/detect/rules"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/ingest"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/inventory"
	dockerinventory "vedette.dev/vedette/internal/inventory/docker"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/notify/smtp"
	"vedette.dev/vedette/internal/notify/smtp/sink"
	"vedette.dev/vedette/internal/notify/sns"
	"vedette.dev/vedette/internal/notify/webhook"
	"vedette.dev/vedette/internal/store"
)

// ServerOptions is what a server needs besides the configuration.
type ServerOptions struct {
	Log       *slog.Logger
	Inventory []inventory.Source   // what should be watched, besides what the configuration names
	Metrics   *prometheus.Registry // nil makes one
}

// Server is everything but the agent: link, detection, findings, coverage, bus, notification and the API.
type Server struct {
	config    config.Config
	log       *slog.Logger
	endpoints Endpoints
	metrics   *prometheus.Registry

	db        *store.DB
	sink      *sink.Sink // nil when a relay is used
	topics    *sns.Service
	bus       *bus.Bus
	sets      *intel.Sets
	feeds     *intel.Feeds
	engine    *detect.Engine
	custom    *custom.Rules // nil unless configured
	ingest    *ingest.Ingester
	coverage  *coverage.Coverage
	docker    *dockerinventory.Source // nil unless configured
	link      *link.Server
	guardDuty *awsapi.GuardDuty
	listener  net.Listener
	http      *http.Server

	closers []func() error // what was opened, in order; closed in reverse
}

// NewServer opens everything and listens, so that Endpoints are true when it returns. Nothing works on its own until Run.
func NewServer(ctx context.Context, c config.Config, o ServerOptions) (_ *Server, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	s := &Server{config: c, log: o.Log, metrics: o.Metrics}
	if s.metrics == nil {
		s.metrics = prometheus.NewRegistry()
		s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()

	data := Data(c.Data)
	if err := data.Open(); err != nil {
		return nil, err
	}
	keys, err := data.Credentials()
	if err != nil {
		return nil, err
	}
	token, err := data.EnrolmentToken()
	if err != nil {
		return nil, err
	}
	if s.db, err = store.Open(ctx, data.Database(), s.log); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s.opened(s.db.Close)

	// The API's listener comes first: mails and answers name its address.
	if s.listener, err = net.Listen("tcp", c.Server.Listen); err != nil {
		return nil, fmt.Errorf("listening for the API: %w", advise(err, "--listen"))
	}
	s.opened(func() error { return ignoreClosed(s.listener.Close()) })
	c.Server.Listen = s.listener.Addr().String()

	if err := s.openAlerts(ctx, c); err != nil {
		return nil, err
	}
	if err := s.openDetection(ctx, c, data); err != nil {
		return nil, err
	}
	sources := o.Inventory
	if c.Inventory.Docker {
		engine, err := docker.Open(docker.Options{Socket: c.Agent.Docker, Log: s.log})
		if err != nil {
			return nil, fmt.Errorf("opening the Docker engine's socket: %w", err)
		}
		s.opened(engine.Close)
		s.docker = dockerinventory.New(dockerinventory.Options{Engine: engine, Log: s.log})
		sources = append(slices.Clip(sources), s.docker)
	}
	s.coverage = coverage.New(coverage.Options{
		Store: s.db, Publish: s.bus.Put, Inventory: sources, Log: s.log, AccountID: c.AccountID, Region: c.Region,
		SilenceTimeout: c.Coverage.Silence, Registry: s.metrics,
	})
	if s.link, err = link.Serve(ctx, link.ServerOptions{
		Dir: data.Stream(), Listen: c.Server.Link, EnrolmentToken: token, Agents: agents{s.db},
		MaxStreamBytes: c.Stream.MaxBytes, MaxStreamAge: c.Stream.MaxAge, Log: s.log, Registerer: s.metrics,
	}); err != nil {
		return nil, fmt.Errorf("opening the link: %w", advise(err, "--link"))
	}
	s.opened(func() error { s.link.Close(); return nil })
	s.link.Heartbeats(s.coverage.Heartbeat)

	if err := s.openAPI(c, keys); err != nil {
		return nil, err
	}
	s.endpoints = Endpoints{
		PID: os.Getpid(), API: "http://" + c.Server.Listen, Link: s.link.URL(), AccountID: c.AccountID, Region: c.Region,
	}
	if s.sink != nil {
		s.endpoints.Mails = data.Mails()
	}
	return s, data.writeEndpoints(s.endpoints)
}

// openAlerts opens the way from an event to a person: topics with their mailer, and the bus that sends to them.
func (s *Server) openAlerts(ctx context.Context, c config.Config) (err error) {
	relay := c.Mail.SMTP
	if relay == "" {
		if s.sink, err = sink.Open(sink.Options{Folder: Data(c.Data).Mails(), Log: s.log}); err != nil {
			return fmt.Errorf("opening the mail sink: %w", err)
		}
		s.opened(s.sink.Close)
		relay = s.sink.URL()
	}
	mailer, err := smtp.New(relay, c.Mail.From)
	if err != nil {
		return fmt.Errorf("mail relay: %w", err)
	}
	s.topics, err = sns.New(ctx, sns.Options{
		Store: s.db, AccountID: c.AccountID, Region: c.Region, PublicURL: c.Public(), Mailer: mailer, Poster: webhook.New(nil),
		Log: s.log, Registerer: s.metrics,
	})
	if err != nil {
		return fmt.Errorf("opening the topics: %w", err)
	}
	s.bus = bus.New(bus.Options{
		Store: s.db, AccountID: c.AccountID, Region: c.Region, Targets: map[string]bus.Receiver{"sns": s.topics},
		Log: s.log, Registerer: s.metrics,
	})
	return nil
}

// openDetection opens the way from a batch to a finding.
func (s *Server) openDetection(ctx context.Context, c config.Config, data Data) (err error) {
	lists := intel.NewLists()
	if s.sets, err = intel.OpenSets(ctx, intel.SetsOptions{Store: s.db, Lists: lists, Folder: data.Lists(), Folders: c.Lists.Folders, Log: s.log}); err != nil {
		return fmt.Errorf("opening the threat lists: %w", err)
	}
	feeds := make([]intel.Feed, len(c.Lists.Feeds))
	for i, feed := range c.Lists.Feeds {
		feeds[i] = intel.Feed(feed)
	}
	s.feeds, err = intel.OpenFeeds(ctx, intel.FeedsOptions{
		Store: s.db, Lists: lists, Folder: data.Lists(), Feeds: feeds, Log: s.log, Registry: s.metrics,
	})
	if err != nil {
		return fmt.Errorf("lists.feeds: %w", err)
	}
	if s.engine, err = detect.New(detect.Options{Rules: rules.All(), Lists: lists, Registry: s.metrics}); err != nil {
		return fmt.Errorf("compiling the rules: %w", err)
	}
	if c.Rules != "" {
		s.custom, err = custom.Open(custom.Options{Dir: c.Rules, Engine: s.engine, Changed: s.configureAgents, Log: s.log, Registry: s.metrics})
		if err != nil {
			return err
		}
	}
	s.ingest, err = ingest.New(ctx, ingest.Options{
		Store: s.db, Publish: s.bus.Put, Engine: s.engine, Trust: lists, Log: s.log, AccountID: c.AccountID, Region: c.Region, Registry: s.metrics,
	})
	if err != nil {
		return fmt.Errorf("opening the ingest: %w", err)
	}
	return nil
}

// openAPI makes the HTTP server: the AWS wire, the pages behind the links in mails, health and metrics.
func (s *Server) openAPI(c config.Config, keys Credentials) error {
	var err error
	s.guardDuty, err = awsapi.NewGuardDuty(awsapi.GuardDutyOptions{
		AccountID: c.AccountID, Region: c.Region, Store: s.db, Samples: s.ingest, Sets: s.sets,
		DetectorChanged: func(*finding.Detector) { s.coverage.Refresh() },
	})
	if err != nil {
		return fmt.Errorf("making the GuardDuty API: %w", err)
	}
	api, err := awsapi.New(awsapi.Options{
		GuardDuty: s.guardDuty, EventBridge: awsapi.NewEventBridge(c.AccountID, s.db, s.bus), SNS: awsapi.NewSNS(c.AccountID, s.db, s.topics),
		Keys: keys, Region: c.Region, Public: s.topics.Pages(), Log: s.log, Registerer: s.metrics,
	})
	if err != nil {
		return fmt.Errorf("making the API: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return nil
}

func (s *Server) opened(closer func() error) { s.closers = append(s.closers, closer) }

// Endpoints returns where the server listens.
func (s *Server) Endpoints() Endpoints { return s.endpoints }

// Run works until ctx ends or a part fails, and closes everything.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	// What agents need not send is told to them before the first one connects.
	if err := s.configureAgents(); err != nil {
		return fmt.Errorf("configuring the agents: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	part := func(name string, run func(context.Context) error) {
		g.Go(func() error {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	// In the order in which an event meets them.
	part("link", func(ctx context.Context) error {
		return s.link.Consume(ctx, s.ingest.Position(), func(m link.Message) error { return s.ingest.Handle(ctx, m) })
	})
	part("ingest", s.ingest.Run)
	part("threat lists", s.sets.Run)
	part("feeds", s.feeds.Run)
	if s.custom != nil {
		part("rules", s.custom.Run)
	}
	if s.docker != nil {
		part("Docker inventory", s.docker.Run)
	}
	part("coverage", s.coverage.Run)
	part("event bus", s.bus.Run)
	part("topics", s.topics.Run)
	if s.sink != nil {
		part("mail sink", s.sink.Run)
	}
	part("API", s.serve)
	return g.Wait()
}

// configureAgents tells agents which kinds of event the rules need.
func (s *Server) configureAgents() error {
	return s.link.Push(link.AgentConfig{Kinds: s.engine.Kinds()})
}

func (s *Server) serve(ctx context.Context) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer done()
		stopped <- s.http.Shutdown(grace)
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close releases everything. It is safe to call twice, but not while Run works.
func (s *Server) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// advise says what to do about an address that cannot be listened on.
func advise(err error, flag string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: stop the program that listens there, or choose another address with %s", err, flag)
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
