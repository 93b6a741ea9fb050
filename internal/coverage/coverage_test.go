package coverage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/inventory"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/store"
)

const silence = 2 * time.Second

// fakeInventory is an inventory that a test changes.
type fakeInventory struct {
	mu      sync.Mutex
	tasks   []inventory.Task
	err     error
	changes chan struct{}
}

func (f *fakeInventory) Tasks(context.Context) ([]inventory.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tasks, f.err
}

func (f *fakeInventory) Changes() <-chan struct{} { return f.changes }

func (f *fakeInventory) set(err error, tasks ...inventory.Task) {
	f.mu.Lock()
	f.tasks, f.err = tasks, err
	f.mu.Unlock()
	f.changes <- struct{}{}
}

// stage is one test: a Coverage that runs in a bubble with a real store, and agents that beat until they are silenced.
type stage struct {
	t         *testing.T
	mu        sync.Mutex // guards c and events between the script and the goroutines
	c         *Coverage
	db        *store.DB
	inventory *fakeInventory
	events    []bus.Event
	agents    map[string]context.CancelFunc
	ctx       context.Context
	stopFirst context.CancelFunc
}

// play runs a test in a bubble.
func play(t *testing.T, withInventory bool, script func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		db, err := store.Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "v.db"), slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s := &stage{t: t, db: db, agents: map[string]context.CancelFunc{}, ctx: ctx}
		s.detector(finding.Enabled)
		o := Options{
			Store: db, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), AccountID: "111122223333", Region: "us-east-1",
			SilenceTimeout: silence, Registry: prometheus.NewRegistry(),
			Publish: func(tx *store.Tx, name string, ev bus.Event) error {
				if name != bus.DefaultBus {
					t.Errorf("event on bus %q", name)
				}
				tx.AfterCommit(func() {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.events = append(s.events, ev)
				})
				return nil
			},
		}
		if withInventory {
			s.inventory = &fakeInventory{changes: make(chan struct{}, 100)}
			o.Inventory = []inventory.Source{s.inventory}
		}
		s.c = New(o)
		var running sync.WaitGroup
		first, stopFirst := context.WithCancel(ctx)
		s.stopFirst = stopFirst
		c := s.c
		running.Go(func() {
			if err := c.Run(first); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		script(s)
		cancel()
		running.Wait()
	})
}

