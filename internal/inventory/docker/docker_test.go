package docker

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apicontainer "github.com/moby/moby/api/types/container"
	"go.uber.org/goleak"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/container/docker"
	"vedette.dev/vedette/internal/container/docker/dockertest"
	"vedette.dev/vedette/internal/inventory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func labels(task, name string) map[string]string {
	return map[string]string{
		container.LabelECSTask: "arn:aws:ecs:eu-west-1:111122223333:task/shop/" + task, container.LabelECSCluster: "shop",
		container.LabelECSContainer: name, container.LabelECSFamily: "shop-web", container.LabelECSRevision: "42",
	}
}

// find returns the task whose ARN ends so.
func find(t *testing.T, s *Source, end string) (inventory.Task, bool) {
	t.Helper()
	tasks, err := s.Tasks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if strings.HasSuffix(task.ARN, end) {
			return task, true
		}
	}
	return inventory.Task{}, false
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestTasksOfARealEngine(t *testing.T) {
	d := dockertest.Open(t)
	s := New(Options{Engine: d.Engine})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	unique := "t" + strings.ToLower(t.Name())
	app := d.Start(labels(unique, "web"), "sleep")
	agent := d.Start(labels(unique, "vedette-agent"), "sleep")
	d.Start(map[string]string{container.LabelProject: unique, container.LabelService: "db"}, "sleep")
	plain := d.Start(nil, "sleep")

	task, ok := find(t, s, unique)
	want := inventory.Task{
		Kind: "ecs", Cluster: "shop", ClusterARN: "arn:aws:ecs:eu-west-1:111122223333:cluster/shop", ARN: "arn:aws:ecs:eu-west-1:111122223333:task/shop/" + unique,
		TaskDefinition: "shop-web:42", LaunchType: "EC2", LastStatus: "RUNNING", Containers: []inventory.Container{
			{Name: "vedette-agent", RuntimeID: agent, LastStatus: "RUNNING", Agent: true}, {Name: "web", RuntimeID: app, LastStatus: "RUNNING"},
		},
	}
	ignore := cmp.Options{cmpopts.IgnoreFields(inventory.Task{}, "StartedAt", "StoppedAt"), cmpopts.IgnoreFields(inventory.Container{}, "Image")}
	if diff := cmp.Diff(want, task, ignore); diff != "" || !ok || task.StartedAt.IsZero() || !task.StoppedAt.IsZero() {
		t.Errorf("the ECS task, found %v, started %v (-want +got):\n%s", ok, task.StartedAt, diff)
	}
	if task, ok := find(t, s, "compose:"+unique+"/db"); !ok || task.Kind != "compose" || task.Service != "db" || task.LastStatus != "RUNNING" {
		t.Errorf("the Compose service: %v, %+v", ok, task)
	}
	if tasks, _ := s.Tasks(t.Context()); strings.Contains(cmp.Diff(tasks, nil), plain) {
		t.Error("a container that is part of nothing is listed")
	}

	// Only the agent dies.
	for len(s.Changes()) > 0 {
		<-s.Changes()
	}
	d.Kill(agent)
	select {
	case <-s.Changes():
	case <-time.After(30 * time.Second):
		t.Error("the end of a container is no change")
	}
	eventually(t, "the agent's exit code", func() bool {
		task, _ = find(t, s, unique)
		c := task.Containers[0]
		return task.LastStatus == "RUNNING" && c.LastStatus == "STOPPED" && c.ExitCode != nil && *c.ExitCode == 137
	})
	d.Kill(app)
	eventually(t, "the stopped task", func() bool {
		task, _ = find(t, s, unique)
		return task.LastStatus == "STOPPED" && !task.StoppedAt.IsZero()
	})
	// The engine forgets them; the inventory does not, for a while.
	d.Remove(app)
	d.Remove(agent)
	task, ok = find(t, s, unique)
	if !ok || task.LastStatus != "STOPPED" || task.Containers[0].ExitCode == nil || *task.Containers[0].ExitCode != 137 {
		t.Errorf("after its containers were removed: %v, %+v", ok, task)
	}
	s.mu.Lock()
	s.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	s.mu.Unlock()
	if task, ok := find(t, s, unique); ok {
		t.Errorf("two hours later: %+v", task)
	}
}

func TestEngineIsAway(t *testing.T) {
	e, err := docker.Open(docker.Options{Socket: t.TempDir() + "/none.sock"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if tasks, err := New(Options{Engine: e}).Tasks(t.Context()); err == nil {
		t.Errorf("an engine that does not answer has the tasks %v", tasks)
	}
}

func TestStates(t *testing.T) {
	s := New(Options{})
	in := func(id string, state apicontainer.State) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.update(&apicontainer.InspectResponse{ID: id, Name: "/" + id, State: &state, Config: &apicontainer.Config{Labels: labels("1", "")}})
	}
	const never = "0001-01-01T00:00:00Z"
	in("new", apicontainer.State{Status: apicontainer.StateCreated, StartedAt: never, FinishedAt: never})
	if tasks := s.tasks(); len(tasks) != 0 {
		t.Errorf("created, not started: %+v", tasks)
	}
	in("new", apicontainer.State{Status: apicontainer.StateRunning, Running: true, StartedAt: "2026-01-02T03:04:05Z", FinishedAt: never})
	if task := s.tasks()[0]; task.LastStatus != "RUNNING" || task.StartedAt.IsZero() {
		t.Errorf("running: %+v", task)
	}
	in("new", apicontainer.State{Status: apicontainer.StateExited, ExitCode: 137, OOMKilled: true, StartedAt: "2026-01-02T03:04:05Z", FinishedAt: "2026-01-02T03:05:05Z"})
	if c := s.tasks()[0].Containers[0]; *c.ExitCode != 137 || !strings.HasPrefix(c.Reason, "OutOfMemoryError") {
		t.Errorf("out of memory: %+v", c)
	}
	in("side", apicontainer.State{Status: apicontainer.StateRestarting, Restarting: true})
	if task := s.tasks()[0]; task.LastStatus != "RUNNING" || len(task.Containers) != 2 {
		t.Errorf("restarting: %+v", task)
	}
}

func TestBounded(t *testing.T) {
	s := New(Options{})
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range maxMembers + 100 {
		s.update(&apicontainer.InspectResponse{
			ID: strings.Repeat("x", i%7) + time.Duration(i).String(), State: &apicontainer.State{Running: true}, Config: &apicontainer.Config{Labels: labels("1", "c")},
		})
	}
	if len(s.known) != maxMembers {
		t.Errorf("%d containers are known, want %d", len(s.known), maxMembers)
	}
}
