// Package inventory defines what should be watched: the tasks of clusters as the thing that runs them reports them. The
// adapters are in the folders below (docker now; ecs, which asks the ECS API, later). Coverage compares an inventory with
// the agents' heartbeats.
package inventory

import (
	"context"
	"time"
)

// Task is one task (ECS), service instance (Compose) or host, in the shape of ECS DescribeTasks.
type Task struct {
	Kind           string // ecs, compose or host
	Cluster        string // the cluster's name
	ClusterARN     string // "" for plain Docker
	Service        string
	ARN            string // the task's ARN, or another unique id
	TaskDefinition string // family:revision
	LaunchType     string // EC2 or FARGATE
	LastStatus     string // RUNNING or STOPPED
	StartedAt      time.Time
	StoppedAt      time.Time
	Containers     []Container
}

// Container is one container of a task. An agent that runs beside the application as its own container or process is one
// of them, with Agent set.
type Container struct {
	Name       string
	Image      string
	RuntimeID  string
	LastStatus string // RUNNING or STOPPED
	ExitCode   *int   // nil while running or unknown
	Reason     string // why it stopped, if the runtime says
	Agent      bool
}

// Source lists the tasks that run now or stopped recently.
type Source interface {
	// Tasks returns the tasks, or an error when the source cannot tell (then nothing may be concluded from their absence).
	Tasks(ctx context.Context) ([]Task, error)
	// Changes returns a channel that receives a value when something changed, so that nobody need poll fast. It may be nil.
	Changes() <-chan struct{}
}
