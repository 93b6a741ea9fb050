package agent

import (
	"context"
	"sort"
	"time"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/link"
)

// beat sends a heartbeat at once and then at each interval, until ctx ends.
func (a *Agent) beat(ctx context.Context) {
	for {
		a.clock.sync()
		a.sendHeartbeat(false)
		t := time.NewTimer(time.Duration(a.interval.Load()))
		select {
		case <-t.C:
		case <-a.beatNow:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (a *Agent) sendHeartbeat(stopping bool) {
	hb := link.Heartbeat{
		AgentID: a.opts.Link.AgentID(), Epoch: a.epoch, Version: a.opts.Version, Hostname: a.host.Name, Kernel: a.host.Kernel, Arch: a.host.Arch,
		StartedAt: a.started, Time: time.Now().UTC(), Scope: a.scope(), Stopping: stopping,
		Workloads: a.workloads(), Counters: a.ledger.counters(a.opts.Source.Stats(), a.queue),
	}
	if err := a.opts.Link.Heartbeat(hb); err != nil {
		a.log.Debug("heartbeat", "err", err) // The next one says the same.
	}
}

func (a *Agent) scope() string {
	if a.opts.Scope == "" {
		return "host"
	}
	return a.opts.Scope
}

// workloads groups the containers that run within the scope.
func (a *Agent) workloads() []link.Workload {
	return group(a.opts.Containers.Live(), a.host.Name, a.opts.Scope == "")
}

// group makes one workload of each ECS task and of each Compose service. Containers that are part of neither count for the
// host, which is listed when the agent watches all of it.
func group(live []*event.Container, host string, whole bool) []link.Workload {
	type key struct{ kind, cluster, service, task string }
	found := make(map[key]*link.Workload)
	at := func(k key) *link.Workload {
		w, ok := found[k]
		if !ok {
			w = &link.Workload{Kind: k.kind, Cluster: k.cluster, Service: k.service, TaskARN: k.task}
			found[k] = w
		}
		return w
	}
	if whole {
		at(key{kind: "host", cluster: host})
	}
	for _, c := range live {
		switch {
		case c.Task != nil:
			w := at(key{"ecs", c.Cluster, c.Task.Service, c.Task.ARN})
			w.ClusterARN, w.LaunchType = c.Task.ClusterARN, c.Task.LaunchType
			if c.Task.Family != "" {
				w.TaskDefinition = c.Task.Family + ":" + c.Task.Revision
			}
			w.Containers++
		case c.Cluster != "" && c.Cluster != host:
			at(key{"compose", c.Cluster, c.Service, ""}).Containers++
		default:
			at(key{kind: "host", cluster: host}).Containers++
		}
	}
	list := make([]link.Workload, 0, len(found))
	for _, w := range found {
		list = append(list, *w)
	}
	sort.Slice(list, func(i, j int) bool {
		x, y := &list[i], &list[j]
		if x.Kind != y.Kind {
			return x.Kind < y.Kind
		}
		if x.Cluster != y.Cluster {
			return x.Cluster < y.Cluster
		}
		if x.Service != y.Service {
			return x.Service < y.Service
		}
		return x.TaskARN < y.TaskARN
	})
	return list
}
