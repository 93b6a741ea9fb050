package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"vedette.dev/vedette/internal/inventory"
	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// The names of what the demo runs, as ECS would give them.
const (
	clusterName   = "demo"
	serviceName   = "web"
	familyName    = "web"
	revision      = "1"
	agentName     = "vedette-agent"
	containerName = "app"
)

// service is the stand-in for ECS: a service of a cluster that runs one task, an application's container with an agent
// beside it. It knows what ECS would know about its tasks, exit codes included, and tells it as an inventory.
//
// Its methods are called from one goroutine; Tasks and Changes from any.
type service struct {
	sandbox   sandbox.Runtime
	spec      sandbox.Spec
	accountID string
	region    string
	agent     agentProcess
	changes   chan struct{}

	mu    sync.Mutex
	tasks []*task
}

// agentProcess says how to start a task's agent.
type agentProcess struct {
	binary string
	args   func(scope, state string) []string // without argv[0]
	env    []string                           // added to ours
	folder string                             // for states and logs
}

// task is one running or ended task.
type task struct {
	seen      inventory.Task // as the inventory tells it
	container sandbox.Container
	agent     *exec.Cmd
	agentGone chan struct{} // closed when the agent's process was reaped
	folder    string        // the agent's state and log
}

func newService(containers sandbox.Runtime, spec sandbox.Spec, accountID, region string, agent agentProcess) *service {
	return &service{sandbox: containers, spec: spec, accountID: accountID, region: region, agent: agent, changes: make(chan struct{}, 1)}
}

func (s *service) clusterARN() string {
	return fmt.Sprintf("arn:aws:ecs:%s:%s:cluster/%s", s.region, s.accountID, clusterName)
}

// Tasks implements inventory.Source.
func (s *service) Tasks(context.Context) ([]inventory.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tasks := make([]inventory.Task, len(s.tasks))
	for i, t := range s.tasks {
		tasks[i] = t.seen
		tasks[i].Containers = append([]inventory.Container(nil), t.seen.Containers...)
	}
	return tasks, nil
}

// Changes implements inventory.Source.
func (s *service) Changes() <-chan struct{} { return s.changes }

func (s *service) changed(change func()) {
	s.mu.Lock()
	change()
	s.mu.Unlock()
	select {
	case s.changes <- struct{}{}:
	default: // one is pending already
	}
}

// start scales the service from 0 to 1.
func (s *service) start(ctx context.Context) (*task, error) {
	id := taskID()
	t := &task{agentGone: make(chan struct{})}
	arn := fmt.Sprintf("arn:aws:ecs:%s:%s:task/%s/%s", s.region, s.accountID, clusterName, id)
	spec := s.spec
	spec.Name = "demo-" + id[:12]
	spec.Labels = map[string]string{
		"com.amazonaws.ecs.cluster":                 s.clusterARN(),
		"com.amazonaws.ecs.container-name":          containerName,
		"com.amazonaws.ecs.task-arn":                arn,
		"com.amazonaws.ecs.task-definition-family":  familyName,
		"com.amazonaws.ecs.task-definition-version": revision,
	}
	container, err := s.sandbox.Run(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("starting the application's container: %w", err)
	}
	t.container = container
	info := container.Info()
	if err := simulate.Ready(ctx, container); err != nil {
		return t, errors.Join(err, container.Remove(ctx))
	}
	t.seen = inventory.Task{
		Kind: "ecs", Cluster: clusterName, ClusterARN: s.clusterARN(), Service: serviceName, ARN: arn,
		TaskDefinition: familyName + ":" + revision, LaunchType: "FARGATE", LastStatus: "RUNNING", StartedAt: info.StartedAt,
		Containers: []inventory.Container{
			{Name: containerName, Image: info.Image, RuntimeID: info.ID, LastStatus: "RUNNING"},
			{Name: agentName, LastStatus: "RUNNING", Agent: true},
		},
	}
	s.changed(func() { s.tasks = append(s.tasks, t) })

	if err := s.startAgent(t, id, info); err != nil {
		return t, err
	}
	return t, nil
}

