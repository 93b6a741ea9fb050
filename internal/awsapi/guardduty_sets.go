package awsapi

import (
	"context"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/intel"
)

// CreateThreatIntelSet makes a threat intelligence set: addresses and domain names that make findings.
func (g *GuardDuty) CreateThreatIntelSet(ctx context.Context, in *guardduty.CreateThreatIntelSetInput) (*guardduty.CreateThreatIntelSetOutput, error) {
	set := intel.Set{Kind: intel.ThreatIntelSet, Name: in.Name, Format: in.Format, Location: in.Location, Tags: in.Tags}
	id, err := g.createSet(ctx, "CreateThreatIntelSet", in.DetectorId, set, in.Activate, in.ExpectedBucketOwner, in.ClientToken)
	if err != nil {
		return nil, err
	}
	return &guardduty.CreateThreatIntelSetOutput{ThreatIntelSetId: id}, nil
}

// GetThreatIntelSet returns a threat intelligence set. GuardDuty's model has no room for the reason of the
// status ERROR.
func (g *GuardDuty) GetThreatIntelSet(ctx context.Context, in *guardduty.GetThreatIntelSetInput) (*guardduty.GetThreatIntelSetOutput, error) {
	set, err := g.getSet(ctx, "GetThreatIntelSet", in.DetectorId, intel.ThreatIntelSet, in.ThreatIntelSetId)
	if err != nil {
		return nil, err
	}
	return &guardduty.GetThreatIntelSetOutput{
		Name: set.Name, Format: set.Format, Location: set.Location, Status: set.Status, Tags: set.Tags,
	}, nil
}

// UpdateThreatIntelSet changes a threat intelligence set.
func (g *GuardDuty) UpdateThreatIntelSet(ctx context.Context, in *guardduty.UpdateThreatIntelSetInput) (*guardduty.UpdateThreatIntelSetOutput, error) {
	change := intel.Change{Name: in.Name, Location: in.Location, Activate: in.Activate}
	return nil, g.updateSet(ctx, "UpdateThreatIntelSet", in.DetectorId, intel.ThreatIntelSet, in.ThreatIntelSetId, change, in.ExpectedBucketOwner)
}

// ListThreatIntelSets lists the ids of the threat intelligence sets.
func (g *GuardDuty) ListThreatIntelSets(ctx context.Context, in *guardduty.ListThreatIntelSetsInput) (*guardduty.ListThreatIntelSetsOutput, error) {
	ids, next, err := g.listSets(ctx, "ListThreatIntelSets", in.DetectorId, intel.ThreatIntelSet, in.NextToken, in.MaxResults)
	return &guardduty.ListThreatIntelSetsOutput{ThreatIntelSetIds: ids, NextToken: next}, err
}

// DeleteThreatIntelSet removes a threat intelligence set.
func (g *GuardDuty) DeleteThreatIntelSet(ctx context.Context, in *guardduty.DeleteThreatIntelSetInput) (*guardduty.DeleteThreatIntelSetOutput, error) {
	return nil, g.deleteSet(ctx, "DeleteThreatIntelSet", in.DetectorId, intel.ThreatIntelSet, in.ThreatIntelSetId)
}

// CreateIPSet makes an IP set: addresses that are trusted.
func (g *GuardDuty) CreateIPSet(ctx context.Context, in *guardduty.CreateIPSetInput) (*guardduty.CreateIPSetOutput, error) {
	set := intel.Set{Kind: intel.IPSet, Name: in.Name, Format: in.Format, Location: in.Location, Tags: in.Tags}
	id, err := g.createSet(ctx, "CreateIPSet", in.DetectorId, set, in.Activate, in.ExpectedBucketOwner, in.ClientToken)
	if err != nil {
		return nil, err
	}
	return &guardduty.CreateIPSetOutput{IpSetId: id}, nil
}

