package awsapi

import (
	"context"
	"errors"

	"vedette.dev/vedette/internal/awsapi/wire"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/store"
)

// ThreatIntel makes, changes and removes sets of every kind; *intel.Sets does.
type ThreatIntel interface {
	Create(ctx context.Context, set intel.Set, activate bool) (intel.Set, error)
	Update(ctx context.Context, kind intel.Kind, id string, change intel.Change) error
	Retag(tx *store.Tx, kind intel.Kind, id string, tags map[string]string) error
	Delete(ctx context.Context, kind intel.Kind, id string) error
	Get(ctx context.Context, kind intel.Kind, id string) (intel.Set, bool, error)
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

// createSet makes a set; its source is read in the background. It returns the set's id.
func (g *GuardDuty) createSet(ctx context.Context, operation, detectorID string, set intel.Set, activate bool, owner, token *string) (string, error) {
	sets, err := g.threatIntel(ctx, operation, detectorID)
	if err != nil {
		return "", err
	}
	if err := refuseOwner(owner); err != nil {
		return "", err
	}
	if err := checkTags(set.Tags); err != nil {
		return "", err
	}
	var id string
	var again bool
	err = g.db.View(ctx, func(tx *store.Tx) (err error) {
		id, again, err = g.earlier(tx, operation, token, func(tx *store.Tx, id string) (bool, error) {
			_, ok, err := set.Kind.Documents().Get(tx, id)
			return ok, err
		})
		return err
	})
	if err != nil || again {
		return id, err
	}
	if set, err = sets.Create(ctx, set, activate); err != nil {
		return "", refuseSet(err)
	}
	return set.ID, g.db.Update(ctx, func(tx *store.Tx) error { return g.remember(tx, operation, token, set.ID) })
}

// getSet returns a set.
func (g *GuardDuty) getSet(ctx context.Context, operation, detectorID string, kind intel.Kind, id string) (intel.Set, error) {
	sets, err := g.threatIntel(ctx, operation, detectorID)
	if err != nil {
		return intel.Set{}, err
	}
	set, ok, err := sets.Get(ctx, kind, id)
	if err == nil && !ok {
		err = noSuchResource()
	}
	return set, err
}

// updateSet changes what the input names and keeps the rest.
func (g *GuardDuty) updateSet(ctx context.Context, operation, detectorID string, kind intel.Kind, id string, change intel.Change, owner *string) error {
	sets, err := g.threatIntel(ctx, operation, detectorID)
	if err != nil {
		return err
	}
	if err := refuseOwner(owner); err != nil {
		return err
	}
	return refuseSet(sets.Update(ctx, kind, id, change))
}

// listSets lists the ids of the sets of a kind.
func (g *GuardDuty) listSets(ctx context.Context, operation, detectorID string, kind intel.Kind, token *string, size *int64) (ids []string, next *string, err error) {
	if _, err := g.threatIntel(ctx, operation, detectorID); err != nil {
		return nil, nil, err
	}
	err = g.db.View(ctx, func(tx *store.Tx) error {
		entries, more, err := page(tx, kind.Documents(), "", digest(operation), token, size)
		for _, e := range entries {
			ids = append(ids, e.Key)
		}
		next = &more
		return err
	})
	return ids, next, err
}

// deleteSet removes a set and what it put into the lists.
func (g *GuardDuty) deleteSet(ctx context.Context, operation, detectorID string, kind intel.Kind, id string) error {
	sets, err := g.threatIntel(ctx, operation, detectorID)
	if err != nil {
		return err
	}
	return refuseSet(sets.Delete(ctx, kind, id))
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
		if err := g.sets.Delete(ctx, set.Kind, set.ID); err != nil && !errors.Is(err, intel.ErrNotFound) {
			return err
		}
	}
	return nil
}
