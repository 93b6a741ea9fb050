// Package docker lists what runs on a Docker engine as an inventory: ECS tasks by the labels that the ECS agent puts on their
// containers, and Compose services by those of Compose. Containers that are part of neither belong to the host and are not
// listed; the host's own agent watches them.
//
// A task is RUNNING while one of its containers other than the agent runs, else STOPPED. Stopped tasks are listed for as long
// as [Options.Keep] (1 hour), also when the engine has removed their containers meanwhile, so that coverage can say how an
// agent ended. When the engine does not answer, Tasks returns an error and nothing may be concluded.
package docker

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"

	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/container/docker"
	"vedette.dev/vedette/internal/inventory"
)

// Options configures [New].
type Options struct {
	Engine *docker.Engine // required
	Keep   time.Duration  // how long a stopped task stays listed; default 1 h
	Log    *slog.Logger
}

// Source is the inventory of one engine. It implements [inventory.Source].
type Source struct {
	engine  *docker.Engine
	keep    time.Duration
	log     *slog.Logger
	changes chan struct{}
	now     func() time.Time

	mu    sync.Mutex
	known map[string]*member // by container id
}

var _ inventory.Source = (*Source)(nil)

// member is a container that is part of a task or service.
type member struct {
	task      inventory.Task // without its containers and state
	container inventory.Container
	started   time.Time
	stopped   time.Time // zero while it runs
}

// maxMembers bounds how many containers are known.
const maxMembers = 16384

// New returns the inventory of an engine. Without Run, changes are not announced, and containers that start and go between
// two calls of Tasks are not seen.
func New(opts Options) *Source {
	if opts.Keep == 0 {
		opts.Keep = time.Hour
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{
		engine: opts.Engine, keep: opts.Keep, log: opts.Log, changes: make(chan struct{}, 1), now: time.Now, known: make(map[string]*member),
	}
}

// Changes implements [inventory.Source].
func (s *Source) Changes() <-chan struct{} { return s.changes }

// Run follows the engine's events until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	return s.engine.Watch(ctx, func(id string) {
		s.look(ctx, id)
		select {
		case s.changes <- struct{}{}:
		default:
		}
	})
}

// look brings one container up to date.
func (s *Source) look(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	got, err := s.engine.Client().ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.gone(id)
		return
	}
	s.update(&got.Container)
}

// gone marks a container that the engine does not know any more. The caller holds s.mu.
func (s *Source) gone(id string) {
	m, ok := s.known[id]
	if ok && m.stopped.IsZero() {
		m.stopped = s.now()
		m.container.LastStatus = "STOPPED"
		m.container.Reason = "the container was removed"
	}
}

// update takes over what the engine says. The caller holds s.mu.
func (s *Source) update(in *apicontainer.InspectResponse) {
	if in.Config == nil || in.State == nil {
		return
	}
	labels := in.Config.Labels
	task, ok := taskOf(labels)
	if !ok {
		return
	}
	if _, known := s.known[in.ID]; !known && len(s.known) >= maxMembers {
		s.log.Warn("too many containers; leaving one out", "container", in.ID)
		return
	}
	name := labels[container.LabelECSContainer]
	if name == "" {
		name = strings.TrimPrefix(in.Name, "/")
	}
	m := &member{task: task, started: timeOf(in.State.StartedAt), container: inventory.Container{
		Name: container.Bounded(name), Image: container.Bounded(in.Config.Image), RuntimeID: in.ID, LastStatus: "RUNNING", Agent: isAgent(labels),
	}}
	switch {
	case in.State.Running || in.State.Restarting:
	case in.State.Status == apicontainer.StateCreated:
		// It has not run yet. As in ECS, it is no reason to call the task anything.
		m.container.LastStatus = "PENDING"
	default:
		code := in.State.ExitCode
		m.container.LastStatus, m.container.ExitCode = "STOPPED", &code
		m.container.Reason = container.Bounded(in.State.Error)
		if in.State.OOMKilled {
			m.container.Reason = "OutOfMemoryError: container killed due to memory usage"
		}
		if m.stopped = timeOf(in.State.FinishedAt); m.stopped.IsZero() {
			m.stopped = s.now()
		}
	}
	s.known[in.ID] = m
}