// startAgent runs `vedette agent` with the task's cgroup as its scope. It is told the container's names in a file, as it
// would be told by the task metadata endpoint: that works for every runtime.
func (s *service) startAgent(t *task, id string, info sandbox.Info) error {
	state := filepath.Join(s.agent.folder, id)
	t.folder = state
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fmt.Errorf("making the agent's folder: %w", err)
	}
	if err := writeNames(filepath.Join(state, "containers.json"), info, t.seen); err != nil {
		return err
	}
	output, err := os.OpenFile(filepath.Join(state, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("making the agent's log: %w", err)
	}
	defer output.Close()
	t.agent = exec.Command(s.agent.binary, s.agent.args(info.CgroupPath, state)...)
	t.agent.Stdout, t.agent.Stderr = output, output
	t.agent.Env = append(os.Environ(), s.agent.env...)
	// It dies with the demo, and a Ctrl-C on the terminal is the demo's to handle.
	t.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel sends that signal when the thread that started the agent ends, not the process; so keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := t.agent.Start(); err != nil {
			started <- fmt.Errorf("starting the agent: %w", err)
			return
		}
		started <- nil
		t.agent.Wait() // its verdict is in ProcessState
		code := t.agent.ProcessState.ExitCode()
		if w, ok := t.agent.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			code = 128 + int(w.Signal()) // as ECS reports a killed container
		}
		s.changed(func() {
			for i := range t.seen.Containers {
				if c := &t.seen.Containers[i]; c.Agent {
					c.LastStatus, c.ExitCode = "STOPPED", &code
				}
			}
		})
		close(t.agentGone)
	}()
	return <-started
}

// stop scales the service from 1 to 0: application and agent are asked to end.
func (s *service) stop(ctx context.Context, t *task) error {
	var errs []error
	if t.container != nil {
		if err := t.container.Stop(ctx, 2*time.Second); err != nil {
			errs = append(errs, fmt.Errorf("stopping the application: %w", err))
		}
		code, err := t.container.Wait(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("waiting for the application: %w", err))
		}
		s.changed(func() {
			t.seen.LastStatus, t.seen.StoppedAt = "STOPPED", time.Now()
			for i := range t.seen.Containers {
				if c := &t.seen.Containers[i]; !c.Agent {
					c.LastStatus, c.ExitCode = "STOPPED", &code
				}
			}
		})
	}
	s.endAgent(t, syscall.SIGTERM)
	if t.container != nil {
		if err := t.container.Remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("removing the container: %w", err))
		}
	}
	return errors.Join(errs...)
}

// killAgent kills the agent alone; the application goes on.
func (s *service) killAgent(t *task) { s.endAgent(t, syscall.SIGKILL) }

// endAgent signals the agent and waits until it is gone; one that does not listen is killed after five seconds.
func (s *service) endAgent(t *task, signal syscall.Signal) {
	if t.agent == nil || t.agent.Process == nil {
		return
	}
	t.agent.Process.Signal(signal) // an agent that is gone already is fine
	select {
	case <-t.agentGone:
	case <-time.After(5 * time.Second):
		t.agent.Process.Kill()
		<-t.agentGone
	}
}

// close ends everything that still runs.
func (s *service) close(ctx context.Context) error {
	s.mu.Lock()
	tasks := append([]*task(nil), s.tasks...)
	s.mu.Unlock()
	var errs []error
	for _, t := range tasks {
		s.endAgent(t, syscall.SIGTERM)
		if t.container != nil {
			errs = append(errs, t.container.Remove(ctx))
		}
	}
	return errors.Join(errs...)
}

// agentLog returns the end of what a task's agent logged.
func (s *service) agentLog(t *task) string {
	text, err := os.ReadFile(filepath.Join(t.folder, "agent.log"))
	if err != nil {
		return err.Error()
	}
	if n := len(text) - 2000; n > 0 {
		text = text[n:]
	}
	return strings.TrimSpace(string(text))
}

// taskID returns 32 random hex digits.
func taskID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}
