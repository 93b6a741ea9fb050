package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/finding"
)

type findingsCommand struct {
	ID       string  `arg:"" optional:"" help:"Show this finding whole."`
	Archived bool    `help:"Archived findings instead of current ones."`
	Type     string  `help:"Only this finding type."`
	Severity float64 `help:"Only this severity or higher."`
	Limit    int     `default:"50" help:"At most this many, newest first; 0 for all."`
	Output   string  `enum:"table,json" default:"table" help:"table or json."`
}

func (c findingsCommand) Run(ctx context.Context, g *globals) error {
	clients, err := app.Data(g.config.Data).Clients()
	if err != nil {
		return err
	}
	detector, err := theDetector(ctx, clients.GuardDuty)
	if err != nil {
		return err
	}
	ids := []string{c.ID}
	if c.ID == "" {
		if ids, err = c.list(ctx, clients.GuardDuty, detector); err != nil {
			return err
		}
	}
	findings := []types.Finding{}
	for len(ids) > 0 {
		n := min(len(ids), 50)
		answer, err := clients.GuardDuty.GetFindings(ctx, &guardduty.GetFindingsInput{DetectorId: &detector, FindingIds: ids[:n]})
		if err != nil {
			return fmt.Errorf("getting findings: %w", err)
		}
		byID := make(map[string]types.Finding, n)
		for _, f := range answer.Findings {
			byID[aws.ToString(f.Id)] = f
		}
		for _, id := range ids[:n] { // the answer's order is not the request's
			if f, ok := byID[id]; ok {
				findings = append(findings, f)
			}
		}
		ids = ids[n:]
	}
	if c.ID != "" && len(findings) == 0 {
		return fmt.Errorf("no finding has the id %s", c.ID)
	}
	if c.Output == "json" || c.ID != "" {
		if c.ID != "" {
			return printJSON(g.out, findings[0])
		}
		return printJSON(g.out, findings)
	}
	t := newTable(g.out, "LAST SEEN", "SEVERITY", "TYPE", "WHERE", "PROCESS", "COUNT", "ID")
	for _, f := range findings {
		seen, name, count := "", "", int32(0)
		if s := f.Service; s != nil {
			seen, count = shortTime(aws.ToString(s.EventLastSeen)), aws.ToInt32(s.Count)
			if r := s.RuntimeDetails; r != nil && r.Process != nil {
				name = aws.ToString(r.Process.Name)
			}
		}
		severity := aws.ToFloat64(f.Severity)
		kind := aws.ToString(f.Type)
		if app.IsSample(f) {
			kind += " (sample)"
		}
		t.row(seen, fmt.Sprintf("%s %.1f", finding.Level(severity), severity), kind, where(f.Resource), name,
			fmt.Sprint(count), aws.ToString(f.Id))
	}
	if len(findings) == 0 {
		fmt.Fprintln(g.errs, "No findings."+whyQuiet(ctx, clients.GuardDuty, detector))
	}
	return t.flush()
}

func (c findingsCommand) list(ctx context.Context, client *guardduty.Client, detector string) ([]string, error) {
	criteria := map[string]types.Condition{"service.archived": {Equals: []string{fmt.Sprint(c.Archived)}}}
	if c.Type != "" {
		criteria["type"] = types.Condition{Equals: []string{c.Type}}
	}
	if c.Severity > 0 {
		criteria["severity"] = types.Condition{GreaterThanOrEqual: aws.Int64(int64(c.Severity))}
	}
	pages := guardduty.NewListFindingsPaginator(client, &guardduty.ListFindingsInput{
		DetectorId:      &detector,
		FindingCriteria: &types.FindingCriteria{Criterion: criteria},
		SortCriteria:    &types.SortCriteria{AttributeName: aws.String("updatedAt"), OrderBy: types.OrderByDesc},
	})
	var ids []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing findings: %w", err)
		}
		ids = append(ids, page.FindingIds...)
		if c.Limit > 0 && len(ids) >= c.Limit {
			return ids[:c.Limit], nil
		}
	}
	return ids, nil
}

// theDetector returns the id of the server's one detector.
func theDetector(ctx context.Context, client *guardduty.Client) (string, error) {
	answer, err := client.ListDetectors(ctx, &guardduty.ListDetectorsInput{})
	if err != nil {
		return "", fmt.Errorf("asking the server: %w", err)
	}
	if len(answer.DetectorIds) == 0 {
		return "", errors.New("no detector is enabled: run 'aws guardduty create-detector --enable --features Name=RUNTIME_MONITORING,Status=ENABLED'")
	}
	return answer.DetectorIds[0], nil
}

// whyQuiet returns what keeps a server from watching anything, for the end of a line that says that there is nothing.
func whyQuiet(ctx context.Context, client *guardduty.Client, detector string) string {
	d, err := client.GetDetector(ctx, &guardduty.GetDetectorInput{DetectorId: &detector})
	if err != nil {
		return ""
	}
	on := func(f types.DetectorFeatureConfigurationResult) bool {
		return f.Name == types.DetectorFeatureResultRuntimeMonitoring && f.Status == types.FeatureStatusEnabled
	}
	switch {
	case d.Status != types.DetectorStatusEnabled:
		return " The detector is suspended: run 'aws guardduty update-detector --enable --detector-id " + detector + "'."
	case !slices.ContainsFunc(d.Features, on):
		return " RUNTIME_MONITORING is off: run 'aws guardduty update-detector --features Name=RUNTIME_MONITORING,Status=ENABLED --detector-id " + detector + "'."
	}
	return ""
}

// where names the affected container or host in a few words.
func where(r *types.Resource) string {
	switch {
	case r == nil:
		return ""
	case r.EcsClusterDetails != nil:
		place := []string{aws.ToString(r.EcsClusterDetails.Name)}
		if t := r.EcsClusterDetails.TaskDetails; t != nil {
			if service, ok := strings.CutPrefix(aws.ToString(t.Group), "service:"); ok {
				place = append(place, service)
			}
			if len(t.Containers) > 0 {
				place = append(place, aws.ToString(t.Containers[0].Name))
			}
		}
		return strings.Join(place, "/")
	case r.ContainerDetails != nil:
		return "container " + aws.ToString(r.ContainerDetails.Name)
	case r.InstanceDetails != nil:
		for _, n := range r.InstanceDetails.NetworkInterfaces {
			if name := aws.ToString(n.PrivateDnsName); name != "" {
				return "host " + name // people know hosts by name; the id is often a machine's number
			}
		}
		return "host " + aws.ToString(r.InstanceDetails.InstanceId)
	}
	return aws.ToString(r.ResourceType)
}

// shortTime turns an ISO 8601 time into local wall-clock time.
func shortTime(iso string) string {
	t, err := time.Parse(time.RFC3339, iso)
	if err != nil {
		return iso
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
