package awsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsguardduty "github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/store"
)

const testAccount = "111122223333"

// rig is a GuardDuty on a new store, with Amazon's Go client before it.
type rig struct {
	*awsguardduty.Client
	t       testing.TB
	db      *store.DB
	url     string
	now     time.Time
	changes []*finding.Detector
}

func newRig(t testing.TB, options ...func(*GuardDutyOptions)) *rig {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "vedette.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, db: db, now: time.Date(2026, 11, 23, 9, 20, 4, 123e6, time.UTC)}
	o := GuardDutyOptions{
		AccountID: testAccount, Region: testRegion, Store: db, Samples: sampler{r}, Now: func() time.Time { return r.now },
		DetectorChanged: func(d *finding.Detector) { r.changes = append(r.changes, d) },
	}
	for _, f := range options {
		f(&o)
	}
	g, err := NewGuardDuty(o)
	if err != nil {
		t.Fatal(err)
	}
	server, err := New(Options{GuardDuty: g, Keys: testKeys{testKey: testSecret}, Region: testRegion})
	if err != nil {
		t.Fatal(err)
	}
	r.url = listen(t, server)
	r.Client = awsguardduty.NewFromConfig(sdkConfig(r.url))
	return r
}

// sampler stores samples as they are.
type sampler struct{ *rig }

func (s sampler) CreateSamples(ctx context.Context, names []string) error {
	return s.db.Update(ctx, func(tx *store.Tx) error {
		entries, err := detectors.List(tx, "", "", 1)
		if err != nil {
			return err
		}
		samples, err := finding.Samples(names, finding.Identity{AccountID: testAccount, Region: testRegion, DetectorID: entries[0].Key}, s.now)
		if err != nil {
			return err
		}
		for _, f := range samples {
			if err := putFinding(tx, f); err != nil {
				return err
			}
		}
		return nil
	})
}

func putFinding(tx *store.Tx, f *finding.Finding) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return tx.PutFinding(store.FindingRow{
		ID: f.ID, DetectorID: f.Service.DetectorID, Type: f.Type, Severity: f.Severity, Archived: f.Service.Archived,
		CreatedAt: f.CreatedAt.Time, UpdatedAt: f.UpdatedAt.Time, Count: f.Service.Count, JSON: text,
	})
}

func (r *rig) detector() string {
	r.t.Helper()
	out, err := r.CreateDetector(r.t.Context(), &awsguardduty.CreateDetectorInput{Enable: aws.Bool(true)})
	if err != nil {
		r.t.Fatal(err)
	}
	return *out.DetectorId
}