// GetIPSet returns an IP set. GuardDuty's model has no room for the reason of the status ERROR.
func (g *GuardDuty) GetIPSet(ctx context.Context, in *guardduty.GetIPSetInput) (*guardduty.GetIPSetOutput, error) {
	set, err := g.getSet(ctx, "GetIPSet", in.DetectorId, intel.IPSet, in.IpSetId)
	if err != nil {
		return nil, err
	}
	return &guardduty.GetIPSetOutput{
		Name: set.Name, Format: set.Format, Location: set.Location, Status: set.Status, Tags: set.Tags,
	}, nil
}

// UpdateIPSet changes an IP set.
func (g *GuardDuty) UpdateIPSet(ctx context.Context, in *guardduty.UpdateIPSetInput) (*guardduty.UpdateIPSetOutput, error) {
	change := intel.Change{Name: in.Name, Location: in.Location, Activate: in.Activate}
	return nil, g.updateSet(ctx, "UpdateIPSet", in.DetectorId, intel.IPSet, in.IpSetId, change, in.ExpectedBucketOwner)
}

// ListIPSets lists the ids of the IP sets.
func (g *GuardDuty) ListIPSets(ctx context.Context, in *guardduty.ListIPSetsInput) (*guardduty.ListIPSetsOutput, error) {
	ids, next, err := g.listSets(ctx, "ListIPSets", in.DetectorId, intel.IPSet, in.NextToken, in.MaxResults)
	return &guardduty.ListIPSetsOutput{IpSetIds: ids, NextToken: next}, err
}

// DeleteIPSet removes an IP set.
func (g *GuardDuty) DeleteIPSet(ctx context.Context, in *guardduty.DeleteIPSetInput) (*guardduty.DeleteIPSetOutput, error) {
	return nil, g.deleteSet(ctx, "DeleteIPSet", in.DetectorId, intel.IPSet, in.IpSetId)
}

// CreateThreatEntitySet makes a threat entity set: addresses, domain names and SHA-256 digests of files that make findings.
func (g *GuardDuty) CreateThreatEntitySet(ctx context.Context, in *guardduty.CreateThreatEntitySetInput) (*guardduty.CreateThreatEntitySetOutput, error) {
	set := intel.Set{Kind: intel.ThreatEntitySet, Name: in.Name, Format: in.Format, Location: in.Location, Tags: in.Tags}
	id, err := g.createSet(ctx, "CreateThreatEntitySet", in.DetectorId, set, in.Activate, in.ExpectedBucketOwner, in.ClientToken)
	if err != nil {
		return nil, err
	}
	return &guardduty.CreateThreatEntitySetOutput{ThreatEntitySetId: id}, nil
}

// GetThreatEntitySet returns a threat entity set.
func (g *GuardDuty) GetThreatEntitySet(ctx context.Context, in *guardduty.GetThreatEntitySetInput) (*guardduty.GetThreatEntitySetOutput, error) {
	set, err := g.getSet(ctx, "GetThreatEntitySet", in.DetectorId, intel.ThreatEntitySet, in.ThreatEntitySetId)
	if err != nil {
		return nil, err
	}
	return &guardduty.GetThreatEntitySetOutput{
		Name: set.Name, Format: set.Format, Location: set.Location, Status: set.Status, Tags: set.Tags,
		CreatedAt: &set.CreatedAt, UpdatedAt: &set.UpdatedAt, ErrorDetails: details(set),
	}, nil
}

// UpdateThreatEntitySet changes a threat entity set.
func (g *GuardDuty) UpdateThreatEntitySet(ctx context.Context, in *guardduty.UpdateThreatEntitySetInput) (*guardduty.UpdateThreatEntitySetOutput, error) {
	change := intel.Change{Name: in.Name, Location: in.Location, Activate: in.Activate}
	return nil, g.updateSet(ctx, "UpdateThreatEntitySet", in.DetectorId, intel.ThreatEntitySet, in.ThreatEntitySetId, change, in.ExpectedBucketOwner)
}

