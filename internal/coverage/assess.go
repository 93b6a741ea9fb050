package coverage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/inventory"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/store"
)

const detectors store.Documents[finding.Detector] = finding.DetectorKind

// monitoring returns the detector that monitors, or nil.
func monitoring(tx *store.Tx) (*finding.Detector, error) {
	entries, err := detectors.List(tx, "", "", 0)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Value.Monitors() {
			return &e.Value, nil
		}
	}
	return nil, nil
}

// cluster is one cluster in one assessment.
type cluster struct {
	row     Row
	issues  []issue
	covered int       // tasks that a live agent reports
	pending bool      // something has started and may still report
	watched bool      // a live agent of a whole host knows the cluster
	gone    bool      // an inventory knows of nothing in it any more
	last    time.Time // when any agent last reported something of it
	tasks   map[string]bool
	names   []string // task definitions seen, for when nothing runs any more
}

// issue is one thing that is wrong: a type and the extra information, as GuardDuty words them.
type issue struct{ kind, text string }

// round is one assessment.
type round struct {
	*Coverage
	now      time.Time
	next     time.Time
	clusters map[string]*cluster
}

// due notes a time at which the answer may change.
func (r *round) due(t time.Time) {
	if t.After(r.now) && (r.next.IsZero() || t.Before(r.next)) {
		r.next = t
	}
}

