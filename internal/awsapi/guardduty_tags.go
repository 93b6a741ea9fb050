package awsapi

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/store"
)

// maxTags is how many tags a resource may have.
const maxTags = 50

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return invalidInput("%s A resource has at most %d tags.", outOfRange, maxTags)
	}
	return nil
}

// tagged calls change with the tags of the resource that an ARN names, and stores them if change reports that it changed
// them.
func (g *GuardDuty) tagged(tx *store.Tx, arn string, change func(tags map[string]string) (changed bool, err error)) error {
	rest, ok := strings.CutPrefix(arn, "arn:aws:guardduty:"+g.region+":"+g.account+":detector/")
	if !ok {
		return invalidInput("The request is rejected because the input resourceArn is not owned by the current account.")
	}
	id, rest, nested := strings.Cut(rest, "/")
	d, err := detector(tx, id)
	if err != nil {
		return err
	}
	kind, name, _ := strings.Cut(rest, "/")
	switch {
	case !nested:
		tags, changed, err := retag(d.Tags, change)
		if err != nil || !changed {
			return err
		}
		d.Tags = tags
		return detectors.Put(tx, id, d)
	case kind == "filter":
		f, err := getFilter(tx, id, name)
		if err != nil {
			return err
		}
		tags, changed, err := retag(f.Tags, change)
		if err != nil || !changed {
			return err
		}
		f.Tags = tags
		return filters.Put(tx, id+"/"+name, f)
	case g.sets != nil && slices.Contains(intel.Kinds(), intel.Kind(kind)):
		set, ok, err := intel.Kind(kind).Documents().Get(tx, name)
		if err != nil || !ok {
			return cmp.Or(err, error(noSuchResource()))
		}
		tags, changed, err := retag(set.Tags, change)
		if err != nil || !changed {
			return err
		}
		return refuseSet(g.sets.Retag(tx, intel.Kind(kind), name, tags))
	}
	return noSuchResource()
}

func retag(tags map[string]string, change func(map[string]string) (bool, error)) (map[string]string, bool, error) {
	tags = maps.Clone(tags)
	if tags == nil {
		tags = map[string]string{}
	}
	changed, err := change(tags)
	return tags, changed, err
}

// TagResource adds tags to a detector, a filter or a set.
func (g *GuardDuty) TagResource(ctx context.Context, in *guardduty.TagResourceInput) (*guardduty.TagResourceOutput, error) {
	return nil, g.db.Update(ctx, func(tx *store.Tx) error {
		return g.tagged(tx, in.ResourceArn, func(tags map[string]string) (bool, error) {
			maps.Copy(tags, in.Tags)
			return true, checkTags(tags)
		})
	})
}

// UntagResource removes tags; those that are not there do not matter.
func (g *GuardDuty) UntagResource(ctx context.Context, in *guardduty.UntagResourceInput) (*guardduty.UntagResourceOutput, error) {
	return nil, g.db.Update(ctx, func(tx *store.Tx) error {
		return g.tagged(tx, in.ResourceArn, func(tags map[string]string) (bool, error) {
			for _, key := range in.TagKeys {
				delete(tags, key)
			}
			return true, nil
		})
	})
}

// ListTagsForResource lists the tags of a detector, a filter or a set.
func (g *GuardDuty) ListTagsForResource(ctx context.Context, in *guardduty.ListTagsForResourceInput) (*guardduty.ListTagsForResourceOutput, error) {
	out := &guardduty.ListTagsForResourceOutput{}
	return out, g.db.View(ctx, func(tx *store.Tx) error {
		return g.tagged(tx, in.ResourceArn, func(tags map[string]string) (bool, error) {
			out.Tags = tags
			return false, nil
		})
	})
}
