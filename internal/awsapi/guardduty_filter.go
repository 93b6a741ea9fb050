package awsapi

import (
	"cmp"
	"context"
	"regexp"
	"slices"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/wire"
	"vedette.dev/vedette/internal/finding/criteria"
	"vedette.dev/vedette/internal/store"
)

// filters are the stored filters, under DETECTOR/NAME.
const filters store.Documents[criteria.Filter] = criteria.FilterKind

const maxFilters = 100 // as GuardDuty's quota

var filterName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// noSuchResource is GuardDuty's text for a missing filter or list.
func noSuchResource() *wire.Error {
	return invalidInput("The request is rejected since no such resource found.")
}

func getFilter(tx *store.Tx, detectorID, name string) (criteria.Filter, error) {
	if _, err := detector(tx, detectorID); err != nil {
		return criteria.Filter{}, err
	}
	f, ok, err := filters.Get(tx, detectorID+"/"+name)
	if err == nil && !ok {
		err = noSuchResource()
	}
	return f, err
}

func hasFilter(tx *store.Tx, key string) (bool, error) {
	_, ok, err := filters.Get(tx, key)
	return ok, err
}

// CreateFilter keeps a new filter.
func (g *GuardDuty) CreateFilter(ctx context.Context, in *guardduty.CreateFilterInput) (*guardduty.CreateFilterOutput, error) {
	if !filterName.MatchString(in.Name) {
		return nil, invalidInput("%s A filter's name has letters, digits, dots, underscores and hyphens.", outOfRange)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	wanted, err := filterCriteria(in.FindingCriteria)
	if err != nil {
		return nil, err
	}
	f := criteria.Filter{Name: in.Name, Description: in.Description, Action: or(deref(in.Action), criteria.ActionNone), Criteria: wanted, Tags: in.Tags}
	key := in.DetectorId + "/" + in.Name
	err = g.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := detector(tx, in.DetectorId); err != nil {
			return err
		}
		if _, again, err := g.once(tx, "CreateFilter/"+in.DetectorId, in.ClientToken, key, hasFilter); err != nil || again {
			return err
		}
		if exists, err := hasFilter(tx, key); err != nil {
			return err
		} else if exists {
			return invalidInput("The request is rejected because a filter with the given name already exists.")
		}
		return putFilter(tx, in.DetectorId, f, in.Rank)
	})
	if err != nil {
		return nil, err
	}
	return &guardduty.CreateFilterOutput{Name: in.Name}, nil
}

// filterCriteria checks the criteria of a filter.
func filterCriteria(in *guardduty.FindingCriteria) (*criteria.Criteria, error) {
	out := criteriaOf(in)
	if len(out.Criterion) == 0 {
		return nil, invalidInput("%s findingCriteria has no attribute.", outOfRange)
	}
	_, err := compileCriteria(out, true)
	return &out, err
}

// putFilter stores a filter at a rank, the last one if there is none given, and moves the others.
func putFilter(tx *store.Tx, detectorID string, f criteria.Filter, rank *int64) error {
	entries, err := filters.List(tx, detectorID+"/", "", 0)
	if err != nil {
		return err
	}
	ranked := make([]criteria.Filter, 0, len(entries)+1)
	for _, e := range entries {
		if e.Value.Name != f.Name {
			ranked = append(ranked, e.Value)
		}
	}
	if len(ranked) >= maxFilters {
		return invalidInput("The request is rejected because the number of filters has reached its limit of %d.", maxFilters)
	}
	slices.SortFunc(ranked, func(a, b criteria.Filter) int { return cmp.Compare(a.Rank, b.Rank) })
	at := len(ranked)
	if rank != nil {
		at = min(at, int(*rank)-1)
	}
	ranked = slices.Insert(ranked, at, f)
	for i, f := range ranked {
		if i != at && f.Rank == int64(i+1) {
			continue
		}
		f.Rank = int64(i + 1)
		if err := filters.Put(tx, detectorID+"/"+f.Name, f); err != nil {
			return err
		}
	}
	return nil
}

// GetFilter returns a filter.
func (g *GuardDuty) GetFilter(ctx context.Context, in *guardduty.GetFilterInput) (*guardduty.GetFilterOutput, error) {
	var f criteria.Filter
	err := g.db.View(ctx, func(tx *store.Tx) (err error) {
		f, err = getFilter(tx, in.DetectorId, in.FilterName)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &guardduty.GetFilterOutput{
		Name: f.Name, Description: f.Description, Action: f.Action, Rank: &f.Rank, FindingCriteria: wireCriteria(f.Criteria), Tags: f.Tags,
	}, nil
}

// UpdateFilter changes what the input names and keeps the rest.
func (g *GuardDuty) UpdateFilter(ctx context.Context, in *guardduty.UpdateFilterInput) (*guardduty.UpdateFilterOutput, error) {
	var wanted *criteria.Criteria
	if in.FindingCriteria != nil {
		var err error
		if wanted, err = filterCriteria(in.FindingCriteria); err != nil {
			return nil, err
		}
	}
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		f, err := getFilter(tx, in.DetectorId, in.FilterName)
		if err != nil {
			return err
		}
		if in.Action != nil {
			f.Action = *in.Action
		}
		if in.Description != nil {
			f.Description = in.Description
		}
		if wanted != nil {
			f.Criteria = wanted
		}
		rank := &f.Rank
		if in.Rank != nil {
			rank = in.Rank
		}
		return putFilter(tx, in.DetectorId, f, rank)
	})
	if err != nil {
		return nil, err
	}
	return &guardduty.UpdateFilterOutput{Name: in.FilterName}, nil
}

// ListFilters lists the names of the filters.
func (g *GuardDuty) ListFilters(ctx context.Context, in *guardduty.ListFiltersInput) (*guardduty.ListFiltersOutput, error) {
	out := &guardduty.ListFiltersOutput{}
	err := g.db.View(ctx, func(tx *store.Tx) error {
		if _, err := detector(tx, in.DetectorId); err != nil {
			return err
		}
		entries, next, err := page(tx, filters, in.DetectorId+"/", digest("ListFilters", in.DetectorId), in.NextToken, in.MaxResults)
		for _, e := range entries {
			out.FilterNames = append(out.FilterNames, e.Value.Name)
		}
		out.NextToken = &next
		return err
	})
	return out, err
}

// DeleteFilter removes a filter; those behind it move up.
func (g *GuardDuty) DeleteFilter(ctx context.Context, in *guardduty.DeleteFilterInput) (*guardduty.DeleteFilterOutput, error) {
	return nil, g.db.Update(ctx, func(tx *store.Tx) error {
		gone, err := getFilter(tx, in.DetectorId, in.FilterName)
		if err != nil {
			return err
		}
		if _, err := filters.Delete(tx, in.DetectorId+"/"+in.FilterName); err != nil {
			return err
		}
		entries, err := filters.List(tx, in.DetectorId+"/", "", 0)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Value.Rank > gone.Rank {
				e.Value.Rank--
				if err := filters.Put(tx, e.Key, e.Value); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
