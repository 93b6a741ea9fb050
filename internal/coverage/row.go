package coverage

import (
	"cmp"
	"slices"
	"time"

	"vedette.dev/vedette/internal/store"
)

// The values of Row.Status.
const (
	Healthy   = "HEALTHY"
	Unhealthy = "UNHEALTHY"
)

// Row is the coverage of one cluster: an ECS cluster, a Compose project, or a host with its plain containers.
type Row struct {
	ResourceID  string   `json:"resourceId"` // the cluster's ARN, or one made of its name
	ClusterName string   `json:"clusterName"`
	Kind        string   `json:"kind"`                     // ecs, compose or host
	Management  string   `json:"managementType,omitempty"` // of Fargate tasks: AUTO_MANAGED or DISABLED
	Status      string   `json:"status"`
	Issue       string   `json:"issue,omitempty"`  // "type:extra information" of the first issue
	Issues      []string `json:"issues,omitempty"` // the extra information of each issue of Fargate tasks
	// Compatible counts the hosts that should have an agent for the whole host, Covered those whose agent reports.
	Compatible int       `json:"compatible"`
	Covered    int       `json:"covered"`
	CreatedAt  time.Time `json:"createdAt"`
	UpdatedAt  time.Time `json:"updatedAt"` // of the last change of status or new task
	// TaskDefinitions are those seen last, for the words of an issue when nothing runs any more.
	TaskDefinitions []string `json:"taskDefinitions,omitempty"`
}

// Clusters are the stored rows, by ResourceID.
const Clusters store.Documents[Row] = "coverage"

// Filter selects rows; nil selects all.
type Filter func(*Row) bool

// list returns the rows that the filter selects, by ResourceID.
func list(tx *store.Tx, keep Filter) ([]Row, error) {
	entries, err := Clusters.List(tx, "", "", 0)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(entries))
	for _, e := range entries {
		if keep == nil || keep(&e.Value) {
			rows = append(rows, e.Value)
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.ResourceID, b.ResourceID) })
	return rows, nil
}
