package awsapi

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

	path := filepath.Join(folder, "copies", "list.txt")
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

	in.ClientToken, in.Location = nil, aws.String("file:///etc/passwd")
	_, err = r.CreateThreatIntelSet(ctx, in)
	wantBadRequest(t, err, "only files in")
	in.Location, in.ExpectedBucketOwner = aws.String("file://"+path), aws.String("111122223333")
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

// TestEntitySets makes a set of each kind through its operations and looks at what they put into the lists.
func TestEntitySets(t *testing.T) {
	folder, lists := t.TempDir(), intel.NewLists()
	var sets *intel.Sets
	r := newRig(t, func(o *GuardDutyOptions) {
		var err error
		sets, err = intel.OpenSets(t.Context(), intel.SetsOptions{Store: o.Store, Folder: folder, Lists: lists, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		o.Sets = sets
	})
	ctx := t.Context()
	done := make(chan struct{})
	go func() { defer close(done); _ = sets.Run(ctx) }()
	t.Cleanup(func() { <-done })
	id := r.detector()
	write := func(name, text string) *string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return aws.String("file://" + path)
	}
	on := aws.Bool(true)

	hash := strings.Repeat("ab", 32)
	threats, err := r.CreateThreatEntitySet(ctx, &awsguardduty.CreateThreatEntitySetInput{DetectorId: &id, Name: aws.String("threats"), Format: types.ThreatEntitySetFormatOtxCsv,
		Location: write("otx.csv", "Indicator type, Indicator, Description\nIPv4, 198.51.100.1, x\nDomain name, evil.example, x\nFileHash-SHA256, "+hash+", x\nIPv4, nonsense, x\n"),
		Activate: on, Tags: map[string]string{intel.CategoryTag: "phishing"}})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		out, err := r.GetThreatEntitySet(ctx, &awsguardduty.GetThreatEntitySetInput{DetectorId: &id, ThreatEntitySetId: threats.ThreatEntitySetId})
		if err != nil {
			t.Fatal(err)
		}
		return out.Status == types.ThreatEntitySetStatusActive && aws.ToString(out.ErrorDetails) == "skipped 1 bad lines of 4; line 5: no address" &&
			out.CreatedAt != nil && out.Format == types.ThreatEntitySetFormatOtxCsv
	})
	category := func(found []*intel.List) string {
		if len(found) != 1 {
			return fmt.Sprint(len(found))
		}
		return found[0].Category
	}
	if got := category(lists.Domain(nil, "www.evil.example")); got != "phishing" {
		t.Errorf("the domain is %s", got)
	}
	if got := category(lists.File(nil, hash)); got != intel.CustomMalware {
		t.Errorf("the file is %s", got)
	}
	// Another tag makes it another category.
	arn := "arn:aws:guardduty:" + testRegion + ":" + testAccount + ":detector/" + id + "/threatentityset/" + *threats.ThreatEntitySetId
	if _, err := r.TagResource(ctx, &awsguardduty.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{intel.CategoryTag: "drop-point"}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return category(lists.Domain(nil, "evil.example")) == "drop-point" })
	_, err = r.TagResource(ctx, &awsguardduty.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{intel.CategoryTag: "nice"}})
	wantBadRequest(t, err, "the tag vedette:category must be one of command-and-control,")

	trusted, err := r.CreateTrustedEntitySet(ctx, &awsguardduty.CreateTrustedEntitySetInput{DetectorId: &id, Name: aws.String("trusted"), Format: types.TrustedEntitySetFormatTxt,
		Location: write("trusted.txt", "good.evil.example\n"), Activate: on})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return lists.TrustedDomain("good.evil.example") })
	if got := lists.Domain(nil, "good.evil.example"); len(got) > 0 {
		t.Errorf("a trusted name is listed: %v", got)
	}
	ips, err := r.CreateIPSet(ctx, &awsguardduty.CreateIPSetInput{DetectorId: &id, Name: aws.String("trusted"), Format: types.IpSetFormatTxt,
		Location: write("ips.txt", "198.51.100.0/28\nother.example\n"), Activate: on})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return lists.TrustedAddress(netip.MustParseAddr("198.51.100.1")) })
	if lists.TrustedDomain("other.example") {
		t.Error("an IP set trusts a domain name")
	}
	if _, err := r.UpdateIPSet(ctx, &awsguardduty.UpdateIPSetInput{DetectorId: &id, IpSetId: ips.IpSetId, Activate: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	if got := category(lists.Address(nil, netip.MustParseAddr("198.51.100.1"))); got != "drop-point" {
		t.Errorf("the address that is trusted no more is %s", got)
	}

	if _, err := r.UpdateThreatEntitySet(ctx, &awsguardduty.UpdateThreatEntitySetInput{DetectorId: &id, ThreatEntitySetId: threats.ThreatEntitySetId, Name: aws.String("renamed")}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateTrustedEntitySet(ctx, &awsguardduty.UpdateTrustedEntitySetInput{DetectorId: &id, TrustedEntitySetId: trusted.TrustedEntitySetId, Activate: on}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		out, err := r.GetTrustedEntitySet(ctx, &awsguardduty.GetTrustedEntitySetInput{DetectorId: &id, TrustedEntitySetId: trusted.TrustedEntitySetId})
		return err == nil && out.Status == types.TrustedEntitySetStatusActive && out.ErrorDetails == nil
	})
	if out, err := r.GetIPSet(ctx, &awsguardduty.GetIPSetInput{DetectorId: &id, IpSetId: ips.IpSetId}); err != nil || out.Status != types.IpSetStatusInactive {
		t.Errorf("GetIPSet = %+v, %v", out, err)
	}
	if out, err := r.ListIPSets(ctx, &awsguardduty.ListIPSetsInput{DetectorId: &id}); err != nil || !slices.Equal(out.IpSetIds, []string{*ips.IpSetId}) {
		t.Errorf("ListIPSets = %v, %v", out, err)
	}
	if out, err := r.ListThreatEntitySets(ctx, &awsguardduty.ListThreatEntitySetsInput{DetectorId: &id}); err != nil || len(out.ThreatEntitySetIds) != 1 {
		t.Errorf("ListThreatEntitySets = %v, %v", out, err)
	}
	if out, err := r.ListTrustedEntitySets(ctx, &awsguardduty.ListTrustedEntitySetsInput{DetectorId: &id}); err != nil || len(out.TrustedEntitySetIds) != 1 {
		t.Errorf("ListTrustedEntitySets = %v, %v", out, err)
	}
	// A set is not found as one of another kind.
	_, err = r.GetIPSet(ctx, &awsguardduty.GetIPSetInput{DetectorId: &id, IpSetId: trusted.TrustedEntitySetId})
	wantBadRequest(t, err, "no such resource found")
	if _, err := r.DeleteTrustedEntitySet(ctx, &awsguardduty.DeleteTrustedEntitySetInput{DetectorId: &id, TrustedEntitySetId: trusted.TrustedEntitySetId}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DeleteThreatEntitySet(ctx, &awsguardduty.DeleteThreatEntitySetInput{DetectorId: &id, ThreatEntitySetId: threats.ThreatEntitySetId}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DeleteIPSet(ctx, &awsguardduty.DeleteIPSetInput{DetectorId: &id, IpSetId: ips.IpSetId}); err != nil {
		t.Fatal(err)
	}
	if left := len(lists.File(nil, hash)) + len(lists.Domain(nil, "evil.example")); left != 0 || lists.TrustedDomain("good.evil.example") {
		t.Error("deleted sets are still in use")
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
