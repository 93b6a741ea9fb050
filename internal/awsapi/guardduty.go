package awsapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/store"
)

// Sampler makes sample findings and sends them the way of real ones.
type Sampler interface {
	// CreateSamples makes one sample of each type, or of every type when there is none given. The error is
	// *finding.UnknownTypeError when there is no such type; then nothing is made.
	CreateSamples(ctx context.Context, types []string) error
}

// GuardDutyOptions is what NewGuardDuty needs.
type GuardDutyOptions struct {
	AccountID, Region string
	Store             *store.DB

	Samples Sampler     // CreateSampleFindings; nil: not implemented
	Sets    ThreatIntel // sets of threats and of what is trusted; nil: not implemented

	// DetectorChanged is called after a detector was created, changed or deleted (then detector is nil). It may be nil and
	// must not block.
	DetectorChanged func(detector *finding.Detector)

	Now func() time.Time // nil means time.Now
}

// GuardDuty implements the GuardDuty API on the store. Operations that it lacks are answered as not implemented.
type GuardDuty struct {
	guardduty.Unimplemented

	account, region string
	db              *store.DB
	samples         Sampler
	sets            ThreatIntel
	changed         func(*finding.Detector)
	now             func() time.Time
}

var _ guardduty.API = (*GuardDuty)(nil)

// NewGuardDuty returns the implementation of the GuardDuty API.
func NewGuardDuty(o GuardDutyOptions) (*GuardDuty, error) {
	if o.AccountID == "" || o.Region == "" || o.Store == nil {
		return nil, errors.New("awsapi: GuardDuty needs an account, a region and a store")
	}
	g := &GuardDuty{
		account: o.AccountID, region: o.Region, db: o.Store,
		samples: o.Samples, sets: o.Sets, changed: o.DetectorChanged, now: o.Now,
	}
	if g.changed == nil {
		g.changed = func(*finding.Detector) {}
	}
	if g.now == nil {
		g.now = time.Now
	}
	return g, nil
}

const detectors store.Documents[finding.Detector] = finding.DetectorKind

// isoTime is how GuardDuty spells the times that its model calls strings.
func isoTime(t time.Time) *string { return new(t.UTC().Format("2006-01-02T15:04:05.000Z")) }

// detector returns the detector with the given id, or GuardDuty's refusal.
func detector(tx *store.Tx, id string) (finding.Detector, error) {
	d, ok, err := detectors.Get(tx, id)
	if err == nil && !ok {
		err = invalidInput("The request is rejected because the input detectorId is not owned by the current account.")
	}
	return d, err
}

func hasDetector(tx *store.Tx, id string) (bool, error) {
	_, ok, err := detectors.Get(tx, id)
	return ok, err
}

// CreateDetector makes the one detector that an account has in a region.
func (g *GuardDuty) CreateDetector(ctx context.Context, in *guardduty.CreateDetectorInput) (*guardduty.CreateDetectorOutput, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	now := g.now().UTC()
	d := finding.Detector{
		ID:                         newID(),
		FindingPublishingFrequency: or(deref(in.FindingPublishingFrequency), "SIX_HOURS"),
		CreatedAt:                  now,
		Tags:                       in.Tags,
	}
	if err := g.apply(&d, &in.Enable, in.Features, in.DataSources); err != nil {
		return nil, err
	}
	id, again := d.ID, false
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		var err error
		if id, again, err = g.once(tx, "CreateDetector", in.ClientToken, d.ID, hasDetector); err != nil || again {
			return err
		}
		switch existing, err := detectors.List(tx, "", "", 1); {
		case err != nil:
			return err
		case len(existing) > 0:
			return invalidInput("The request is rejected because a detector already exists for the current account.")
		}
		return detectors.Put(tx, d.ID, d)
	})
	if err != nil {
		return nil, err
	}
	if !again {
		g.changed(&d)
	}
	return &guardduty.CreateDetectorOutput{DetectorId: &id}, nil
}

// UpdateDetector changes what the input names and keeps the rest.
func (g *GuardDuty) UpdateDetector(ctx context.Context, in *guardduty.UpdateDetectorInput) (*guardduty.UpdateDetectorOutput, error) {
	var d finding.Detector
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		old, err := detector(tx, in.DetectorId)
		if err != nil {
			return err
		}
		d = old.Clone()
		if in.FindingPublishingFrequency != nil {
			d.FindingPublishingFrequency = *in.FindingPublishingFrequency
		}
		if err := g.apply(&d, in.Enable, in.Features, in.DataSources); err != nil {
			return err
		}
		return detectors.Put(tx, d.ID, d)
	})
	if err != nil {
		return nil, err
	}
	g.changed(&d)
	return nil, nil
}