// taskOf returns what a container is part of.
func taskOf(labels map[string]string) (inventory.Task, bool) {
	c := container.Placed(labels, "")
	switch {
	case c.Task != nil:
		t := inventory.Task{Kind: "ecs", Cluster: c.Cluster, ClusterARN: c.Task.ClusterARN, Service: c.Service, ARN: c.Task.ARN, LaunchType: c.Task.LaunchType}
		if c.Task.Family != "" {
			t.TaskDefinition = c.Task.Family + ":" + c.Task.Revision
		}
		return t, true
	case c.Cluster != "":
		return inventory.Task{Kind: "compose", Cluster: c.Cluster, Service: c.Service, ARN: "compose:" + c.Cluster + "/" + c.Service}, true
	}
	return inventory.Task{}, false
}

// isAgent reports whether the labels are those of an agent that runs beside the application.
func isAgent(labels map[string]string) bool {
	name := labels[container.LabelECSContainer]
	return labels[container.LabelAgent] == "true" || strings.HasPrefix(name, "vedette-agent") || strings.HasPrefix(name, "aws-guardduty-agent")
}

func timeOf(s string) time.Time {
	if n := docker.Nanoseconds(s); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

// Tasks implements [inventory.Source].
func (s *Source) Tasks(ctx context.Context) ([]inventory.Task, error) {
	list, err := s.engine.Client().ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("listing the Docker engine's containers: %w", err)
	}
	present := make(map[string]bool, len(list.Items))
	for _, c := range list.Items {
		present[c.ID] = true
		if _, ours := taskOf(c.Labels); !ours || !s.outdated(c.ID, c.State) {
			continue
		}
		s.look(ctx, c.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range s.known {
		if !present[id] {
			s.gone(id)
		}
		if !m.stopped.IsZero() && s.now().Sub(m.stopped) > s.keep {
			delete(s.known, id)
		}
	}
	return s.tasks(), nil
}

// outdated reports whether a container's state in a listing is not the one that is known.
func (s *Source) outdated(id string, state apicontainer.ContainerState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.known[id]
	if !ok {
		return true
	}
	// A paused container runs, for the purposes of an inventory.
	switch state {
	case apicontainer.StateRunning, apicontainer.StateRestarting, apicontainer.StatePaused:
		return m.container.LastStatus != "RUNNING"
	case apicontainer.StateCreated:
		return m.container.LastStatus != "PENDING"
	}
	return m.container.LastStatus != "STOPPED"
}

// tasks groups the members. The caller holds s.mu.
func (s *Source) tasks() []inventory.Task {
	byARN := make(map[string]*inventory.Task)
	running := make(map[string]bool)
	begun := make(map[string]bool)
	var arns []string
	for _, m := range s.known {
		t, ok := byARN[m.task.ARN]
		if !ok {
			first := m.task
			t = &first
			byARN[t.ARN] = t
			arns = append(arns, t.ARN)
		}
		t.Containers = append(t.Containers, m.container)
		if t.StartedAt.IsZero() || !m.started.IsZero() && m.started.Before(t.StartedAt) {
			t.StartedAt = m.started
		}
		if m.stopped.After(t.StoppedAt) {
			t.StoppedAt = m.stopped
		}
		if m.container.LastStatus == "RUNNING" && !m.container.Agent {
			running[t.ARN] = true
		}
		if m.container.LastStatus != "PENDING" {
			begun[t.ARN] = true
		}
	}
	sort.Strings(arns)
	out := make([]inventory.Task, 0, len(arns))
	for _, arn := range arns {
		t := byARN[arn]
		if !begun[arn] {
			continue // Its containers are made and none has started: there is nothing to watch yet.
		}
		t.LastStatus = "STOPPED"
		if running[arn] {
			t.LastStatus, t.StoppedAt = "RUNNING", time.Time{}
		}
		sort.Slice(t.Containers, func(i, j int) bool {
			x, y := &t.Containers[i], &t.Containers[j]
			if x.Name != y.Name {
				return x.Name < y.Name
			}
			return x.RuntimeID < y.RuntimeID
		})
		out = append(out, *t)
	}
	return out
}
