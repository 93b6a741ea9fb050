// Package docker describes containers by asking a Docker engine over its socket.
//
// It talks API 1.40 (Docker 19.03) and later. When the engine is away, questions fail quickly and the watch reconnects with a
// growing pause. It only reads: it never starts, stops or changes a container.
package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
)

// DefaultSocket is where the engine listens unless told otherwise.
const DefaultSocket = "/var/run/docker.sock"

// Options configures [Open].
type Options struct {
	Socket string // default [DefaultSocket]
	Host   string // the host's name: the cluster of containers that are part of nothing else
	Log    *slog.Logger
}

// Engine is a Docker engine. It implements [container.Runtime].
type Engine struct {
	client *client.Client
	host   string
	log    *slog.Logger

	mu     sync.Mutex
	known  map[string]*event.Container // what Watch has seen start, for containers that are removed before anyone asks
	oldest []string                    // the ids in known, oldest first
}

// maxKnown bounds how many containers are remembered.
const maxKnown = 1024

var _ container.Runtime = (*Engine)(nil)

// Open returns an engine. It need not run yet.
func Open(opts Options) (*Engine, error) {
	if opts.Socket == "" {
		opts.Socket = DefaultSocket
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	c, err := client.New(client.WithHost("unix://" + opts.Socket))
	if err != nil {
		return nil, fmt.Errorf("opening Docker engine %s: %w", opts.Socket, err)
	}
	return &Engine{client: c, host: opts.Host, log: opts.Log, known: make(map[string]*event.Container)}, nil
}

// Close ends the connections to the engine.
func (e *Engine) Close() error { return e.client.Close() }

// Client returns the client for what this package does not do.
func (e *Engine) Client() *client.Client { return e.client }

// maxMounts bounds how many mounts of a container are described.
const maxMounts = 64

// patience is how long an inspection may take before a shorter answer will do.
const patience = 40 * time.Millisecond

// Describe implements [container.Runtime].
//
// While the engine starts a container, which is when its first processes run, an inspection of it waits until the start is
// complete. Then the answer is taken from the engine's list, which never waits. It lacks the time of the start and whether the
// container is privileged; Watch announces the end of the start, and the next answer is complete.
func (e *Engine) Describe(ctx context.Context, id string) (*event.Container, error) {
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := e.inspect(short, id)
	if err == nil || errors.Is(err, container.ErrNotFound) || short.Err() == nil {
		return c, err
	}
	if c, ok := e.summary(ctx, id); ok {
		return c, nil
	}
	return e.inspect(ctx, id)
}

// summary describes a container from the engine's list.
func (e *Engine) summary(ctx context.Context, id string) (*event.Container, bool) {
	list, err := e.client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("id", id)})
	if err != nil || len(list.Items) != 1 || list.Items[0].ID != id {
		return nil, false
	}
	in := &list.Items[0]
	c := &event.Container{ID: id, Image: container.Bounded(in.Image), ImageID: container.Bounded(in.ImageID), Runtime: "docker", Mounts: mounts(in.Mounts)}
	if len(in.Names) > 0 {
		c.Name = container.Bounded(strings.TrimPrefix(in.Names[0], "/"))
	}
	container.Place(c, in.Labels, e.host)
	if c.Task != nil {
		c.Task.CreatedAt = time.Unix(in.Created, 0).UnixNano()
	}
	return c, true
}

func (e *Engine) inspect(ctx context.Context, id string) (*event.Container, error) {
	got, err := e.client.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if c, ok := e.known[id]; ok {
			return c, nil
		}
		return nil, fmt.Errorf("describing container %s: %w", id, container.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("describing container %s: %w", id, err)
	}
	return e.describe(&got.Container), nil
}

// remember describes a container while it is there.
func (e *Engine) remember(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := e.Describe(ctx, id)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, again := e.known[id]; !again {
		e.oldest = append(e.oldest, id)
	}
	e.known[id] = c
	if len(e.oldest) > maxKnown {
		delete(e.known, e.oldest[0])
		e.oldest = append(e.oldest[:0], e.oldest[1:]...)
	}
}

func (e *Engine) describe(in *apicontainer.InspectResponse) *event.Container {
	c := &event.Container{
		ID: in.ID, Name: container.Bounded(strings.TrimPrefix(in.Name, "/")), ImageID: container.Bounded(in.Image), Runtime: "docker",
	}
	var labels map[string]string
	if in.Config != nil {
		c.Image = container.Bounded(in.Config.Image)
		labels = in.Config.Labels
	}
	if in.HostConfig != nil {
		c.Privileged = in.HostConfig.Privileged
	}
	if in.State != nil {
		c.StartedAt = Nanoseconds(in.State.StartedAt)
	}
	c.Mounts = mounts(in.Mounts)
	container.Place(c, labels, e.host)
	if c.Task != nil {
		c.Task.CreatedAt = Nanoseconds(in.Created)
		c.Task.StartedAt = c.StartedAt
	}
	return c
}

func mounts(in []apicontainer.MountPoint) (out []event.Mount) {
	for _, m := range in[:min(len(in), maxMounts)] {
		out = append(out, event.Mount{Name: container.Bounded(m.Name), Source: container.Bounded(m.Source), Target: container.Bounded(m.Destination)})
	}
	return out
}

// Nanoseconds reads the engine's form of a time. It is 0 for "never" and for what cannot be read.
func Nanoseconds(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1980 {
		return 0
	}
	return t.UnixNano()
}

// Watch implements [container.Runtime].
func (e *Engine) Watch(ctx context.Context, changed func(id string)) error {
	wait := 200 * time.Millisecond
	for {
		began := time.Now()
		err := e.watch(ctx, changed)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > 10*time.Second {
			wait = 200 * time.Millisecond
		}
		e.log.Debug("watching the Docker engine; trying again", "err", err)
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, 30*time.Second)
	}
}

func (e *Engine) watch(ctx context.Context, changed func(id string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := e.client.Events(ctx, client.EventsListOptions{
		Filters: client.Filters{}.Add("type", "container").Add("event", "create", "start", "die", "destroy", "rename"),
	})
	// What is there already was started before anybody listened.
	list, err := e.client.ContainerList(ctx, client.ContainerListOptions{})
	if err != nil {
		return fmt.Errorf("listing containers: %w", err)
	}
	for _, c := range list.Items {
		changed(c.ID)
	}
	for {
		select {
		case m := <-stream.Messages:
			if m.Action == events.ActionCreate || m.Action == events.ActionStart {
				e.remember(ctx, m.Actor.ID)
			}
			changed(m.Actor.ID)
		case err := <-stream.Err:
			if err == nil {
				err = errors.New("the engine ended the stream")
			}
			return fmt.Errorf("reading the engine's events: %w", err)
		}
	}
}
