package awsapi

import (
	"context"
	"errors"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/wire"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/store"
)

// ThreatIntel makes, changes and removes threat intelligence sets; *intel.Sets does.
type ThreatIntel interface {
	Create(ctx context.Context, name, format, location string, activate bool, tags map[string]string) (intel.Set, error)
	Update(ctx context.Context, id string, change intel.Change) error
	Delete(ctx context.Context, id string) error
	Get(ctx context.Context, id string) (intel.Set, bool, error)
	All(ctx context.Context) ([]intel.Set, error)
}

var _ ThreatIntel = (*intel.Sets)(nil)

// threatIntel checks what every operation on sets needs, and refuses as GuardDuty does.
func (g *GuardDuty) threatIntel(ctx context.Context, operation, detectorID string) (ThreatIntel, error) {
	if g.sets == nil {
		return nil, wire.NotImplemented(operation)
	}
	return g.sets, g.db.View(ctx, func(tx *store.Tx) error {
		_, err := detector(tx, detectorID)
		return err
	})
}

// refuseSet turns the errors of intel into GuardDuty's.
func refuseSet(err error) error {
	var invalid *intel.InvalidError
	switch {
	case errors.As(err, &invalid):
		return invalidInput("The request is rejected because %s.", invalid.Reason)
	case errors.Is(err, intel.ErrNotFound):
		return noSuchResource()
	}
	return err
}

func refuseOwner(owner *string) error {
	if owner != nil {
		return invalidInput("The request is rejected because expectedBucketOwner cannot be checked: locations are files and web addresses.")
	}
	return nil
}

func hasSet(tx *store.Tx, id string) (bool, error) {
	_, ok, err := intel.ThreatIntelSets.Get(tx, id)
	return ok, err
}

// CreateThreatIntelSet makes a set; its source is read in the background.
func (g *GuardDuty) CreateThreatIntelSet(ctx context.Context, in *guardduty.CreateThreatIntelSetInput) (*guardduty.CreateThreatIntelSetOutput, error) {
	sets, err := g.threatIntel(ctx, "CreateThreatIntelSet", in.DetectorId)
	if err != nil {
		return nil, err
	}
	if err := refuseOwner(in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	var id string
	var again bool
	err = g.db.View(ctx, func(tx *store.Tx) (err error) {
		id, again, err = g.earlier(tx, "CreateThreatIntelSet", in.ClientToken, hasSet)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !again {
		set, err := sets.Create(ctx, in.Name, in.Format, in.Location, in.Activate, in.Tags)
		if err != nil {
			return nil, refuseSet(err)
		}
		id = set.ID
		err = g.db.Update(ctx, func(tx *store.Tx) error { return g.remember(tx, "CreateThreatIntelSet", in.ClientToken, id) })
		if err != nil {
			return nil, err
		}
	}
	return &guardduty.CreateThreatIntelSetOutput{ThreatIntelSetId: id}, nil
}

// GetThreatIntelSet returns a set. GuardDuty's model has no room for the reason of the status ERROR.
func (g *GuardDuty) GetThreatIntelSet(ctx context.Context, in *guardduty.GetThreatIntelSetInput) (*guardduty.GetThreatIntelSetOutput, error) {
	sets, err := g.threatIntel(ctx, "GetThreatIntelSet", in.DetectorId)
	if err != nil {
		return nil, err
	}
	set, ok, err := sets.Get(ctx, in.ThreatIntelSetId)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, noSuchResource()
	}
	return &guardduty.GetThreatIntelSetOutput{
		Name: set.Name, Format: set.Format, Location: set.Location, Status: set.Status, Tags: set.Tags,
	}, nil
}

// UpdateThreatIntelSet changes what the input names and keeps the rest.
func (g *GuardDuty) UpdateThreatIntelSet(ctx context.Context, in *guardduty.UpdateThreatIntelSetInput) (*guardduty.UpdateThreatIntelSetOutput, error) {
	sets, err := g.threatIntel(ctx, "UpdateThreatIntelSet", in.DetectorId)
	if err != nil {
		return nil, err
	}
	if err := refuseOwner(in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	err = sets.Update(ctx, in.ThreatIntelSetId, intel.Change{Name: in.Name, Location: in.Location, Activate: in.Activate})
	return nil, refuseSet(err)
}

// ListThreatIntelSets lists the ids of the sets.
func (g *GuardDuty) ListThreatIntelSets(ctx context.Context, in *guardduty.ListThreatIntelSetsInput) (*guardduty.ListThreatIntelSetsOutput, error) {
	if _, err := g.threatIntel(ctx, "ListThreatIntelSets", in.DetectorId); err != nil {
		return nil, err
	}
	out := &guardduty.ListThreatIntelSetsOutput{}
	err := g.db.View(ctx, func(tx *store.Tx) error {
		entries, next, err := page(tx, intel.ThreatIntelSets, "", digest("ListThreatIntelSets"), in.NextToken, in.MaxResults)
		for _, e := range entries {
			out.ThreatIntelSetIds = append(out.ThreatIntelSetIds, e.Key)
		}
		out.NextToken = &next
		return err
	})
	return out, err
}

// DeleteThreatIntelSet removes a set and what it put into the lists.
func (g *GuardDuty) DeleteThreatIntelSet(ctx context.Context, in *guardduty.DeleteThreatIntelSetInput) (*guardduty.DeleteThreatIntelSetOutput, error) {
	sets, err := g.threatIntel(ctx, "DeleteThreatIntelSet", in.DetectorId)
	if err != nil {
		return nil, err
	}
	return nil, refuseSet(sets.Delete(ctx, in.ThreatIntelSetId))
}

// clearSets removes every set.
func (g *GuardDuty) clearSets(ctx context.Context) error {
	if g.sets == nil {
		return nil
	}
	sets, err := g.sets.All(ctx)
	if err != nil {
		return err
	}
	for _, set := range sets {
		if err := g.sets.Delete(ctx, set.ID); err != nil && !errors.Is(err, intel.ErrNotFound) {
			return err
		}
	}
	return nil
}
