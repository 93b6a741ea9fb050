package link

import "time"

// Heartbeat is what an agent tells the server about itself, every few seconds. Its text is hostile: an agent may publish
// only as itself, but it may lie about anything else.
type Heartbeat struct {
	AgentID   string            `json:"agentId"`
	Epoch     string            `json:"epoch"` // random, new at each start of the agent
	Version   string            `json:"version"`
	Hostname  string            `json:"hostname"`
	Kernel    string            `json:"kernel"`
	Arch      string            `json:"arch"`
	StartedAt time.Time         `json:"startedAt"`
	Time      time.Time         `json:"time"`
	Scope     string            `json:"scope"`    // "host", or the cgroup path the agent is limited to
	Stopping  bool              `json:"stopping"` // the last one, sent when the agent is asked to stop
	Workloads []Workload        `json:"workloads"`
	Counters  map[string]uint64 `json:"counters"` // the loss ledger: made, shipped, spooled, dropped by reason
}

// Workload is one thing an agent watches at the moment: an ECS task, a Compose service, or the host itself.
type Workload struct {
	Kind           string `json:"kind"` // ecs, compose or host
	Cluster        string `json:"cluster"`
	ClusterARN     string `json:"clusterArn,omitempty"`
	Service        string `json:"service,omitempty"`
	TaskARN        string `json:"taskArn,omitempty"`
	TaskDefinition string `json:"taskDefinition,omitempty"` // family:revision
	LaunchType     string `json:"launchType,omitempty"`     // EC2 or FARGATE
	Containers     int    `json:"containers"`
}
