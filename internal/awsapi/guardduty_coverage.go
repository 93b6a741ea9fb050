package awsapi

import (
	"cmp"
	"context"
	"slices"
	"time"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/coverage"
	"vedette.dev/vedette/internal/store"
)

// resourceType is that of every row: clusters on ECS, and what stands for one elsewhere.
const resourceType = "ECS"

// coverageValue is what a criterion or an order compares of a row; "" where rows of this kind have nothing.
func (g *GuardDuty) coverageValue(key string, row *coverage.Row) string {
	switch key {
	case "ACCOUNT_ID":
		return g.account
	case "RESOURCE_TYPE":
		return resourceType
	case "COVERAGE_STATUS":
		return row.Status
	case "ECS_CLUSTER_NAME", "CLUSTER_NAME":
		return row.ClusterName
	case "CLUSTER_ARN":
		return row.ResourceID
	case "MANAGEMENT_TYPE":
		return row.Management
	case "ISSUE":
		return row.Issue
	case "UPDATED_AT":
		return row.UpdatedAt.UTC().Format("2006-01-02T15:04:05.000000000Z") // of constant length, so that text order is time's
	}
	return ""
}

// clusters returns the rows that satisfy the criteria, by their resource id.
func (g *GuardDuty) clusters(ctx context.Context, detectorID string, in *guardduty.CoverageFilterCriteria) ([]coverage.Row, error) {
	var criteria []guardduty.CoverageFilterCriterion
	if in != nil {
		criteria = in.FilterCriterion
	}
	for _, c := range criteria {
		if c.CriterionKey == nil || c.FilterCondition == nil || len(c.FilterCondition.Equals)+len(c.FilterCondition.NotEquals) == 0 {
			return nil, invalidInput("%s A filterCriterion needs a criterionKey and a filterCondition with equals or notEquals.", outOfRange)
		}
	}
	var rows []coverage.Row
	err := g.db.View(ctx, func(tx *store.Tx) error {
		if _, err := detector(tx, detectorID); err != nil {
			return err
		}
		entries, err := coverage.Clusters.List(tx, "", "", 0)
		for i := range entries {
			row := &entries[i].Value
			if !slices.ContainsFunc(criteria, func(c guardduty.CoverageFilterCriterion) bool {
				value := g.coverageValue(*c.CriterionKey, row)
				return c.FilterCondition.Equals != nil && !slices.Contains(c.FilterCondition.Equals, value) ||
					slices.Contains(c.FilterCondition.NotEquals, value)
			}) {
				rows = append(rows, *row)
			}
		}
		return err
	})
	return rows, err
}

// ListCoverage lists the clusters with their status.
func (g *GuardDuty) ListCoverage(ctx context.Context, in *guardduty.ListCoverageInput) (*guardduty.ListCoverageOutput, error) {
	var order guardduty.CoverageSortCriteria
	if in.SortCriteria != nil {
		order = *in.SortCriteria
	}
	key, descending := deref(order.AttributeName), deref(order.OrderBy) == "DESC"
	scope := digest("ListCoverage", in.DetectorId, in.FilterCriteria, key, descending)
	after, more, err := parseToken[[2]string](in.NextToken, scope)
	if err != nil {
		return nil, err
	}
	rows, err := g.clusters(ctx, in.DetectorId, in.FilterCriteria)
	if err != nil {
		return nil, err
	}
	place := func(row *coverage.Row) [2]string { return [2]string{g.coverageValue(key, row), row.ResourceID} }
	compare := func(a, b [2]string) int {
		n := cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
		if descending {
			return -n
		}
		return n
	}
	slices.SortFunc(rows, func(a, b coverage.Row) int { return compare(place(&a), place(&b)) })
	if more {
		rows = slices.DeleteFunc(rows, func(row coverage.Row) bool { return compare(place(&row), after) <= 0 })
	}
	out := &guardduty.ListCoverageOutput{NextToken: new("")}
	if n := pageSize(in.MaxResults); len(rows) > n {
		rows = rows[:n]
		out.NextToken = new(token[[2]string]{scope, place(&rows[n-1])}.String())
	}
	for i := range rows {
		out.Resources = append(out.Resources, g.coverageResource(in.DetectorId, &rows[i]))
	}
	return out, nil
}

func (g *GuardDuty) coverageResource(detectorID string, row *coverage.Row) guardduty.CoverageResource {
	details := &guardduty.CoverageEcsClusterDetails{
		ClusterName: &row.ClusterName,
		ContainerInstanceDetails: &guardduty.ContainerInstanceDetails{
			CoveredContainerInstances:    new(int64(row.Covered)),
			CompatibleContainerInstances: new(int64(row.Compatible)),
		},
	}
	if row.Management != "" {
		details.FargateDetails = &guardduty.FargateDetails{ManagementType: &row.Management, Issues: row.Issues}
		if row.Issues == nil {
			details.FargateDetails.Issues = []string{}
		}
	}
	resource := guardduty.CoverageResource{
		ResourceId:      &row.ResourceID,
		DetectorId:      &detectorID,
		AccountId:       &g.account,
		CoverageStatus:  &row.Status,
		UpdatedAt:       new(row.UpdatedAt.UTC().Truncate(time.Millisecond)),
		ResourceDetails: &guardduty.CoverageResourceDetails{EcsClusterDetails: details, ResourceType: new(resourceType)},
	}
	if row.Issue != "" {
		resource.Issue = &row.Issue
	}
	return resource
}

// GetCoverageStatistics counts the clusters by type or status.
func (g *GuardDuty) GetCoverageStatistics(ctx context.Context, in *guardduty.GetCoverageStatisticsInput) (*guardduty.GetCoverageStatisticsOutput, error) {
	if len(in.StatisticsType) == 0 {
		return nil, invalidInput("%s statisticsType is empty.", outOfRange)
	}
	rows, err := g.clusters(ctx, in.DetectorId, in.FilterCriteria)
	if err != nil {
		return nil, err
	}
	statistics := &guardduty.CoverageStatistics{}
	for _, by := range in.StatisticsType {
		counts := map[string]int64{}
		for i := range rows {
			if by == "COUNT_BY_RESOURCE_TYPE" {
				counts[resourceType]++
			} else {
				counts[rows[i].Status]++
			}
		}
		if by == "COUNT_BY_RESOURCE_TYPE" {
			statistics.CountByResourceType = counts
		} else {
			statistics.CountByCoverageStatus = counts
		}
	}
	return &guardduty.GetCoverageStatisticsOutput{CoverageStatistics: statistics}, nil
}