// apply sets status and features.
func (g *GuardDuty) apply(d *finding.Detector, enable *bool, features []guardduty.DetectorFeatureConfiguration,
	sources *guardduty.DataSourceConfigurations) error {
	now := g.now().UTC()
	d.UpdatedAt = now
	if enable != nil {
		d.Status = finding.Disabled
		if *enable {
			d.Status = finding.Enabled
		}
	}
	if err := checkSources(sources); err != nil {
		return err
	}
	if err := checkFeatures(features); err != nil {
		return err
	}
	for _, f := range features {
		if *f.Name != finding.RuntimeMonitoring {
			continue // checked to be disabled, which it always is
		}
		current := feature(&d.Features, *f.Name)
		setStatus(current, *f.Status, now)
		for _, c := range f.AdditionalConfiguration {
			setStatus(feature(&current.AdditionalConfiguration, *c.Name), *c.Status, now)
		}
	}
	return nil
}

// feature returns the feature with the given name, which it adds if need be.
func feature(list *[]finding.Feature, name string) *finding.Feature {
	i := slices.IndexFunc(*list, func(f finding.Feature) bool { return f.Name == name })
	if i < 0 {
		i = len(*list)
		*list = append(*list, finding.Feature{Name: name, Status: finding.Disabled})
	}
	return &(*list)[i]
}

func setStatus(f *finding.Feature, status string, now time.Time) {
	if f.Status != status || f.UpdatedAt.IsZero() {
		f.Status, f.UpdatedAt = status, now
	}
}

const eksRuntimeMonitoring = "EKS_RUNTIME_MONITORING"

// checkFeatures refuses what GuardDuty refuses, and to enable what there is not: a feature must not seem to be on.
func checkFeatures(features []guardduty.DetectorFeatureConfiguration) error {
	seen := map[string]bool{}
	for _, f := range features {
		if f.Name == nil || f.Status == nil {
			return invalidInput("%s A feature needs a name and a status.", outOfRange)
		}
		if seen[*f.Name] {
			return invalidInput("%s The feature %s is given twice.", outOfRange, *f.Name)
		}
		seen[*f.Name] = true
	}
	if seen[finding.RuntimeMonitoring] && seen[eksRuntimeMonitoring] {
		return invalidInput("The request is rejected because the features RUNTIME_MONITORING and EKS_RUNTIME_MONITORING cannot " +
			"be configured together.")
	}
	for _, f := range features {
		if *f.Name != finding.RuntimeMonitoring && *f.Status == finding.Enabled {
			return notAvailable(*f.Name)
		}
		if err := checkConfiguration(f); err != nil {
			return err
		}
	}
	return nil
}

func checkConfiguration(f guardduty.DetectorFeatureConfiguration) error {
	seen := map[string]bool{}
	for _, c := range f.AdditionalConfiguration {
		if c.Name == nil || c.Status == nil {
			return invalidInput("%s An additional configuration needs a name and a status.", outOfRange)
		}
		known := *f.Name == finding.RuntimeMonitoring || *f.Name == eksRuntimeMonitoring && *c.Name == "EKS_ADDON_MANAGEMENT"
		if !known || seen[*c.Name] {
			return invalidInput("%s The additional configuration %s does not belong to the feature %s, or is given twice.",
				outOfRange, *c.Name, *f.Name)
		}
		seen[*c.Name] = true
	}
	return nil
}

// checkSources is checkFeatures for the older way to name features.
func checkSources(s *guardduty.DataSourceConfigurations) error {
	switch {
	case s == nil:
		return nil
	case s.S3Logs != nil && s.S3Logs.Enable:
		return notAvailable("S3_DATA_EVENTS")
	case s.Kubernetes != nil && s.Kubernetes.AuditLogs != nil && s.Kubernetes.AuditLogs.Enable:
		return notAvailable("EKS_AUDIT_LOGS")
	case s.MalwareProtection != nil && s.MalwareProtection.ScanEc2InstanceWithFindings != nil &&
		deref(s.MalwareProtection.ScanEc2InstanceWithFindings.EbsVolumes):
		return notAvailable("EBS_MALWARE_PROTECTION")
	}
	return nil
}

func notAvailable(feature string) error {
	return invalidInput("The request is rejected because the feature %s is not available on this server; only %s is.",
		feature, finding.RuntimeMonitoring)
}

// otherFeatures are those that GetDetector lists beside RUNTIME_MONITORING.
var otherFeatures = []string{
	"CLOUD_TRAIL", "DNS_LOGS", "FLOW_LOGS", "S3_DATA_EVENTS", "EKS_AUDIT_LOGS", "EBS_MALWARE_PROTECTION", "RDS_LOGIN_EVENTS",
	"LAMBDA_NETWORK_LOGS", eksRuntimeMonitoring,
}