func (s *stage) detector(status string) {
	s.t.Helper()
	err := s.db.Update(context.Background(), func(tx *store.Tx) error {
		return detectors.Put(tx, "d", finding.Detector{ID: "d", Status: status, Features: []finding.Feature{{Name: finding.RuntimeMonitoring, Status: finding.Enabled,
			AdditionalConfiguration: []finding.Feature{{Name: "ECS_FARGATE_AGENT_MANAGEMENT", Status: finding.Enabled}}}}})
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.c != nil {
		s.c.Refresh()
	}
}

// start has an agent report workloads twice a second.
func (s *stage) start(id, scope string, workloads ...link.Workload) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.agents[id] = cancel
	epoch := fmt.Sprint(time.Now().UnixNano())
	go func() {
		for {
			s.mu.Lock()
			s.c.Heartbeat(link.Heartbeat{AgentID: id, Epoch: epoch, Scope: scope, Workloads: workloads})
			s.mu.Unlock()
			if !sleep(ctx, silence/4) {
				return
			}
		}
	}()
}

func (s *stage) kill(id string) { s.agents[id]() }

// stop ends an agent as SIGTERM does: with a last heartbeat.
func (s *stage) stop(id string, workloads ...link.Workload) {
	s.agents[id]()
	s.c.Heartbeat(link.Heartbeat{AgentID: id, Epoch: "e", Scope: "/task", Stopping: true, Workloads: workloads})
}

// wait lets time pass.
func (s *stage) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want checks the status and issue of a cluster, and how many events there were so far.
func (s *stage) want(cluster, status, issue string, events int) {
	s.t.Helper()
	rows, err := s.c.Rows(context.Background(), func(r *Row) bool { return r.ClusterName == cluster })
	if err != nil {
		s.t.Fatal(err)
	}
	got := "no row"
	if len(rows) == 1 {
		got = rows[0].Status + " " + rows[0].Issue
	} else if len(rows) > 1 {
		got = fmt.Sprint(rows)
	}
	want := status + " " + issue
	if status == "" {
		want = "no row"
	}
	if got != want {
		s.t.Errorf("cluster %s: %s, want %s", cluster, got, want)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) != events {
		s.t.Errorf("%d events, want %d", len(s.events), events)
	}
}

const arn = "arn:aws:ecs:us-east-1:111122223333:task/prod-web/"

func ecs(id string) link.Workload {
	return link.Workload{Kind: "ecs", Cluster: "prod-web", ClusterARN: "arn:aws:ecs:us-east-1:111122223333:cluster/prod-web", Service: "web",
		TaskARN: arn + id, TaskDefinition: "web:42", LaunchType: "FARGATE", Containers: 1}
}

func task(id, status string, containers ...inventory.Container) inventory.Task {
	w := ecs(id)
	return inventory.Task{Kind: w.Kind, Cluster: w.Cluster, ClusterARN: w.ClusterARN, Service: w.Service, ARN: w.TaskARN,
		TaskDefinition: w.TaskDefinition, LaunchType: w.LaunchType, LastStatus: status, Containers: containers}
}

const notReporting = "Agent not reporting:Agent not reporting, for task(s) in TaskDefinition - 'web:42'"

func TestScaleToZeroAndBack(t *testing.T) {
	for _, withInventory := range []bool{true, false} {
		for _, graceful := range []bool{true, false} {
			t.Run(fmt.Sprintf("inventory=%v graceful=%v", withInventory, graceful), func(t *testing.T) {
				play(t, withInventory, func(s *stage) {
					if withInventory {
						s.inventory.set(nil, task("1", "RUNNING"))
					}
					s.start("a", "/task1", ecs("1"))
					s.wait(time.Second)
					s.want("prod-web", Healthy, "", 0)
					if graceful {
						s.stop("a", ecs("1"))
					} else {
						s.kill("a")
					}
					if withInventory {
						s.inventory.set(nil, task("1", "STOPPED"))
					}
					s.wait(silence + silence/2)
					s.want("prod-web", Unhealthy, notReporting, 1)
					s.wait(time.Minute)
					s.want("prod-web", Unhealthy, notReporting, 1)
					if withInventory {
						s.inventory.set(nil, task("2", "RUNNING"))
					}
					s.start("b", "/task2", ecs("2"))
					s.wait(time.Second)
					s.want("prod-web", Healthy, "", 2)
					s.wait(time.Minute)
					s.want("prod-web", Healthy, "", 2)
				})
			})
		}
	}
}

// TestRestartedAgent has an agent come back that does not know its containers yet: that is no silence.
func TestRestartedAgent(t *testing.T) {
	host := link.Workload{Kind: "host", Cluster: "vm"}
	for _, withInventory := range []bool{true, false} {
		for _, graceful := range []bool{true, false} {
			t.Run(fmt.Sprintf("inventory=%v graceful=%v", withInventory, graceful), func(t *testing.T) {
				play(t, withInventory, func(s *stage) {
					if withInventory {
						s.inventory.set(nil, task("1", "RUNNING"))
					}
					s.start("a", "host", host, ecs("1"))
					s.wait(20*time.Second + silence/8)
					s.want("prod-web", Healthy, "", 0)
					if graceful {
						s.stop("a", host, ecs("1"))
					} else {
						s.kill("a")
					}
					s.wait(silence / 8)
					s.start("a", "host", host)
					s.wait(silence / 2)
					s.want("prod-web", Healthy, "", 0)
					s.kill("a")
					s.start("a", "host", host, ecs("1"))
					s.wait(20 * time.Second)
					s.want("prod-web", Healthy, "", 0)
					if !withInventory {
						return // a host that says it runs none of a cluster's tasks is believed
					}
					s.kill("a")
					s.start("a", "host", host) // a task that it never finds again is silent
					s.wait(silence + silence/2)
					s.want("prod-web", Unhealthy, notReporting, 1)
				})
			})
		}
	}
}

func TestEventShape(t *testing.T) {
	play(t, true, func(s *stage) {
		s.inventory.set(nil, task("1", "RUNNING"))
		s.start("a", "/task1", ecs("1"))
		s.wait(time.Second)
		s.kill("a")
		s.inventory.set(nil)
		s.wait(2 * silence)
		if len(s.events) != 1 {
			t.Fatalf("%d events", len(s.events))
		}
		ev := s.events[0]
		if ev.DetailType != "GuardDuty Runtime Protection Unhealthy" || ev.Source != "aws.guardduty" || ev.Account != "111122223333" || ev.Region != "us-east-1" {
			t.Errorf("envelope: %+v", ev)
		}
		var got, want any
		at := ev.Time.Format("2006-01-02T15:04:05.000Z")
		wantText := `{"schemaVersion":"1.0","resourceAccountId":"111122223333","currentStatus":"Unhealthy","previousStatus":"Healthy",
			"resourceDetails":{"resourceType":"ECS","ecsClusterDetails":{"clusterName":"prod-web",
			"fargateDetails":{"issues":["Agent not reporting, for task(s) in TaskDefinition - 'web:42'"],"managementType":"AUTO_MANAGED"},
			"containerInstanceDetails":{"coveredContainerInstances":0,"compatibleContainerInstances":0}}},
			"issue":"` + notReporting + `","lastUpdatedAt":"` + at + `"}`
		if err := json.Unmarshal([]byte(wantText), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ev.Detail, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("detail (-want +got):\n%s", diff)
		}
	})
}

func TestAgentExited(t *testing.T) {
	code := 137
	play(t, true, func(s *stage) {
		agent := inventory.Container{Name: "agent", LastStatus: "RUNNING", Agent: true}
		s.inventory.set(nil, task("1", "RUNNING", inventory.Container{Name: "app", LastStatus: "RUNNING"}, agent))
		s.start("a", "/task1", ecs("1"))
		s.wait(time.Second)
		s.want("prod-web", Healthy, "", 0)
		s.kill("a")
		agent.LastStatus, agent.ExitCode = "STOPPED", &code
		s.inventory.set(nil, task("1", "RUNNING", inventory.Container{Name: "app", LastStatus: "RUNNING"}, agent))
		s.wait(silence + time.Second)
		s.want("prod-web", Unhealthy, "Agent exited:ExitCode: 137 for tasks in TaskDefinition - 'web:42'", 1)
		agent.Reason = "OutOf\x1bMemory"
		s.inventory.set(nil, task("1", "RUNNING", agent))
		s.wait(time.Second)
		s.want("prod-web", Unhealthy, `Agent exited:ExitCode: 137 with reason: 'OutOf\x1bMemory' for tasks in TaskDefinition - 'web:42'`, 1)
	})
}

func TestKilledAgentWhileTheApplicationRuns(t *testing.T) {
	for _, withInventory := range []bool{true, false} {
		play(t, withInventory, func(s *stage) {
			if withInventory {
				s.inventory.set(nil, task("1", "RUNNING"))
			}
			s.start("a", "/task1", ecs("1"))
			s.wait(time.Second)
			s.kill("a")
			s.wait(silence + time.Second)
			s.want("prod-web", Unhealthy, notReporting, 1)
			s.start("a", "/task1", ecs("1"))
			s.wait(time.Second)
			s.want("prod-web", Healthy, "", 2)
		})
	}
}

// TestRollingDeployment replaces a task: overlapping, and with a gap shorter than the timeout. Nobody is alarmed.
func TestRollingDeployment(t *testing.T) {
	for _, withInventory := range []bool{true, false} {
		play(t, withInventory, func(s *stage) {
			set := func(tasks ...inventory.Task) {
				if withInventory {
					s.inventory.set(nil, tasks...)
				}
			}
			set(task("1", "RUNNING"))
			s.start("a", "/task1", ecs("1"))
			s.wait(time.Second)
			set(task("1", "RUNNING"), task("2", "RUNNING"))
			s.wait(time.Second)
			s.start("b", "/task2", ecs("2"))
			s.wait(silence)
			s.stop("a", ecs("1"))
			set(task("1", "STOPPED"), task("2", "RUNNING"))
			s.wait(time.Minute)
			s.want("prod-web", Healthy, "", 0)
			// With a gap.
			s.stop("b")
			set(task("2", "STOPPED"))
			s.wait(time.Second)
			set(task("2", "STOPPED"), task("3", "RUNNING"))
			s.start("c", "/task3", ecs("3"))
			s.wait(time.Second)
			s.want("prod-web", Healthy, "", 0)
			// Long after, the inventory has forgotten the old tasks: their agents' last words must not come back.
			set(task("3", "RUNNING"))
			s.wait(time.Hour)
			s.want("prod-web", Healthy, "", 0)
		})
	}
}

func TestTaskWithoutAgent(t *testing.T) {
	play(t, true, func(s *stage) {
		s.inventory.set(nil, task("1", "RUNNING"))
		s.wait(time.Second)
		s.want("prod-web", "", "", 0)
		s.wait(2 * silence)
		s.want("prod-web", Unhealthy, notReporting, 1)
		var detail change
		if err := json.Unmarshal(s.events[0].Detail, &detail); err != nil || detail.PreviousStatus != "" {
			t.Errorf("previous status %q, %v: there was none", detail.PreviousStatus, err)
		}
	})
}

func TestUnreadableInventoryConcludesNothing(t *testing.T) {
	play(t, true, func(s *stage) {
		s.inventory.set(nil, task("1", "RUNNING"))
		s.start("a", "/task1", ecs("1"))
		s.wait(time.Second)
		s.inventory.set(errors.New("docker is away"))
		s.wait(time.Minute)
		s.want("prod-web", Healthy, "", 0)
	})
}

func TestDetectorSwitchedOff(t *testing.T) {
	play(t, false, func(s *stage) {
		s.start("a", "/task1", ecs("1"))
		s.wait(time.Second)
		s.want("prod-web", Healthy, "", 0)
		s.detector(finding.Disabled)
		s.kill("a")
		s.wait(time.Minute)
		s.want("prod-web", "", "", 0)
		s.start("a", "/task1", ecs("1"))
		s.detector(finding.Enabled)
		s.wait(time.Second)
		s.want("prod-web", Healthy, "", 0)
	})
}

func TestHostAgent(t *testing.T) {
	host := link.Workload{Kind: "host", Cluster: "node-1", Containers: 3}
	project := link.Workload{Kind: "compose", Cluster: "shop", Service: "web", Containers: 1}
	play(t, true, func(s *stage) {
		shop := inventory.Task{Kind: "compose", Cluster: "shop", Service: "web", ARN: "compose:shop/web", LastStatus: "RUNNING"}
		s.inventory.set(nil, shop)
		s.start("a", "host", host, project)
		s.wait(time.Second)
		s.want("shop", Healthy, "", 0)
		s.want("node-1", Healthy, "", 0)
		rows, err := s.c.Rows(context.Background(), func(r *Row) bool { return r.ClusterName == "node-1" })
		if err != nil || len(rows) != 1 || rows[0].Covered != 1 || rows[0].Compatible != 1 {
			t.Errorf("rows %+v, %v", rows, err)
		}
		// docker compose down: nothing is wrong, and the project's row goes.
		s.kill("a")
		s.start("a", "host", host)
		s.inventory.set(nil)
		s.wait(time.Minute)
		s.want("shop", "", "", 0)
		s.want("node-1", Healthy, "", 0)
		s.kill("a")
		s.wait(time.Minute)
		s.want("node-1", Unhealthy, "Agent not reporting:Agent not reporting, for host 'node-1'", 1)
	})
}

// restart replaces the Coverage by a new one on the same store, as a restart of the server does.
func (s *stage) restart(grace time.Duration) {
	s.stopFirst()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.c.o
	o.Registry, o.StartGrace = nil, grace
	c := New(o)
	s.c = c
	go c.Run(s.ctx)
}

// TestRestartedServer restarts the server while an agent goes on, and while one does not.
func TestRestartedServer(t *testing.T) {
	for _, withInventory := range []bool{true, false} {
		play(t, withInventory, func(s *stage) {
			if withInventory {
				s.inventory.set(nil, task("1", "RUNNING"))
			}
			s.start("a", "/task1", ecs("1"))
			s.wait(time.Second)
			s.restart(silence)
			s.wait(time.Minute)
			s.want("prod-web", Healthy, "", 0)
			s.kill("a")
			s.wait(time.Minute)
			s.want("prod-web", Unhealthy, notReporting, 1)
		})
		play(t, withInventory, func(s *stage) {
			if withInventory {
				s.inventory.set(nil, task("1", "RUNNING"))
			}
			s.start("a", "/task1", ecs("1"))
			s.wait(time.Second)
			s.kill("a")
			s.wait(time.Second / 2)
			s.restart(30 * time.Second)
			s.wait(29 * time.Second)
			s.want("prod-web", Healthy, "", 0)
			s.wait(5 * time.Second)
			s.want("prod-web", Unhealthy, notReporting, 1)
		})
	}
}

func TestHostileHeartbeats(t *testing.T) {
	play(t, false, func(s *stage) {
		long := make([]byte, 10000)
		for i := range long {
			long[i] = 0xff
		}
		workloads := make([]link.Workload, 5000)
		for i := range workloads {
			workloads[i] = link.Workload{Kind: "ecs", Cluster: fmt.Sprint(i)}
		}
		workloads[0].Cluster = string(long)
		s.start("a", "host", workloads...)
		s.wait(5 * time.Second)
		rows, err := s.c.Rows(context.Background(), nil)
		if err != nil || len(rows) != maxWorkloads {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for _, r := range rows {
			if len(r.ClusterName) > maxName {
				t.Errorf("a name of %d bytes", len(r.ClusterName))
			}
		}
	})
}
