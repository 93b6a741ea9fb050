package container

import (
	"strings"

	"vedette.dev/vedette/internal/event"
)

// The labels that say what a container is part of.
const (
	LabelECSCluster   = "com.amazonaws.ecs.cluster"
	LabelECSContainer = "com.amazonaws.ecs.container-name"
	LabelECSTask      = "com.amazonaws.ecs.task-arn"
	LabelECSFamily    = "com.amazonaws.ecs.task-definition-family"
	LabelECSRevision  = "com.amazonaws.ecs.task-definition-version"
	LabelProject      = "com.docker.compose.project"
	LabelService      = "com.docker.compose.service"
	// LabelAgent marks a container that is Vedette's agent, with the value "true".
	LabelAgent = "dev.vedette.agent"
)

// MaxText bounds every text that comes from a runtime.
const MaxText = 512

// Bounded cuts a text from a runtime.
func Bounded(s string) string {
	if len(s) > MaxText {
		return s[:MaxText]
	}
	return strings.Clone(s)
}

// Place fills in what a container is part of, from its labels: the ECS task, the Compose project and service, or else the
// host. It leaves alone what is already set.
func Place(c *event.Container, labels map[string]string, host string) {
	if arn := Bounded(labels[LabelECSTask]); arn != "" && c.Task == nil {
		cluster := Bounded(labels[LabelECSCluster])
		t := &event.Task{
			ARN: arn, ClusterARN: clusterARN(arn, cluster), Family: Bounded(labels[LabelECSFamily]), Revision: Bounded(labels[LabelECSRevision]),
			DefinitionARN: definitionARN(arn, labels[LabelECSFamily], labels[LabelECSRevision]), LaunchType: "EC2",
			ContainerName: Bounded(labels[LabelECSContainer]),
		}
		c.Task = t
		if c.Cluster == "" {
			c.Cluster = lastOf(cluster)
		}
		if c.Cluster == "" {
			c.Cluster = lastOf(t.ClusterARN)
		}
	}
	if c.Cluster == "" && c.Task == nil && labels[LabelProject] != "" {
		c.Cluster = Bounded(labels[LabelProject])
		if c.Service == "" {
			c.Service = Bounded(labels[LabelService])
		}
	}
	if c.Cluster == "" {
		c.Cluster = host
	}
}

// Placed returns what a container with these labels is part of, and nothing else about it.
func Placed(labels map[string]string, host string) (c event.Container) {
	Place(&c, labels, host)
	return c
}

// lastOf returns what follows the last slash.
func lastOf(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// clusterARN makes a cluster's ARN from a task's: arn:aws:ecs:region:account:task/cluster/id. Tasks of before 2018 do not
// name their cluster; for them the label must.
func clusterARN(task, label string) string {
	if strings.HasPrefix(label, "arn:") {
		return label
	}
	head, rest, ok := strings.Cut(task, ":task/")
	if !ok {
		return ""
	}
	cluster, _, ok := strings.Cut(rest, "/")
	if !ok {
		cluster = label
	}
	if cluster == "" {
		return ""
	}
	return head + ":cluster/" + cluster
}

func definitionARN(task, family, revision string) string {
	head, _, ok := strings.Cut(task, ":task/")
	if !ok || family == "" || revision == "" {
		return ""
	}
	return Bounded(head + ":task-definition/" + family + ":" + revision)
}