// ListThreatEntitySets lists the ids of the threat entity sets.
func (g *GuardDuty) ListThreatEntitySets(ctx context.Context, in *guardduty.ListThreatEntitySetsInput) (*guardduty.ListThreatEntitySetsOutput, error) {
	ids, next, err := g.listSets(ctx, "ListThreatEntitySets", in.DetectorId, intel.ThreatEntitySet, in.NextToken, in.MaxResults)
	return &guardduty.ListThreatEntitySetsOutput{ThreatEntitySetIds: ids, NextToken: next}, err
}

// DeleteThreatEntitySet removes a threat entity set.
func (g *GuardDuty) DeleteThreatEntitySet(ctx context.Context, in *guardduty.DeleteThreatEntitySetInput) (*guardduty.DeleteThreatEntitySetOutput, error) {
	return nil, g.deleteSet(ctx, "DeleteThreatEntitySet", in.DetectorId, intel.ThreatEntitySet, in.ThreatEntitySetId)
}

// CreateTrustedEntitySet makes a trusted entity set: addresses and domain names that are trusted.
func (g *GuardDuty) CreateTrustedEntitySet(ctx context.Context, in *guardduty.CreateTrustedEntitySetInput) (*guardduty.CreateTrustedEntitySetOutput, error) {
	set := intel.Set{Kind: intel.TrustedEntitySet, Name: in.Name, Format: in.Format, Location: in.Location, Tags: in.Tags}
	id, err := g.createSet(ctx, "CreateTrustedEntitySet", in.DetectorId, set, in.Activate, in.ExpectedBucketOwner, in.ClientToken)
	if err != nil {
		return nil, err
	}
	return &guardduty.CreateTrustedEntitySetOutput{TrustedEntitySetId: id}, nil
}

// GetTrustedEntitySet returns a trusted entity set.
func (g *GuardDuty) GetTrustedEntitySet(ctx context.Context, in *guardduty.GetTrustedEntitySetInput) (*guardduty.GetTrustedEntitySetOutput, error) {
	set, err := g.getSet(ctx, "GetTrustedEntitySet", in.DetectorId, intel.TrustedEntitySet, in.TrustedEntitySetId)
	if err != nil {
		return nil, err
	}
	return &guardduty.GetTrustedEntitySetOutput{
		Name: set.Name, Format: set.Format, Location: set.Location, Status: set.Status, Tags: set.Tags,
		CreatedAt: &set.CreatedAt, UpdatedAt: &set.UpdatedAt, ErrorDetails: details(set),
	}, nil
}

// UpdateTrustedEntitySet changes a trusted entity set.
func (g *GuardDuty) UpdateTrustedEntitySet(ctx context.Context, in *guardduty.UpdateTrustedEntitySetInput) (*guardduty.UpdateTrustedEntitySetOutput, error) {
	change := intel.Change{Name: in.Name, Location: in.Location, Activate: in.Activate}
	return nil, g.updateSet(ctx, "UpdateTrustedEntitySet", in.DetectorId, intel.TrustedEntitySet, in.TrustedEntitySetId, change, in.ExpectedBucketOwner)
}

// ListTrustedEntitySets lists the ids of the trusted entity sets.
func (g *GuardDuty) ListTrustedEntitySets(ctx context.Context, in *guardduty.ListTrustedEntitySetsInput) (*guardduty.ListTrustedEntitySetsOutput, error) {
	ids, next, err := g.listSets(ctx, "ListTrustedEntitySets", in.DetectorId, intel.TrustedEntitySet, in.NextToken, in.MaxResults)
	return &guardduty.ListTrustedEntitySetsOutput{TrustedEntitySetIds: ids, NextToken: next}, err
}

// DeleteTrustedEntitySet removes a trusted entity set.
func (g *GuardDuty) DeleteTrustedEntitySet(ctx context.Context, in *guardduty.DeleteTrustedEntitySetInput) (*guardduty.DeleteTrustedEntitySetOutput, error) {
	return nil, g.deleteSet(ctx, "DeleteTrustedEntitySet", in.DetectorId, intel.TrustedEntitySet, in.TrustedEntitySetId)
}

// details returns what there is to say about a set's content.
func details(set intel.Set) *string {
	if set.ErrorDetails == "" {
		return nil
	}
	return &set.ErrorDetails
}
