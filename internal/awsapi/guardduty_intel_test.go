package awsapi

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsguardduty "github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"vedette.dev/vedette/internal/coverage"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/store"
)

func TestThreatIntelSets(t *testing.T) {
	folder, lists := t.TempDir(), intel.NewLists()
	var sets *intel.Sets
	r := newRig(t, func(o *GuardDutyOptions) {
		var err error
		sets, err = intel.OpenSets(t.Context(), intel.SetsOptions{Store: o.Store, Folder: filepath.Join(folder, "copies"), Lists: lists,
			Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		o.Sets = sets
	})
	ctx := t.Context()
	done := make(chan struct{})
	go func() { defer close(done); _ = sets.Run(ctx) }()
	t.Cleanup(func() { <-done })

	path := filepath.Join(folder, "list.txt")
	if err := os.WriteFile(path, []byte("203.0.113.66\nevil.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	id := r.detector()
	in := &awsguardduty.CreateThreatIntelSetInput{DetectorId: &id, Name: aws.String("mine"), Format: types.ThreatIntelSetFormatTxt,
		Location: aws.String("file://" + path), Activate: aws.Bool(true), ClientToken: aws.String("t1"), Tags: map[string]string{"k": "v"}}
	created, err := r.CreateThreatIntelSet(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.CreateThreatIntelSet(ctx, in)
	if err != nil || *again.ThreatIntelSetId != *created.ThreatIntelSetId {
		t.Errorf("a repeated request made another set: %v, %v", again, err)
	}
	setID := created.ThreatIntelSetId
	waitFor(t, func() bool {
		out, err := r.GetThreatIntelSet(ctx, &awsguardduty.GetThreatIntelSetInput{DetectorId: &id, ThreatIntelSetId: setID})
		if err != nil {
			t.Fatal(err)
		}
		return out.Status == types.ThreatIntelSetStatusActive && *out.Name == "mine" && out.Tags["k"] == "v"
	})
	if found := lists.Address(nil, netip.MustParseAddr("203.0.113.66")); len(found) != 1 || found[0].Name != "mine" {
		t.Errorf("the list is not in use: %v", found)
	}
	arn := "arn:aws:guardduty:" + testRegion + ":" + testAccount + ":detector/" + id + "/threatintelset/" + *setID
	if _, err := r.TagResource(ctx, &awsguardduty.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{"k": "w"}}); err != nil {
		t.Fatal(err)
	}
	if tags, err := r.ListTagsForResource(ctx, &awsguardduty.ListTagsForResourceInput{ResourceArn: &arn}); err != nil || tags.Tags["k"] != "w" {
		t.Errorf("tags = %v, %v", tags, err)
	}
	if _, err := r.UpdateThreatIntelSet(ctx, &awsguardduty.UpdateThreatIntelSetInput{DetectorId: &id, ThreatIntelSetId: setID,
		Activate: aws.Bool(false), Name: aws.String("renamed")}); err != nil {
		t.Fatal(err)
	}
	if found := lists.Address(nil, netip.MustParseAddr("203.0.113.66")); len(found) != 0 {
		t.Errorf("the list is still in use: %v", found)
	}
	list, err := r.ListThreatIntelSets(ctx, &awsguardduty.ListThreatIntelSetsInput{DetectorId: &id})
	if err != nil || !slices.Equal(list.ThreatIntelSetIds, []string{*setID}) {
		t.Errorf("ListThreatIntelSets = %v, %v", list, err)
	}

	in.ClientToken, in.Format = nil, types.ThreatIntelSetFormatStix
	_, err = r.CreateThreatIntelSet(ctx, in)
	wantBadRequest(t, err, "STIX")
	in.Format, in.ExpectedBucketOwner = types.ThreatIntelSetFormatTxt, aws.String("111122223333")
	_, err = r.CreateThreatIntelSet(ctx, in)
	wantBadRequest(t, err, "expectedBucketOwner cannot be checked")
	_, err = r.GetThreatIntelSet(ctx, &awsguardduty.GetThreatIntelSetInput{DetectorId: &id, ThreatIntelSetId: aws.String("x")})
	wantBadRequest(t, err, "no such resource found")
	if _, err := r.DeleteThreatIntelSet(ctx, &awsguardduty.DeleteThreatIntelSetInput{DetectorId: &id, ThreatIntelSetId: setID}); err != nil {
		t.Fatal(err)
	}
	_, err = r.DeleteThreatIntelSet(ctx, &awsguardduty.DeleteThreatIntelSetInput{DetectorId: &id, ThreatIntelSetId: setID})
	wantBadRequest(t, err, "no such resource found")

	in.ExpectedBucketOwner = nil
	if _, err := r.CreateThreatIntelSet(ctx, in); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DeleteDetector(ctx, &awsguardduty.DeleteDetectorInput{DetectorId: &id}); err != nil {
		t.Fatal(err)
	}
	if left, err := sets.All(ctx); err != nil || len(left) != 0 {
		t.Errorf("sets left behind by DeleteDetector: %v, %v", left, err)
	}
}

// waitFor waits for what happens in the background.
func waitFor(t *testing.T, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !happened(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 20 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestCoverage(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	id := r.detector()
	err := r.db.Update(ctx, func(tx *store.Tx) error {
		for i := range 120 {
			row := coverage.Row{
				ResourceID: fmt.Sprintf("arn:aws:ecs:%s:%s:cluster/c%03d", testRegion, testAccount, i), ClusterName: fmt.Sprintf("c%03d", i),
				Kind: "ecs", Management: "AUTO_MANAGED", Status: coverage.Healthy, UpdatedAt: r.now.Add(-time.Duration(i) * time.Second),
			}
			if i%3 == 0 {
				row.Status, row.Issue, row.Issues = coverage.Unhealthy, "Agent not reporting:x", []string{"x"}
			}
			if i == 7 {
				row.Kind, row.Management, row.Compatible, row.Covered = "host", "", 2, 1
			}
			if err := coverage.Clusters.Put(tx, row.ResourceID, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list := func(in *awsguardduty.ListCoverageInput) (rows []types.CoverageResource) {
		t.Helper()
		in.DetectorId = &id
		for p := awsguardduty.NewListCoveragePaginator(r.Client, in); p.HasMorePages(); {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, out.Resources...)
		}
		return rows
	}
	rows := list(&awsguardduty.ListCoverageInput{})
	if len(rows) != 120 {
		t.Fatalf("%d rows", len(rows))
	}
	first, host := rows[0], rows[7]
	if first.CoverageStatus != types.CoverageStatusUnhealthy || *first.Issue != "Agent not reporting:x" || *first.AccountId != testAccount ||
		first.ResourceDetails.ResourceType != types.ResourceTypeEcs || *first.ResourceDetails.EcsClusterDetails.ClusterName != "c000" ||
		first.ResourceDetails.EcsClusterDetails.FargateDetails.ManagementType != types.ManagementTypeAutoManaged || !first.UpdatedAt.Equal(r.now) {
		t.Errorf("first row = %+v", first)
	}
	if d := host.ResourceDetails.EcsClusterDetails; d.FargateDetails != nil || *d.ContainerInstanceDetails.CompatibleContainerInstances != 2 || *d.ContainerInstanceDetails.CoveredContainerInstances != 1 {
		t.Errorf("host's row = %+v", d)
	}
	for _, by := range []types.CoverageSortKey{types.CoverageSortKeyUpdatedAt, types.CoverageSortKeyCoverageStatus, types.CoverageSortKeyEcsClusterName, types.CoverageSortKeyIssue} {
		up := list(&awsguardduty.ListCoverageInput{MaxResults: aws.Int32(7), SortCriteria: &types.CoverageSortCriteria{AttributeName: by, OrderBy: types.OrderByAsc}})
		down := list(&awsguardduty.ListCoverageInput{MaxResults: aws.Int32(50), SortCriteria: &types.CoverageSortCriteria{AttributeName: by, OrderBy: types.OrderByDesc}})
		slices.Reverse(down)
		same := slices.EqualFunc(up, down, func(a, b types.CoverageResource) bool { return *a.ResourceId == *b.ResourceId })
		if len(up) != 120 || !same {
			t.Errorf("by %s: %d rows up, %d down, mirrored: %v", by, len(up), len(down), same)
		}
	}
	newestFirst := list(&awsguardduty.ListCoverageInput{SortCriteria: &types.CoverageSortCriteria{AttributeName: types.CoverageSortKeyUpdatedAt, OrderBy: types.OrderByDesc}})
	if !newestFirst[0].UpdatedAt.Equal(r.now) {
		t.Errorf("newest first begins with %v", newestFirst[0].UpdatedAt)
	}
	criterion := func(key types.CoverageFilterCriterionKey, c types.CoverageFilterCondition) *types.CoverageFilterCriteria {
		return &types.CoverageFilterCriteria{FilterCriterion: []types.CoverageFilterCriterion{{CriterionKey: key, FilterCondition: &c}}}
	}
	for name, c := range map[string]struct {
		filter *types.CoverageFilterCriteria
		want   int
	}{
		"unhealthy":   {criterion("COVERAGE_STATUS", types.CoverageFilterCondition{Equals: []string{"UNHEALTHY"}}), 40},
		"healthy":     {criterion("COVERAGE_STATUS", types.CoverageFilterCondition{NotEquals: []string{"UNHEALTHY"}}), 80},
		"name":        {criterion("ECS_CLUSTER_NAME", types.CoverageFilterCondition{Equals: []string{"c001", "c002", "nobody"}}), 2},
		"type":        {criterion("RESOURCE_TYPE", types.CoverageFilterCondition{Equals: []string{"ECS"}}), 120},
		"other type":  {criterion("RESOURCE_TYPE", types.CoverageFilterCondition{Equals: []string{"EKS"}}), 0},
		"other's key": {criterion("EKS_CLUSTER_NAME", types.CoverageFilterCondition{Equals: []string{"c001"}}), 0},
	} {
		if got := len(list(&awsguardduty.ListCoverageInput{FilterCriteria: c.filter})); got != c.want {
			t.Errorf("%s: %d rows, want %d", name, got, c.want)
		}
	}
	out, err := r.GetCoverageStatistics(ctx, &awsguardduty.GetCoverageStatisticsInput{DetectorId: &id,
		StatisticsType: []types.CoverageStatisticsType{"COUNT_BY_RESOURCE_TYPE", "COUNT_BY_COVERAGE_STATUS"}})
	if err != nil || out.CoverageStatistics.CountByResourceType["ECS"] != 120 || out.CoverageStatistics.CountByCoverageStatus["UNHEALTHY"] != 40 {
		t.Errorf("statistics = %+v, %v", out, err)
	}
	_, err = r.ListCoverage(ctx, &awsguardduty.ListCoverageInput{DetectorId: &id, FilterCriteria: criterion("COVERAGE_STATUS", types.CoverageFilterCondition{})})
	wantBadRequest(t, err, "needs a criterionKey")
}