// store puts n findings with different severities, types, times and counts.
func (r *rig) store(detectorID string, n int) []*finding.Finding {
	r.t.Helper()
	id := finding.Identity{AccountID: testAccount, Region: testRegion, DetectorID: detectorID}
	samples, err := finding.Samples(nil, id, r.now)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []*finding.Finding
	err = r.db.Update(r.t.Context(), func(tx *store.Tx) error {
		for i := range n {
			f := *samples[i%len(samples)]
			f.ID = fmt.Sprintf("%032x", i*7919%n)
			f.UpdatedAt = finding.At(r.now.Add(time.Duration(i/2) * time.Minute))
			f.CreatedAt = finding.At(r.now.Add(-time.Duration(i) * time.Hour))
			f.Service.Count = int64(i % 10)
			f.Severity = float64(2 + 3*(i%3))
			all = append(all, &f)
			if err := putFinding(tx, &f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// wantBadRequest checks that an error is GuardDuty's refusal with the given text in it.
func wantBadRequest(t *testing.T, err error, text string) {
	t.Helper()
	var bad *types.BadRequestException
	if !errors.As(err, &bad) {
		t.Fatalf("error = %v, want a BadRequestException", err)
	}
	if !strings.Contains(bad.ErrorMessage(), text) {
		t.Errorf("message = %q, want %q in it", bad.ErrorMessage(), text)
	}
}

func TestDetector(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	in := &awsguardduty.CreateDetectorInput{
		Enable: aws.Bool(true), ClientToken: aws.String("token"), FindingPublishingFrequency: types.FindingPublishingFrequencyFifteenMinutes,
		Tags: map[string]string{"team": "a"},
		Features: []types.DetectorFeatureConfiguration{{
			Name: types.DetectorFeatureRuntimeMonitoring, Status: types.FeatureStatusEnabled,
			AdditionalConfiguration: []types.DetectorAdditionalConfiguration{{
				Name: types.FeatureAdditionalConfigurationEcsFargateAgentManagement, Status: types.FeatureStatusEnabled}},
		}},
	}
	created, err := r.CreateDetector(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	id := *created.DetectorId
	if again, err := r.CreateDetector(ctx, in); err != nil || *again.DetectorId != id {
		t.Errorf("a repeated request with the same client token = %v, %v, want the same detector", again, err)
	}
	_, err = r.CreateDetector(ctx, &awsguardduty.CreateDetectorInput{Enable: aws.Bool(true)})
	wantBadRequest(t, err, "a detector already exists for the current account")

	got, err := r.GetDetector(ctx, &awsguardduty.GetDetectorInput{DetectorId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != types.DetectorStatusEnabled || *got.CreatedAt != "2026-11-23T09:20:04.123Z" || got.Tags["team"] != "a" ||
		got.FindingPublishingFrequency != types.FindingPublishingFrequencyFifteenMinutes {
		t.Errorf("GetDetector = %+v", got)
	}
	features := map[string]string{}
	for _, f := range got.Features {
		features[string(f.Name)] = string(f.Status)
		for _, c := range f.AdditionalConfiguration {
			features[string(f.Name)+"/"+string(c.Name)] = string(c.Status)
		}
	}
	for name, want := range map[string]string{
		"RUNTIME_MONITORING": "ENABLED", "RUNTIME_MONITORING/ECS_FARGATE_AGENT_MANAGEMENT": "ENABLED",
		"RUNTIME_MONITORING/EC2_AGENT_MANAGEMENT": "DISABLED", "S3_DATA_EVENTS": "DISABLED",
	} {
		if features[name] != want {
			t.Errorf("feature %s = %q, want %s", name, features[name], want)
		}
	}

	r.now = r.now.Add(time.Hour)
	if _, err := r.UpdateDetector(ctx, &awsguardduty.UpdateDetectorInput{DetectorId: &id, Enable: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	got, err = r.GetDetector(ctx, &awsguardduty.GetDetectorInput{DetectorId: &id})
	if err != nil || got.Status != types.DetectorStatusDisabled || *got.UpdatedAt != "2026-11-23T10:20:04.123Z" ||
		got.FindingPublishingFrequency != types.FindingPublishingFrequencyFifteenMinutes {
		t.Errorf("after the update: %+v, %v", got, err)
	}
	list, err := r.ListDetectors(ctx, &awsguardduty.ListDetectorsInput{})
	if err != nil || !slices.Equal(list.DetectorIds, []string{id}) {
		t.Errorf("ListDetectors = %v, %v", list, err)
	}
	if _, err := r.DeleteDetector(ctx, &awsguardduty.DeleteDetectorInput{DetectorId: &id}); err != nil {
		t.Fatal(err)
	}
	_, err = r.GetDetector(ctx, &awsguardduty.GetDetectorInput{DetectorId: &id})
	wantBadRequest(t, err, "the input detectorId is not owned by the current account.")
	if again, err := r.CreateDetector(ctx, in); err != nil || *again.DetectorId == id {
		t.Errorf("after deletion, the old client token = %v, %v, want a new detector", again, err)
	}
	if n := len(r.changes); n != 4 || r.changes[2] != nil || r.changes[1].Status != finding.Disabled {
		t.Errorf("%d changes told: %+v", n, r.changes)
	}
}

func TestDetectorRefusals(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	enabled := func(names ...types.DetectorFeature) *awsguardduty.CreateDetectorInput {
		in := &awsguardduty.CreateDetectorInput{Enable: aws.Bool(true)}
		for _, name := range names {
			in.Features = append(in.Features, types.DetectorFeatureConfiguration{Name: name, Status: types.FeatureStatusEnabled})
		}
		return in
	}
	misplaced := enabled(types.DetectorFeatureS3DataEvents)
	misplaced.Features[0].Status = types.FeatureStatusDisabled
	misplaced.Features[0].AdditionalConfiguration = []types.DetectorAdditionalConfiguration{{
		Name: types.FeatureAdditionalConfigurationEc2AgentManagement, Status: types.FeatureStatusEnabled}}
	for name, c := range map[string]struct {
		in   *awsguardduty.CreateDetectorInput
		want string
	}{
		"both runtime features": {enabled("RUNTIME_MONITORING", "EKS_RUNTIME_MONITORING"), "cannot be configured together"},
		"a feature we lack":     {enabled("S3_DATA_EVENTS"), "S3_DATA_EVENTS is not available"},
		"a feature twice":       {enabled("RUNTIME_MONITORING", "RUNTIME_MONITORING"), "given twice"},
		"an unknown feature":    {enabled("X_RAY"), "Member must satisfy enum value set: [S3_DATA_EVENTS"},
		"misplaced":             {misplaced, "EC2_AGENT_MANAGEMENT does not belong"},
		"an old data source": {&awsguardduty.CreateDetectorInput{Enable: aws.Bool(true),
			DataSources: &types.DataSourceConfigurations{S3Logs: &types.S3LogsConfiguration{Enable: aws.Bool(true)}}}, "S3_DATA_EVENTS is not available"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.CreateDetector(ctx, c.in)
			wantBadRequest(t, err, c.want)
		})
	}
	if list, err := r.ListDetectors(ctx, &awsguardduty.ListDetectorsInput{}); err != nil || len(list.DetectorIds) != 0 {
		t.Errorf("after refusals there are detectors: %v, %v", list, err)
	}
}

// listAll follows the pages of a listing.
func (r *rig) listAll(in *awsguardduty.ListFindingsInput) []string {
	r.t.Helper()
	var ids []string
	for p := awsguardduty.NewListFindingsPaginator(r.Client, in); p.HasMorePages(); {
		out, err := p.NextPage(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if size := int(aws.ToInt32(in.MaxResults)); size > 0 && len(out.FindingIds) > size {
			r.t.Errorf("a page of %d ids, asked for %d", len(out.FindingIds), size)
		}
		ids = append(ids, out.FindingIds...)
	}
	return ids
}

func TestListFindingsPagesInEveryOrder(t *testing.T) {
	r := newRig(t)
	id := r.detector()
	all := r.store(id, 600)
	for _, attribute := range []string{"", "updatedAt", "createdAt", "severity", "id", "type", "service.count", "title"} {
		for _, direction := range []types.OrderBy{types.OrderByAsc, types.OrderByDesc} {
			t.Run(attribute+" "+string(direction), func(t *testing.T) {
				in := &awsguardduty.ListFindingsInput{DetectorId: &id, MaxResults: aws.Int32(50),
					SortCriteria: &types.SortCriteria{OrderBy: direction}}
				if attribute != "" {
					in.SortCriteria.AttributeName = &attribute
				}
				ids := r.listAll(in)
				if len(ids) != len(all) {
					t.Fatalf("%d ids, want %d", len(ids), len(all))
				}
				seen := map[string]bool{}
				for _, id := range ids {
					seen[id] = true
				}
				if len(seen) != len(all) {
					t.Errorf("%d different ids, want %d", len(seen), len(all))
				}
				byID := map[string]*finding.Finding{}
				for _, f := range all {
					byID[f.ID] = f
				}
				key := func(id string) string {
					f := byID[id]
					switch attribute {
					case "", "updatedAt":
						return f.UpdatedAt.Time.Format(time.RFC3339Nano)
					case "createdAt":
						return f.CreatedAt.Time.Format(time.RFC3339Nano)
					case "severity":
						return fmt.Sprint(f.Severity)
					case "type":
						return f.Type
					case "service.count":
						return fmt.Sprint(f.Service.Count)
					case "title":
						return f.Title
					}
					return f.ID
				}
				sorted := slices.IsSortedFunc(ids, func(a, b string) int {
					n := strings.Compare(key(a), key(b))
					if direction == types.OrderByDesc {
						return -n
					}
					return n
				})
				if !sorted {
					t.Error("the ids are not in order")
				}
			})
		}
	}
}

func TestFindingCriteria(t *testing.T) {
	r := newRig(t)
	id := r.detector()
	all := r.store(id, 100)
	if _, err := r.ArchiveFindings(t.Context(), &awsguardduty.ArchiveFindingsInput{DetectorId: &id, FindingIds: []string{all[3].ID, all[4].ID}}); err != nil {
		t.Fatal(err)
	}
	all[3].Service.Archived, all[4].Service.Archived = true, true
	updated := func(f *finding.Finding) int64 { return f.UpdatedAt.UnixMilli() }
	mid := updated(all[50])
	for name, c := range map[string]struct {
		field string
		cond  types.Condition
		want  func(*finding.Finding) bool
	}{
		"type":          {"type", types.Condition{Equals: []string{all[0].Type, all[1].Type}}, func(f *finding.Finding) bool { return f.Type == all[0].Type || f.Type == all[1].Type }},
		"not type":      {"type", types.Condition{NotEquals: []string{all[0].Type}}, func(f *finding.Finding) bool { return f.Type != all[0].Type }},
		"old eq":        {"type", types.Condition{Eq: []string{all[0].Type}}, func(f *finding.Finding) bool { return f.Type == all[0].Type }},
		"severity":      {"severity", types.Condition{GreaterThanOrEqual: aws.Int64(5)}, func(f *finding.Finding) bool { return f.Severity >= 5 }},
		"severity gt":   {"severity", types.Condition{GreaterThan: aws.Int64(5)}, func(f *finding.Finding) bool { return f.Severity > 5 }},
		"old gte, lt":   {"severity", types.Condition{Gte: aws.Int32(3), Lt: aws.Int32(8)}, func(f *finding.Finding) bool { return f.Severity == 5 }},
		"severity 8.0":  {"severity", types.Condition{Equals: []string{"8.0"}}, func(f *finding.Finding) bool { return f.Severity == 8 }},
		"archived":      {"service.archived", types.Condition{Equals: []string{"true"}}, func(f *finding.Finding) bool { return f.Service.Archived }},
		"not archived":  {"service.archived", types.Condition{Eq: []string{"false"}}, func(f *finding.Finding) bool { return !f.Service.Archived }},
		"archived neq":  {"service.archived", types.Condition{Neq: []string{"true"}}, func(f *finding.Finding) bool { return !f.Service.Archived }},
		"time":          {"updatedAt", types.Condition{LessThan: &mid}, func(f *finding.Finding) bool { return updated(f) < mid }},
		"time lte":      {"updatedAt", types.Condition{LessThanOrEqual: &mid}, func(f *finding.Finding) bool { return updated(f) <= mid }},
		"time eq":       {"updatedAt", types.Condition{Equals: []string{fmt.Sprint(mid)}}, func(f *finding.Finding) bool { return updated(f) == mid }},
		"count":         {"service.count", types.Condition{LessThan: aws.Int64(3)}, func(f *finding.Finding) bool { return f.Service.Count < 3 }},
		"in lists":      {"resource.ecsClusterDetails.taskDetails.containers.image", types.Condition{Equals: []string{"GeneratedFindingContainerImage"}}, func(f *finding.Finding) bool { return f.Resource.ECSClusterDetails != nil }},
		"epoch seconds": {"service.runtimeDetails.process.startTime", types.Condition{LessThan: aws.Int64(r.now.UnixMilli() + 1)}, func(*finding.Finding) bool { return true }},
		"additionalInfo": {"service.additionalInfo.threatListName", types.Condition{Equals: []string{"GeneratedFindingThreatListName"}}, func(f *finding.Finding) bool {
			return strings.Contains(f.Service.AdditionalInfo.Value, "ThreatListName")
		}},
		"absent":        {"service.action.dnsRequestAction.domain", types.Condition{NotEquals: []string{"x"}}, func(*finding.Finding) bool { return true }},
		"two operators": {"severity", types.Condition{NotEquals: []string{"2"}, LessThan: aws.Int64(8)}, func(f *finding.Finding) bool { return f.Severity == 5 }},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.listAll(&awsguardduty.ListFindingsInput{DetectorId: &id, MaxResults: aws.Int32(7),
				FindingCriteria: &types.FindingCriteria{Criterion: map[string]types.Condition{c.field: c.cond}}})
			var want []string
			for _, f := range all {
				if c.want(f) {
					want = append(want, f.ID)
				}
			}
			if len(want) == 0 {
				t.Fatal("the case selects nothing")
			}
			slices.Sort(got)
			slices.Sort(want)
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFindingCriteriaRefusals(t *testing.T) {
	r := newRig(t)
	id := r.detector()
	many := map[string]types.Condition{}
	for i := range 51 {
		many[fmt.Sprint(i)] = types.Condition{Equals: []string{"x"}}
	}
	for name, c := range map[string]struct {
		criterion map[string]types.Condition
		want      string
	}{
		"unknown attribute": {map[string]types.Condition{"no.such": {Equals: []string{"x"}}}, "unknown attribute 'no.such'"},
		"structure":         {map[string]types.Condition{"service": {Equals: []string{"x"}}}, "unknown attribute"},
		"no operator":       {map[string]types.Condition{"type": {}}, "has no operator"},
		"greater text":      {map[string]types.Condition{"type": {GreaterThan: aws.Int64(1)}}, "neither a number nor a time"},
		"no number":         {map[string]types.Condition{"severity": {Equals: []string{"high"}}}, "compares with 'high'"},
		"no boolean":        {map[string]types.Condition{"service.archived": {Equals: []string{"yes"}}}, "compares with 'yes'"},
		"wildcards":         {map[string]types.Condition{"type": {Matches: []string{"*"}}}, "only allowed in filters"},
		"too many":          {many, "more than 50 attributes"},
		"too many values":   {map[string]types.Condition{"type": {Equals: make([]string, 51)}}, "1 to 50 values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.ListFindings(t.Context(), &awsguardduty.ListFindingsInput{DetectorId: &id,
				FindingCriteria: &types.FindingCriteria{Criterion: c.criterion}})
			wantBadRequest(t, err, c.want)
		})
	}
	for name, text := range map[string]string{
		"garbage": "garbage", "foreign": token[position]{"other", position{}}.String(), "wrong type": token[string]{"x", "y"}.String(),
	} {
		t.Run("token "+name, func(t *testing.T) {
			_, err := r.ListFindings(t.Context(), &awsguardduty.ListFindingsInput{DetectorId: &id, NextToken: &text})
			wantBadRequest(t, err, "nextToken is invalid")
		})
	}
	_, err := r.ListFindings(t.Context(), &awsguardduty.ListFindingsInput{DetectorId: &id, MaxResults: aws.Int32(51)})
	wantBadRequest(t, err, "Value 51 at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 50")
	_, err = r.ListFindings(t.Context(), &awsguardduty.ListFindingsInput{DetectorId: aws.String("nobody")})
	wantBadRequest(t, err, "not owned by the current account")
}

func TestSampleFindingsAndGetFindings(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	id := r.detector()
	names := []string{"Backdoor:Runtime/C&CActivity.B", "PrivilegeEscalation:Runtime/DockerSocketAccessed"}
	if _, err := r.CreateSampleFindings(ctx, &awsguardduty.CreateSampleFindingsInput{DetectorId: &id, FindingTypes: names}); err != nil {
		t.Fatal(err)
	}
	_, err := r.CreateSampleFindings(ctx, &awsguardduty.CreateSampleFindingsInput{DetectorId: &id, FindingTypes: []string{"No:Such/Type"}})
	wantBadRequest(t, err, "No:Such/Type")
	ids := r.listAll(&awsguardduty.ListFindingsInput{DetectorId: &id})
	out, err := r.GetFindings(ctx, &awsguardduty.GetFindingsInput{DetectorId: &id, FindingIds: append(ids, "missing", ids[0])})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Findings) != 2 || *out.Findings[0].Id != ids[0] || *out.Findings[1].Id != ids[1] {
		t.Fatalf("GetFindings returned %d findings in the wrong order or number", len(out.Findings))
	}
	for _, f := range out.Findings {
		if !slices.Contains(names, *f.Type) || *f.AccountId != testAccount || aws.ToInt32(f.Service.Count) != 1 ||
			*f.Service.RuntimeDetails.Process.Pid != 1234 || *f.CreatedAt != "2026-11-23T09:20:04.123Z" ||
			!f.Service.RuntimeDetails.Process.StartTime.Equal(r.now) {
			t.Errorf("finding = %+v", f)
		}
	}
	sorted, err := r.GetFindings(ctx, &awsguardduty.GetFindingsInput{DetectorId: &id, FindingIds: ids,
		SortCriteria: &types.SortCriteria{AttributeName: aws.String("severity"), OrderBy: types.OrderByAsc}})
	if err != nil || *sorted.Findings[0].Severity > *sorted.Findings[1].Severity {
		t.Errorf("GetFindings by severity: %v, %v", sorted, err)
	}
}

func TestArchiveAndFeedback(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	id := r.detector()
	all := r.store(id, 3)
	get := func() types.Finding {
		t.Helper()
		out, err := r.GetFindings(ctx, &awsguardduty.GetFindingsInput{DetectorId: &id, FindingIds: []string{all[0].ID}})
		if err != nil || len(out.Findings) != 1 {
			t.Fatal(out, err)
		}
		return out.Findings[0]
	}
	_, err := r.ArchiveFindings(ctx, &awsguardduty.ArchiveFindingsInput{DetectorId: &id, FindingIds: []string{all[0].ID, "missing"}})
	wantBadRequest(t, err, "missing does not exist")
	if *get().Service.Archived {
		t.Error("a refused request archived a finding")
	}
	if _, err := r.ArchiveFindings(ctx, &awsguardduty.ArchiveFindingsInput{DetectorId: &id, FindingIds: []string{all[0].ID}}); err != nil {
		t.Fatal(err)
	}
	if !*get().Service.Archived {
		t.Error("not archived")
	}
	if _, err := r.UnarchiveFindings(ctx, &awsguardduty.UnarchiveFindingsInput{DetectorId: &id, FindingIds: []string{all[0].ID}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateFindingsFeedback(ctx, &awsguardduty.UpdateFindingsFeedbackInput{DetectorId: &id,
		FindingIds: []string{all[0].ID}, Feedback: types.FeedbackNotUseful, Comments: aws.String("ours")}); err != nil {
		t.Fatal(err)
	}
	if f := get(); *f.Service.Archived || *f.Service.UserFeedback != "NOT_USEFUL" {
		t.Errorf("after unarchiving and feedback: %+v", f.Service)
	}
}

// TestArchivingChangesNothingElse checks that a finding of every type survives being rewritten.
func TestArchivingChangesNothingElse(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	id := r.detector()
	all := r.store(id, len(finding.Types()))
	tree := func(findingID string) (v map[string]any) {
		t.Helper()
		if err := r.db.View(ctx, func(tx *store.Tx) error {
			row, _, err := tx.Finding(findingID)
			if err != nil {
				return err
			}
			return json.Unmarshal(row.JSON, &v)
		}); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, f := range all {
		before := tree(f.ID)
		if _, err := r.ArchiveFindings(ctx, &awsguardduty.ArchiveFindingsInput{DetectorId: &id, FindingIds: []string{f.ID}}); err != nil {
			t.Fatal(err)
		}
		before["service"].(map[string]any)["archived"] = true
		if d := cmp.Diff(before, tree(f.ID)); d != "" {
			t.Errorf("%s:\n%s", f.Type, d)
		}
	}
}

func TestStatistics(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	id := r.detector()
	all := r.store(id, 90)
	out, err := r.GetFindingsStatistics(ctx, &awsguardduty.GetFindingsStatisticsInput{DetectorId: &id,
		FindingStatisticTypes: []types.FindingStatisticType{types.FindingStatisticTypeCountBySeverity}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]int32{"2.0": 30, "5.0": 30, "8.0": 30}, out.FindingStatistics.CountBySeverity); d != "" {
		t.Error(d)
	}
	group := func(by types.GroupByType, max *int32) *types.FindingStatistics {
		t.Helper()
		out, err := r.GetFindingsStatistics(ctx, &awsguardduty.GetFindingsStatisticsInput{DetectorId: &id, GroupBy: by, MaxResults: max})
		if err != nil {
			t.Fatal(err)
		}
		return out.FindingStatistics
	}
	latest := all[len(all)-1].UpdatedAt.Time
	if a := group("ACCOUNT", nil).GroupedByAccount; len(a) != 1 || *a[0].TotalFindings != 90 || *a[0].AccountId != testAccount || !a[0].LastGeneratedAt.Equal(latest) {
		t.Errorf("by account: %+v", a)
	}
	if s := group("SEVERITY", nil).GroupedBySeverity; len(s) != 3 || *s[0].Severity != 8 || *s[0].TotalFindings != 30 {
		t.Errorf("by severity: %+v", s)
	}
	if y := group("FINDING_TYPE", aws.Int32(4)).GroupedByFindingType; len(y) != 4 || *y[0].TotalFindings != 2 {
		t.Errorf("by type: %+v", y)
	}
	if d := group("DATE", nil).GroupedByDate; len(d) != 3 || !d[0].Date.Equal(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("by date: %+v", d)
	}
	if s := group("RESOURCE", nil).GroupedByResource; len(s) != 2 || *s[0].ResourceType != "ECSCluster" || *s[1].ResourceId != "i-99999999" {
		t.Errorf("by resource: %+v", s)
	}
	_, err = r.GetFindingsStatistics(ctx, &awsguardduty.GetFindingsStatisticsInput{DetectorId: &id})
	wantBadRequest(t, err, "Exactly one of findingStatisticTypes and groupBy")
}

func TestFilters(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	id := r.detector()
	criteria := &types.FindingCriteria{Criterion: map[string]types.Condition{"type": {Matches: []string{"Runtime*"}}, "severity": {Gte: aws.Int32(4)}}}
	create := func(name string, rank int32) {
		t.Helper()
		out, err := r.CreateFilter(ctx, &awsguardduty.CreateFilterInput{DetectorId: &id, Name: &name, Rank: aws.Int32(rank), FindingCriteria: criteria,
			Description: aws.String("d"), Tags: map[string]string{"k": "v"}})
		if err != nil || *out.Name != name {
			t.Fatal(out, err)
		}
	}
	create("aaa", 1)
	create("bbb", 1)
	create("ccc", 100)
	ranks := func() string {
		t.Helper()
		list, err := r.ListFilters(ctx, &awsguardduty.ListFiltersInput{DetectorId: &id})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, name := range list.FilterNames {
			f, err := r.GetFilter(ctx, &awsguardduty.GetFilterInput{DetectorId: &id, FilterName: &name})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(criteria.Criterion["type"].Matches, f.FindingCriteria.Criterion["type"].Matches); d != "" || f.Tags["k"] != "v" || f.Action != types.FilterActionNoop {
				t.Errorf("filter %s = %+v", name, f)
			}
			all = append(all, fmt.Sprint(name, *f.Rank))
		}
		return strings.Join(all, " ")
	}
	if got := ranks(); got != "aaa2 bbb1 ccc3" {
		t.Errorf("ranks = %s", got)
	}
	if _, err := r.UpdateFilter(ctx, &awsguardduty.UpdateFilterInput{DetectorId: &id, FilterName: aws.String("ccc"), Rank: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	if got := ranks(); got != "aaa3 bbb2 ccc1" {
		t.Errorf("ranks after the update = %s", got)
	}
	if _, err := r.DeleteFilter(ctx, &awsguardduty.DeleteFilterInput{DetectorId: &id, FilterName: aws.String("bbb")}); err != nil {
		t.Fatal(err)
	}
	if got := ranks(); got != "aaa2 ccc1" {
		t.Errorf("ranks after the deletion = %s", got)
	}
	_, err := r.GetFilter(ctx, &awsguardduty.GetFilterInput{DetectorId: &id, FilterName: aws.String("bbb")})
	wantBadRequest(t, err, "since no such resource found.")
	_, err = r.CreateFilter(ctx, &awsguardduty.CreateFilterInput{DetectorId: &id, Name: aws.String("aaa"), FindingCriteria: criteria})
	wantBadRequest(t, err, "a filter with the given name already exists")
	_, err = r.CreateFilter(ctx, &awsguardduty.CreateFilterInput{DetectorId: &id, Name: aws.String("a/b"), FindingCriteria: criteria})
	wantBadRequest(t, err, "letters, digits")
	_, err = r.CreateFilter(ctx, &awsguardduty.CreateFilterInput{DetectorId: &id, Name: aws.String("xxx"), FindingCriteria: criteria, Action: types.FilterActionArchive})
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.GetFilter(ctx, &awsguardduty.GetFilterInput{DetectorId: &id, FilterName: aws.String("xxx")})
	if err != nil || f.Action != types.FilterActionArchive {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestTags(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	id := r.detector()
	for _, c := range []string{"detector/" + id, "detector/" + id + "/filter/fff"} {
		arn := "arn:aws:guardduty:" + testRegion + ":" + testAccount + ":" + c
		if strings.HasSuffix(c, "fff") {
			if _, err := r.CreateFilter(ctx, &awsguardduty.CreateFilterInput{DetectorId: &id, Name: aws.String("fff"),
				FindingCriteria: &types.FindingCriteria{Criterion: map[string]types.Condition{"id": {Eq: []string{"x"}}}}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.TagResource(ctx, &awsguardduty.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{"a": "1", "b": "2", "c": "3"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.UntagResource(ctx, &awsguardduty.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"a", "c", "z"}}); err != nil {
			t.Fatal(err)
		}
		out, err := r.ListTagsForResource(ctx, &awsguardduty.ListTagsForResourceInput{ResourceArn: &arn})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string]string{"b": "2"}, out.Tags); d != "" {
			t.Error(d)
		}
	}
	foreign := "arn:aws:guardduty:" + testRegion + ":999999999999:detector/" + id
	_, err := r.ListTagsForResource(ctx, &awsguardduty.ListTagsForResourceInput{ResourceArn: &foreign})
	wantBadRequest(t, err, "not owned by the current account")
	arn := "arn:aws:guardduty:" + testRegion + ":" + testAccount + ":detector/" + id
	_, err = r.TagResource(ctx, &awsguardduty.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{"aws:x": "1"}})
	wantBadRequest(t, err, "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: (?!aws:)")
}

func TestUnimplementedOperationIsRefused(t *testing.T) {
	r := newRig(t)
	id := r.detector()
	_, err := r.ListMembers(t.Context(), &awsguardduty.ListMembersInput{DetectorId: &id})
	wantBadRequest(t, err, "ListMembers is not implemented")
	_, err = r.ListIPSets(t.Context(), &awsguardduty.ListIPSetsInput{DetectorId: &id})
	wantBadRequest(t, err, "ListIPSets is not implemented")
}

// BenchmarkListFindings lists a page of 20,000 findings: by an index, by a criterion that all must be read for, and by a
// member without an index.
func BenchmarkListFindings(b *testing.B) {
	r := newRig(b)
	id := r.detector()
	r.store(id, 20_000)
	for name, in := range map[string]*awsguardduty.ListFindingsInput{
		"index":     {DetectorId: &id},
		"criterion": {DetectorId: &id, FindingCriteria: &types.FindingCriteria{Criterion: map[string]types.Condition{"title": {Eq: []string{"no finding"}}}}},
		"column":    {DetectorId: &id, FindingCriteria: &types.FindingCriteria{Criterion: map[string]types.Condition{"severity": {Gte: aws.Int32(9)}}}},
		"member":    {DetectorId: &id, SortCriteria: &types.SortCriteria{AttributeName: aws.String("title")}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := r.ListFindings(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