// assess compares what should be watched with who reports, stores the rows that changed and publishes changes of status.
// It returns when the answer may change by time alone, or the zero time.
func (c *Coverage) assess(ctx context.Context, now time.Time) (time.Time, error) {
	var next time.Time
	changes := 0
	after := func() {}
	err := c.o.Store.Update(ctx, func(tx *store.Tx) error {
		changes = 0
		rows, err := list(tx, nil)
		if err != nil {
			return err
		}
		d, err := monitoring(tx)
		if err != nil {
			return err
		}
		if d == nil {
			for _, row := range rows {
				if _, err := Clusters.Delete(tx, row.ResourceID); err != nil {
					return err
				}
			}
			after = func() { clear(c.clusters) }
			return nil
		}
		r := &round{Coverage: c, now: now, clusters: map[string]*cluster{}}
		r.gather()
		for _, row := range rows {
			if k := r.clusters[row.ResourceID]; k == nil {
				r.clusters[row.ResourceID] = &cluster{row: row, tasks: map[string]bool{}, gone: c.readable()}
			}
		}
		var settle []func()
		stored := make(map[string]Row, len(rows))
		for _, row := range rows {
			stored[row.ResourceID] = row
		}
		for _, id := range slices.Sorted(maps.Keys(r.clusters)) {
			k := r.clusters[id]
			old, exists := stored[id]
			if !exists && len(stored) >= maxRows {
				c.metrics.refused.Inc()
				continue
			}
			changed, done, err := r.conclude(tx, d, k, old, exists)
			if err != nil {
				return err
			}
			if changed {
				changes++
			}
			settle = append(settle, done)
		}
		next = r.next
		after = func() {
			for _, f := range settle {
				f()
			}
		}
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	after()
	c.metrics.changes.Add(float64(changes))
	return next, nil
}

// live reports whether an agent reports now.
func (r *round) live(a *agent) bool { return !a.stopping && r.now.Sub(a.seen) < r.o.SilenceTimeout }

// gather collects every cluster that the inventories and the agents know.
func (r *round) gather() {
	r.mu.Lock()
	defer r.mu.Unlock()
	reports := r.reports()
	known := map[string]bool{}
	for _, tasks := range r.snapshots {
		for i := range tasks {
			t := &tasks[i]
			key := taskKey(t.Kind, t.ARN, t.Cluster, t.Service)
			known[key] = true
			k := r.cluster(t.Kind, t.Cluster, t.ClusterARN)
			k.name(t.TaskDefinition)
			if t.LastStatus != "RUNNING" {
				continue
			}
			k.tasks[key] = true
			r.task(k, t, key, reports[key])
		}
	}
	for key := range r.firstSeen {
		if !known[key] {
			delete(r.firstSeen, key)
		}
	}
	for _, a := range r.agents {
		r.agent(a, known)
	}
	for _, d := range r.left {
		if k := r.clusters[clusterID(&r.o, d.Kind, d.Cluster, d.ClusterARN)]; k != nil && d.last.After(k.last) {
			k.last = d.last
		}
	}
}

// report is what agents say about one task.
type report struct {
	live bool      // a live agent reports it
	host bool      // one of those watches the whole host
	last time.Time // when any agent last did
}

// reports forgets agents that are long gone and returns what the others say.
func (r *round) reports() map[string]report {
	reports := map[string]report{}
	for key, d := range r.left {
		if r.now.Sub(d.last) >= r.o.SilenceTimeout {
			delete(r.left, key)
			continue
		}
		reports[key] = report{last: d.last}
	}
	for id, a := range r.agents {
		if r.now.Sub(a.seen) >= retireAgent {
			delete(r.agents, id)
			continue
		}
		live := r.live(a)
		if live {
			r.due(a.seen.Add(r.o.SilenceTimeout))
		}
		for i := range a.workloads {
			w := &a.workloads[i]
			key := taskKey(w.Kind, w.TaskARN, w.Cluster, w.Service)
			p := reports[key]
			p.live = p.live || live
			p.host = p.host || live && a.host
			if a.seen.After(p.last) {
				p.last = a.seen
			}
			reports[key] = p
		}
	}
	return reports
}

// task judges a task that an inventory says is running.
func (r *round) task(k *cluster, t *inventory.Task, key string, p report) {
	first, ok := r.firstSeen[key]
	if !ok {
		first = r.now
		r.firstSeen[key] = first
	}
	exited := exitedAgent(t)
	switch {
	case exited != nil && !p.host:
		k.issues = append(k.issues, exitIssue(t, exited))
	case p.live:
		k.covered++
	default:
		since := first
		if p.last.After(since) {
			since = p.last
		}
		if limit := since.Add(r.o.SilenceTimeout); r.now.Before(limit) {
			k.pending = true
			r.due(limit)
			return
		}
		k.issues = append(k.issues, silentIssue(t.Kind, t.TaskDefinition, t.Service, t.Cluster))
	}
}

// agent judges what an agent reported that no inventory knows.
func (r *round) agent(a *agent, known map[string]bool) {
	live := r.live(a)
	for i := range a.workloads {
		w := &a.workloads[i]
		key := taskKey(w.Kind, w.TaskARN, w.Cluster, w.Service)
		k := r.cluster(w.Kind, w.Cluster, w.ClusterARN)
		k.name(w.TaskDefinition)
		if a.seen.After(k.last) {
			k.last = a.seen
		}
		if a.host && len(a.remembered) < maxWorkloads {
			a.remembered[k.row.ResourceID] = true
		}
		switch {
		case known[key]:
			a.settled[key] = true
		case live:
			k.tasks[key] = true
			k.covered++
		case a.settled[key], a.stopping, r.superseded(a, w):
		default:
			k.issues = append(k.issues, silentIssue(w.Kind, w.TaskDefinition, w.Service, w.Cluster))
		}
	}
	if !a.host {
		return
	}
	for id := range a.remembered {
		k := r.clusters[id]
		if k == nil {
			// A cluster of which nothing runs now; conclude takes the rest of the row from the store.
			k = &cluster{row: Row{ResourceID: id}, tasks: map[string]bool{}, gone: r.readable()}
			r.clusters[id] = k
		}
		k.row.Compatible++
		if live {
			k.row.Covered++
			k.watched = true
		}
	}
}

// superseded reports whether another agent has taken over what a silent one watched: it came after the other fell silent
// and reports the same service of the same cluster.
func (r *round) superseded(a *agent, w *link.Workload) bool {
	for _, b := range r.agents {
		if b == a || !b.first.After(a.seen) || !r.live(b) {
			continue
		}
		for i := range b.workloads {
			if v := &b.workloads[i]; v.Kind == w.Kind && v.Cluster == w.Cluster && v.ClusterARN == w.ClusterARN && v.Service == w.Service {
				return true
			}
		}
	}
	return false
}

// readable reports whether every inventory could be read, so that what is in none of them is gone.
func (c *Coverage) readable() bool { return c.reads > 0 && c.reads == len(c.o.Inventory) }

// clusterID returns what identifies a cluster: its ARN, or what stands for one where there is none.
func clusterID(o *Options, kind, name, arn string) string {
	return cmp.Or(arn, "arn:vedette:"+cmp.Or(kind, "host")+":"+o.Region+":"+o.AccountID+":cluster/"+name)
}

func (r *round) cluster(kind, name, arn string) *cluster {
	kind, name, arn = clip(kind), clip(name), clip(arn)
	if name == "" {
		name = arn[strings.LastIndexByte(arn, '/')+1:]
	}
	id := clusterID(&r.o, kind, name, arn)
	k := r.clusters[id]
	if k == nil {
		k = &cluster{row: Row{ResourceID: id, ClusterName: name, Kind: kind}, tasks: map[string]bool{}}
		r.clusters[id] = k
	}
	return k
}

func (k *cluster) name(taskDefinition string) {
	if taskDefinition != "" && !slices.Contains(k.names, taskDefinition) && len(k.names) < maxIssues {
		k.names = append(k.names, taskDefinition)
	}
}

// conclude decides a cluster's row, and stores and publishes what changed. It reports whether the status changed, and
// returns what to remember once the transaction has committed.
func (r *round) conclude(tx *store.Tx, d *finding.Detector, k *cluster, old Row, exists bool) (bool, func(), error) {
	row := k.row
	if exists {
		row.ClusterName, row.Kind = cmp.Or(row.ClusterName, old.ClusterName), cmp.Or(row.Kind, old.Kind)
		row.CreatedAt, row.UpdatedAt, row.Status = old.CreatedAt, old.UpdatedAt, old.Status
		row.Issue, row.Issues, row.TaskDefinitions = old.Issue, old.Issues, old.TaskDefinitions
	}
	if len(k.names) > 0 {
		slices.Sort(k.names)
		row.TaskDefinitions = k.names
	}
	row.Management = "MANUAL"
	if row.Kind == "ecs" {
		row.Management = d.AgentManagement()
	}
	m := r.Coverage.clusters[row.ResourceID]
	if m == nil {
		m = &memory{lastCovered: r.started}
	}
	lastCovered := m.lastCovered
	if k.last.After(lastCovered) {
		lastCovered = k.last
	}
	status, issues := row.Status, []issue(nil)
	switch {
	case len(k.issues) > 0:
		status, issues = Unhealthy, k.issues
	case k.covered > 0:
		status = Healthy
	case k.pending:
		// Nothing can be said yet.
	case !exists:
		return false, func() {}, r.drop(tx, row.ResourceID, false)
	case k.watched && row.Kind == "ecs":
		status = Healthy // Nothing runs, and whatever will is watched by its host's agent.
	case k.watched && k.gone:
		return false, func() {}, r.drop(tx, row.ResourceID, true)
	case k.watched:
		// The host's agent reports; that this cluster is empty is no fault.
	default:
		if limit := lastCovered.Add(r.o.SilenceTimeout); r.now.Before(limit) {
			r.due(limit)
		} else {
			status, issues = Unhealthy, emptyIssues(&row)
		}
		if row.Status == Unhealthy && r.now.Sub(row.UpdatedAt) > retireRow {
			return false, func() {}, r.drop(tx, row.ResourceID, true)
		}
	}
	if k.covered > 0 {
		lastCovered = r.now
	}
	if grace := r.started.Add(r.o.StartGrace); status == Unhealthy && row.Status != Unhealthy && r.now.Before(grace) {
		status, issues = row.Status, nil
		r.due(grace)
	}
	fresh := m.tasks != nil && slices.ContainsFunc(slices.Collect(maps.Keys(k.tasks)), func(t string) bool { return !m.tasks[t] })
	remember := func() {
		r.Coverage.clusters[row.ResourceID] = &memory{lastCovered: lastCovered, tasks: k.tasks}
	}
	if status == "" {
		return false, remember, nil // A cluster that has no row yet and gets none.
	}
	changed := status != row.Status
	if status == Unhealthy && len(issues) > 0 {
		row.Issue, row.Issues = wording(issues)
	} else if status == Healthy {
		row.Issue, row.Issues = "", nil
	}
	previous := row.Status
	row.Status = status
	now := r.now.UTC().Truncate(time.Millisecond)
	if !exists {
		row.CreatedAt = now
	}
	if changed || fresh {
		row.UpdatedAt = now
	}
	if !exists || !equal(&row, &old) {
		if err := Clusters.Put(tx, row.ResourceID, row); err != nil {
			return false, nil, err
		}
	}
	// A cluster that is seen for the first time and is healthy is no change that anybody waits for; one that is
	// unhealthy from the start is.
	if changed && (exists || status == Unhealthy) {
		if err := r.publish(tx, &row, previous); err != nil {
			return false, nil, err
		}
		tx.AfterCommit(func() {
			r.o.Log.Info("coverage changed", "cluster", event.PrintableN(row.ClusterName, maxName), "status", row.Status, "issue", row.Issue)
		})
	}
	return changed, remember, nil
}

func (r *round) drop(tx *store.Tx, id string, exists bool) error {
	delete(r.Coverage.clusters, id)
	if !exists {
		return nil
	}
	_, err := Clusters.Delete(tx, id)
	return err
}

func equal(a, b *Row) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// publish sends the event of a change of status.
func (r *round) publish(tx *store.Tx, row *Row, previous string) error {
	detail, err := json.Marshal(change{
		SchemaVersion:     "1.0",
		ResourceAccountID: r.o.AccountID,
		CurrentStatus:     word(row.Status),
		PreviousStatus:    word(previous),
		ResourceDetails:   Details(row),
		Issue:             row.Issue,
		LastUpdatedAt:     row.UpdatedAt.Format("2006-01-02T15:04:05.000Z"),
	})
	if err != nil {
		return fmt.Errorf("coverage of %s: %w", row.ResourceID, err)
	}
	return r.o.Publish(tx, bus.DefaultBus, bus.Event{
		DetailType: "GuardDuty Runtime Protection " + word(row.Status),
		Source:     "aws.guardduty",
		Account:    r.o.AccountID,
		Region:     r.o.Region,
		Time:       r.now.UTC(),
		Resources:  []string{},
		Detail:     detail,
	})
}

// change is the detail of the event.
type change struct {
	SchemaVersion     string          `json:"schemaVersion"`
	ResourceAccountID string          `json:"resourceAccountId"`
	CurrentStatus     string          `json:"currentStatus"`
	PreviousStatus    string          `json:"previousStatus"`
	ResourceDetails   ResourceDetails `json:"resourceDetails"`
	Issue             string          `json:"issue"`
	LastUpdatedAt     string          `json:"lastUpdatedAt"`
}

// ResourceDetails describes a row, in events and in the API alike.
type ResourceDetails struct {
	ResourceType      string            `json:"resourceType"` // ECS
	ECSClusterDetails ECSClusterDetails `json:"ecsClusterDetails"`
}

// ECSClusterDetails describes a cluster.
type ECSClusterDetails struct {
	ClusterName              string                   `json:"clusterName"`
	FargateDetails           FargateDetails           `json:"fargateDetails"`
	ContainerInstanceDetails ContainerInstanceDetails `json:"containerInstanceDetails"`
}

// FargateDetails has the issues of tasks, of whatever launch type.
type FargateDetails struct {
	Issues         []string `json:"issues"`
	ManagementType string   `json:"managementType"`
}

// ContainerInstanceDetails counts hosts.
type ContainerInstanceDetails struct {
	CoveredContainerInstances    int `json:"coveredContainerInstances"`
	CompatibleContainerInstances int `json:"compatibleContainerInstances"`
}

// Details returns the wire form of a row. Compose projects and hosts are shown as ECS clusters too: it is the only type of
// row that stands for several tasks, and what is written against GuardDuty understands it.
func Details(row *Row) ResourceDetails {
	issues := row.Issues
	if issues == nil {
		issues = []string{}
	}
	return ResourceDetails{ResourceType: "ECS", ECSClusterDetails: ECSClusterDetails{
		ClusterName:              row.ClusterName,
		FargateDetails:           FargateDetails{Issues: issues, ManagementType: row.Management},
		ContainerInstanceDetails: ContainerInstanceDetails{row.Covered, row.Compatible},
	}}
}

// word is a status as events spell it.
func word(status string) string {
	switch status {
	case Healthy:
		return "Healthy"
	case Unhealthy:
		return "Unhealthy"
	}
	return ""
}

// taskKey identifies a task to inventories and agents alike. Only ECS gives tasks an ARN that both know; elsewhere it is the
// service of a cluster that is watched.
func taskKey(kind, arn, cluster, service string) string {
	if kind == "ecs" && arn != "" {
		return clip(arn)
	}
	return kind + "\x00" + clip(cluster) + "\x00" + clip(service)
}

// exitedAgent returns the agent's container of a task, if it has one and that has stopped.
func exitedAgent(t *inventory.Task) *inventory.Container {
	var exited *inventory.Container
	for i := range t.Containers {
		switch c := &t.Containers[i]; {
		case !c.Agent:
		case c.LastStatus == "RUNNING":
			return nil
		default:
			exited = c
		}
	}
	return exited
}

func exitIssue(t *inventory.Task, c *inventory.Container) issue {
	where := "for tasks in TaskDefinition - '" + clip(cmp.Or(t.TaskDefinition, t.Service, t.Cluster)) + "'"
	reason := event.PrintableN(c.Reason, 200)
	switch {
	case c.ExitCode != nil && reason != "":
		return issue{"Agent exited", fmt.Sprintf("ExitCode: %d with reason: '%s' %s", *c.ExitCode, reason, where)}
	case c.ExitCode != nil:
		return issue{"Agent exited", fmt.Sprintf("ExitCode: %d %s", *c.ExitCode, where)}
	case reason != "":
		return issue{"Agent exited", "Reason: " + reason + " " + where}
	}
	return issue{"Agent exited", "Reason: unknown " + where}
}

// silentIssue words an agent that does not report as GuardDuty's events do. What is no task on ECS has no task definition;
// its service or its name stands there.
func silentIssue(kind, taskDefinition, service, cluster string) issue {
	const agent = "Agent not reporting"
	switch {
	case taskDefinition != "":
		return issue{agent, agent + ", for task(s) in TaskDefinition - '" + clip(taskDefinition) + "'"}
	case service != "":
		return issue{agent, agent + ", for service '" + clip(service) + "'"}
	case kind == "host":
		return issue{agent, agent + ", for host '" + clip(cluster) + "'"}
	}
	return issue{agent, agent + ", for tasks in cluster '" + clip(cluster) + "'"}
}

// emptyIssues are those of a cluster in which nothing runs that could report.
func emptyIssues(row *Row) []issue {
	if len(row.TaskDefinitions) == 0 {
		return []issue{silentIssue(row.Kind, "", "", row.ClusterName)}
	}
	var issues []issue
	for _, td := range row.TaskDefinitions {
		issues = append(issues, silentIssue(row.Kind, td, "", ""))
	}
	return issues
}

// wording returns the issue and the list of issues of a row.
func wording(issues []issue) (string, []string) {
	slices.SortFunc(issues, func(a, b issue) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.text, b.text)) })
	issues = slices.Compact(issues)
	var texts []string
	for _, i := range issues[:min(len(issues), maxIssues)] {
		texts = append(texts, i.text)
	}
	return issues[0].kind + ":" + issues[0].text, texts
}

// clip makes hostile text short and valid.
func clip(s string) string {
	if len(s) > maxName {
		s = s[:maxName]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	return s
}
