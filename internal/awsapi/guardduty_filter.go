package awsapi

import (
	"cmp"
	"context"
	"regexp"
	"slices"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/wire"
	"vedette.dev/vedette/internal/store"
)

// filter is a named set of criteria. Filters are kept under DETECTOR/NAME.
type filter struct {
	Name        string                     `json:"name"`
	Description *string                    `json:"description,omitempty"`
	Action      string                     `json:"action"`
	Rank        int64                      `json:"rank"` // 1 and up, without gaps
	Criteria    *guardduty.FindingCriteria `json:"criteria"`
	Tags        map[string]string          `json:"tags,omitempty"`
}

const filters store.Documents[filter] = "finding-filter"

const maxFilters = 100 // as GuardDuty's quota

var filterName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// noSuchResource is GuardDuty's text for a missing filter or list.
func noSuchResource() *wire.Error {
	return invalidInput("The request is rejected since no such resource found.")
}

// checkAction refuses ARCHIVE: nothing applies filters to new findings yet, and findings that only seem to be suppressed
// would be a surprise.
func checkAction(action string) error {
	if action == "ARCHIVE" {
		return invalidInput("The request is rejected because filters with the action ARCHIVE are not available on this server.")
	}
	return nil
}

func getFilter(tx *store.Tx, detectorID, name string) (filter, error) {
	if _, err := detector(tx, detectorID); err != nil {
		return filter{}, err
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
	if err := cmp.Or(checkAction(deref(in.Action)), checkTags(in.Tags)); err != nil {
		return nil, err
	}
	if err := checkFilterCriteria(in.FindingCriteria); err != nil {
		return nil, err
	}
	f := filter{Name: in.Name, Description: in.Description, Action: or(deref(in.Action), "NOOP"), Criteria: in.FindingCriteria, Tags: in.Tags}
	key := in.DetectorId + "/" + in.Name
	err := g.db.Update(ctx, func(tx *store.Tx) error {
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

func checkFilterCriteria(in *guardduty.FindingCriteria) error {
	if len(in.Criterion) == 0 {
		return invalidInput("%s findingCriteria has no attribute.", outOfRange)
	}
	_, err := parseCriteria(in, true)
	return err
}

// putFilter stores a filter at a rank, the last one if there is none given, and moves the others.
func putFilter(tx *store.Tx, detectorID string, f filter, rank *int64) error {
	entries, err := filters.List(tx, detectorID+"/", "", 0)
	if err != nil {
		return err
	}
	ranked := make([]filter, 0, len(entries)+1)
	for _, e := range entries {
		if e.Value.Name != f.Name {
			ranked = append(ranked, e.Value)
		}
	}
	if len(ranked) >= maxFilters {
		return invalidInput("The request is rejected because the number of filters has reached its limit of %d.", maxFilters)
	}
	slices.SortFunc(ranked, func(a, b filter) int { return cmp.Compare(a.Rank, b.Rank) })
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
	var f filter
	err := g.db.View(ctx, func(tx *store.Tx) (err error) {
		f, err = getFilter(tx, in.DetectorId, in.FilterName)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &guardduty.GetFilterOutput{
		Name: f.Name, Description: f.Description, Action: f.Action, Rank: &f.Rank, FindingCriteria: f.Criteria, Tags: f.Tags,
	}, nil
}

// UpdateFilter changes what the input names and keeps the rest.
func (g *GuardDuty) UpdateFilter(ctx context.Context, in *guardduty.UpdateFilterInput) (*guardduty.UpdateFilterOutput, error) {
	if err := checkAction(deref(in.Action)); err != nil {
		return nil, err
	}
	if in.FindingCriteria != nil {
		if err := checkFilterCriteria(in.FindingCriteria); err != nil {
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
		if in.FindingCriteria != nil {
			f.Criteria = in.FindingCriteria
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
