package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"vedette.dev/vedette/internal/app"
)

type coverageCommand struct {
	Output string `enum:"table,json" default:"table" help:"table or json."`
}

func (c coverageCommand) Run(ctx context.Context, g *globals) error {
	clients, err := app.Data(g.config.Data).Clients()
	if err != nil {
		return err
	}
	detector, err := theDetector(ctx, clients.GuardDuty)
	if err != nil {
		return err
	}
	rows := []types.CoverageResource{}
	pages := guardduty.NewListCoveragePaginator(clients.GuardDuty, &guardduty.ListCoverageInput{DetectorId: &detector})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing coverage: %w", err)
		}
		rows = append(rows, page.Resources...)
	}
	if c.Output == "json" {
		return printJSON(g.out, rows)
	}
	t := newTable(g.out, "CLUSTER", "STATUS", "HOSTS", "SINCE", "ISSUE")
	for _, r := range rows {
		cluster, hosts, issue := aws.ToString(r.ResourceId), "", aws.ToString(r.Issue)
		if d := r.ResourceDetails; d != nil && d.EcsClusterDetails != nil {
			cluster = aws.ToString(d.EcsClusterDetails.ClusterName)
			if n := d.EcsClusterDetails.ContainerInstanceDetails; n != nil && aws.ToInt64(n.CompatibleContainerInstances) > 0 {
				hosts = fmt.Sprintf("%d/%d", aws.ToInt64(n.CoveredContainerInstances), aws.ToInt64(n.CompatibleContainerInstances))
			}
			if f := d.EcsClusterDetails.FargateDetails; f != nil && issue == "" {
				issue = strings.Join(f.Issues, "; ")
			}
		}
		since := ""
		if r.UpdatedAt != nil {
			since = r.UpdatedAt.Local().Format("2006-01-02 15:04:05")
		}
		t.row(cluster, string(r.CoverageStatus), hosts, since, issue)
	}
	if len(rows) == 0 {
		fmt.Fprintln(g.errs, "Nothing is watched yet."+whyQuiet(ctx, clients.GuardDuty, detector))
	}
	return t.flush()
}