var agentManagement = []string{"EKS_ADDON_MANAGEMENT", "ECS_FARGATE_AGENT_MANAGEMENT", "EC2_AGENT_MANAGEMENT"}

// GetDetector describes the detector.
func (g *GuardDuty) GetDetector(ctx context.Context, in *guardduty.GetDetectorInput) (*guardduty.GetDetectorOutput, error) {
	var d finding.Detector
	err := g.db.View(ctx, func(tx *store.Tx) (err error) {
		d, err = detector(tx, in.DetectorId)
		return err
	})
	if err != nil {
		return nil, err
	}
	off := func() *string { return new(finding.Disabled) }
	out := &guardduty.GetDetectorOutput{
		CreatedAt:                  isoTime(d.CreatedAt),
		UpdatedAt:                  isoTime(d.UpdatedAt),
		FindingPublishingFrequency: &d.FindingPublishingFrequency,
		ServiceRole:                "arn:aws:iam::" + g.account + ":role/aws-service-role/guardduty.amazonaws.com/AWSServiceRoleForAmazonGuardDuty",
		Status:                     d.Status,
		Tags:                       d.Tags,
		DataSources: &guardduty.DataSourceConfigurationsResult{
			CloudTrail: &guardduty.CloudTrailConfigurationResult{Status: finding.Disabled},
			DNSLogs:    &guardduty.DNSLogsConfigurationResult{Status: finding.Disabled},
			FlowLogs:   &guardduty.FlowLogsConfigurationResult{Status: finding.Disabled},
			S3Logs:     &guardduty.S3LogsConfigurationResult{Status: finding.Disabled},
			Kubernetes: &guardduty.KubernetesConfigurationResult{
				AuditLogs: &guardduty.KubernetesAuditLogsConfigurationResult{Status: finding.Disabled},
			},
			MalwareProtection: &guardduty.MalwareProtectionConfigurationResult{
				ScanEc2InstanceWithFindings: &guardduty.ScanEc2InstanceWithFindingsResult{
					EbsVolumes: &guardduty.EbsVolumesResult{Status: off()},
				},
			},
		},
	}
	for _, name := range otherFeatures {
		out.Features = append(out.Features, guardduty.DetectorFeatureConfigurationResult{
			Name: &name, Status: off(), UpdatedAt: &d.CreatedAt,
		})
	}
	runtime := feature(&d.Features, finding.RuntimeMonitoring)
	result := guardduty.DetectorFeatureConfigurationResult{
		Name: &runtime.Name, Status: &runtime.Status, UpdatedAt: stampOr(runtime.UpdatedAt, d.CreatedAt),
	}
	for _, name := range agentManagement {
		c := *feature(&runtime.AdditionalConfiguration, name)
		result.AdditionalConfiguration = append(result.AdditionalConfiguration, guardduty.DetectorAdditionalConfigurationResult{
			Name: &c.Name, Status: &c.Status, UpdatedAt: stampOr(c.UpdatedAt, d.CreatedAt),
		})
	}
	out.Features = append(out.Features, result)
	return out, nil
}

func stampOr(t, fallback time.Time) *time.Time {
	if t.IsZero() {
		return &fallback
	}
	return &t
}

// ListDetectors lists the one detector, if there is one.
func (g *GuardDuty) ListDetectors(ctx context.Context, in *guardduty.ListDetectorsInput) (*guardduty.ListDetectorsOutput, error) {
	out := &guardduty.ListDetectorsOutput{NextToken: new("")}
	err := g.db.View(ctx, func(tx *store.Tx) error {
		entries, next, err := page(tx, detectors, "", "detectors", in.NextToken, in.MaxResults)
		for _, e := range entries {
			out.DetectorIds = append(out.DetectorIds, e.Key)
		}
		out.NextToken = &next
		return err
	})
	return out, err
}

// DeleteDetector removes the detector with everything under it: findings, filters, lists and their contents.
func (g *GuardDuty) DeleteDetector(ctx context.Context, in *guardduty.DeleteDetectorInput) (*guardduty.DeleteDetectorOutput, error) {
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := detector(tx, in.DetectorId); err != nil {
			return err
		}
		if _, err := tx.DeleteFindings(in.DetectorId); err != nil {
			return err
		}
		if err := clearDocuments(tx, filters, in.DetectorId+"/"); err != nil {
			return err
		}
		if err := clearDocuments(tx, feedback, ""); err != nil {
			return err
		}
		_, err := detectors.Delete(tx, in.DetectorId)
		return err
	})
	if err != nil {
		return nil, err
	}
	g.changed(nil)
	return nil, g.clearSets(ctx)
}

// newID returns an id as GuardDuty makes them: 32 hexadecimal digits.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
