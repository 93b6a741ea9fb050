package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"vedette.dev/vedette/internal/inventory"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// writeNames tells the agent which container its cgroup is, in the form of the container file (package static), as the
// task metadata endpoint would on ECS.
func writeNames(path string, info sandbox.Info, t inventory.Task) error {
	type entry struct {
		Cgroup     string            `json:"cgroup"`
		ID         string            `json:"id"`
		Name       string            `json:"name"`
		Image      string            `json:"image"`
		ImageID    string            `json:"imageId,omitempty"`
		Runtime    string            `json:"runtime"`
		StartedAt  time.Time         `json:"startedAt"`
		Cluster    string            `json:"cluster"`
		Service    string            `json:"service"`
		Labels     map[string]string `json:"labels"`
		LaunchType string            `json:"launchType"`
		StartedBy  string            `json:"startedBy"`
	}
	text, err := json.MarshalIndent(map[string][]entry{"containers": {{
		Cgroup: info.CgroupPath, ID: info.ID, Name: info.Name, Image: info.Image, ImageID: info.ImageID, Runtime: info.Runtime,
		StartedAt: info.StartedAt, Cluster: t.Cluster, Service: t.Service, Labels: info.Labels, LaunchType: t.LaunchType,
		StartedBy: "ecs-svc/demo",
	}}}, "", "  ")
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the container file: %w", err)
	}
	return nil
}
